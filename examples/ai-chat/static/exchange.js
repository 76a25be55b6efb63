// A question and its answer on the page.
import { copy, show } from "./markdown.js";

const DRAW = 40; // ms between two drawings of an answer that grows

export class Exchange {
  // use has again(exchange), when all of the answer is asked for, and ask(question), when it is asked anew.
  constructor(id, use) {
    this.id = id;
    this.use = use;
    this.state = "writing";
    this.text = "";
    this.missing = false; // whether something of it may be
    this.timer = 0;
    this.node = document.querySelector("#exchange").content.firstElementChild.cloneNode(true);
    this.part("load").onclick = () => use.again(this);
    this.part("retry").onclick = () => use.ask(this.part("question").textContent);
    this.part("copy").onclick = () => copy(this.part("copy"), this.text);
    this.draw();
  }

  part(name) { return this.node.querySelector(`.${name}`); }

  asked(question) { this.part("question").textContent = question; }

  // The stream has it from its beginning.
  begin() {
    if (this.state !== "writing") return;
    this.missing = false;
    this.set("");
  }

  add(text) { if (this.state === "writing") this.set(this.text + text); }

  whole(text) {
    if (this.state !== "writing") return;
    this.missing = false;
    this.set(text);
  }

  gap() {
    if (this.state !== "writing") return;
    this.missing = true;
    this.draw();
  }

  set(text) {
    this.text = text;
    // Not for each of the tokens, which may be hundreds a second, and also in a tab that nobody sees.
    this.timer ||= setTimeout(() => this.draw(), DRAW);
  }

  // Takes what is stored: the last word on the whole of it.
  finish({ state, answer, error }) {
    if (this.state === state) return false;
    this.state = state;
    // Of an answer whose worker was killed nothing is stored: what came of it stays.
    if (answer || state !== "failed") {
      this.text = answer;
      this.missing = false;
    }
    this.error = error;
    this.draw();
    return true;
  }

  draw() {
    clearTimeout(this.timer);
    this.timer = 0;
    const writing = this.state === "writing";
    const answer = this.part("answer"), follow = this.use.follows();
    show(answer, this.text, writing);
    if (writing) tip(answer);
    this.node.dataset.state = this.state;
    this.part("body").setAttribute("aria-busy", String(writing)); // not to be read out while it grows
    this.part("waiting").hidden = !writing || this.text !== "";
    this.part("missing").hidden = !this.missing;
    this.part("over").hidden = !["stopped", "failed"].includes(this.state);
    this.part("why").textContent = this.state === "stopped" ? "This answer was stopped." : this.error ?? "";
    this.part("copy").hidden = writing || !this.text;
    if (follow) this.use.follow();
  }

}

// tip marks where an answer grows: the last paragraph, heading or item.
function tip(node) {
  for (let last = node.lastElementChild; last; last = last.lastElementChild) {
    if (/^(P|H\d|LI)$/.test(last.tagName) && !/^(P|UL|OL|DIV|BLOCKQUOTE)$/.test(last.lastElementChild?.tagName)) {
      return last.classList.add("tip");
    }
    if (!/^(UL|OL|LI|BLOCKQUOTE)$/.test(last.tagName)) return;
  }
}
