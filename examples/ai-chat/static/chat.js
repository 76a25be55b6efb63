import { Exchange } from "./exchange.js";
import { copy } from "./markdown.js";
import { post } from "./post.js";
import { listen } from "./stream.js";

const LOOK = 3_000; // ms without a word of an answer in the works, after which the app is asked what it knows
const RETRY = 2_000; // ms until what could not be fetched is fetched again

const byId = (id) => document.getElementById(id);
const wide = matchMedia("(min-width: 860px)");
const touch = matchMedia("(pointer: coarse)"); // where Enter is the only way to a new line

let chat = ""; // its id; empty: one that begins with the next question
let exchanges = new Map(); // by the id of the answer
let end = () => {}; // ends the stream
let gapped = false; // since the last end: the beginning of an answer may be what is missing
let known = false; // whether what is stored has been fetched
let heard = 0; // when the last word came
let asking = false, stopping = false;
let trouble = { lost: false, held: false, offline: false };

// The chat that is open

function open(id) {
  end();
  end = () => {};
  chat = id;
  exchanges = new Map();
  gapped = known = stopping = false;
  trouble = { lost: false, held: false, offline: !navigator.onLine };
  byId("log").replaceChildren();
  fail("");
  title("");
  if (id) {
    end = listen(`/chats/${id}/events`, {
      opened: () => { trouble.lost = false; refetch(); },
      message: heardOf,
      ended,
      gap: () => {
        gapped = true;
        inTheWorks()?.gap();
        refetch();
      },
      lost: () => { trouble.lost = true; draw(); if (!known) refetch(); },
      refused: refetch,
    });
  }
  draw();
  markChats();
}

function heardOf(message) {
  heard = Date.now();
  trouble.held = false;
  const atEnd = follows(); // before there is more
  const of = exchange(message.answer);
  if ("question" in message) {
    of.asked(message.question);
    of.begin();
    if (of.state === "writing") announce("Answering");
  }
  if ("text" in message) of.add(message.text);
  if ("whole" in message) of.whole(message.whole);
  draw();
  if (atEnd) follow();
}

function ended() {
  gapped = false;
  refetch();
  fetchChats();
}

function inTheWorks() {
  return [...exchanges.values()].find((each) => each.state === "writing");
}

// exchange is the one with this id; one that is new here is put to its place.
function exchange(id) {
  if (exchanges.has(id)) return exchanges.get(id);
  const made = new Exchange(id, { again, ask, follows, follow });
  if (gapped) made.gap();
  const next = [...exchanges.values()].filter((each) => each.id > id).sort((a, b) => a.id - b.id)[0];
  byId("log").insertBefore(made.node, next?.node ?? null);
  exchanges.set(id, made);
  return made;
}

function forget(id) {
  exchanges.get(id)?.node.remove();
  exchanges.delete(id);
}

// refetch takes what the app has stored. The stream was there first, so that nothing falls between the two.
async function refetch() {
  const of = chat, before = [...exchanges.keys()];
  let response;
  try {
    response = await fetch(`/api/chats/${of}`);
    if (!response.ok && response.status !== 404) throw new Error(`status ${response.status}`);
  } catch {
    setTimeout(() => of === chat && (inTheWorks() || !known) && refetch(), RETRY);
    return;
  }
  if (of !== chat) return;
  if (response.status === 404) return gone();
  const stored = await response.json();
  if (of !== chat) return;
  const atEnd = !known || follows();
  known = true;
  title(stored.title);
  trouble.held = stored.held;
  const ids = new Set(stored.answers.map((each) => each.id));
  before.filter((id) => !ids.has(id)).forEach(forget); // asked, and then it could not be
  for (const each of stored.answers) {
    const here = exchange(each.id);
    here.asked(each.question);
    if (each.state !== "writing" && here.finish(each) && heard) announce(`The answer is ${each.state}.`);
  }
  if (!inTheWorks()) heard = 0;
  draw();
  if (atEnd) follow();
}

function gone() {
  open("");
  history.replaceState(null, "", "/");
  fail("There is no such chat here. It was deleted, or belongs to somebody else.");
  fetchChats();
}

// Nothing for a while: is it the model that thinks, or is something broken?
setInterval(() => {
  if (chat && inTheWorks() && !trouble.lost && Date.now() - heard > LOOK) refetch();
}, LOOK);

// What is asked of the app

async function ask(question) {
  if (!question.trim() || asking || inTheWorks()) return;
  const from = chat, body = { question, model: byId("model").value || undefined }; // before the names are here: the app's choice
  asking = true;
  fail("");
  draw();
  try {
    const made = await post(from ? `/api/chats/${from}/questions` : "/api/chats", body);
    if (byId("question").value === question) setQuestion("");
    asking = false;
    if (from !== chat) return;
    if (!from) {
      history.pushState(null, "", `/chats/${made.id}`);
      open(made.id);
    } else {
      exchange(made.id).asked(question);
      follow();
    }
    heard = Date.now();
    fetchChats();
  } catch (err) {
    asking = false;
    if (from === chat) fail(`Not sent: ${err.message}`);
  }
  draw();
}

async function stop() {
  const of = chat;
  stopping = true;
  draw();
  try {
    await post(`/api/chats/${of}/stop`);
  } catch (err) {
    if (of === chat) fail(`Not stopped: ${err.message}`);
    stopping = false;
    draw();
  }
}

// All of an answer of which something may be missing: from its worker if that writes, else as it is stored.
async function again(one) {
  try {
    if (one.state === "writing") await post(`/api/chats/${chat}/again`);
    fail("");
    refetch();
  } catch (err) {
    fail(`Not loaded: ${err.message}`);
  }
}

async function remove() {
  if (!chat || !confirm("Delete this chat? It cannot be undone.")) return;
  const of = chat;
  const response = await fetch(`/api/chats/${of}`, { method: "DELETE" }).catch(() => null);
  if (!response?.ok) return fail("Not deleted. Try again in a moment.");
  if (of === chat) go("/");
  fetchChats();
}

// What is shown

function draw() {
  const writing = Boolean(inTheWorks());
  if (!writing) stopping = false;
  document.body.dataset.state = writing ? "writing" : chat ? "idle" : "new";
  byId("empty").hidden = Boolean(chat);
  byId("delete").hidden = !chat;
  const send = byId("send");
  send.disabled = asking || stopping || (!writing && !byId("question").value.trim());
  send.dataset.does = writing ? "stop" : "send";
  send.setAttribute("aria-label", stopping ? "Stopping" : writing ? "Stop the answer" : "Send");
  send.title = writing ? "Stop (Esc)" : touch.matches ? "Send" : "Send (Enter)";
  drawTrouble(writing);
}

function drawTrouble(writing) {
  let text = "";
  if (trouble.offline) text = "You are offline. The chat goes on when you are back.";
  else if (trouble.lost) text = "Connection lost, trying again.";
  else if (trouble.held && writing) text = "The answer is held up on its way here. It goes on by itself.";
  const was = byId("outage").textContent;
  if (text === was) return;
  const atEnd = follows();
  byId("outage").textContent = text;
  if (atEnd) follow();
  if (text) return;
  fail(""); // what could not be done meanwhile can be now
  announce("Connected again");
}

function fail(text) { byId("failed").textContent = text; }
function announce(text) { byId("said").textContent = text; }

function title(text) {
  byId("title").textContent = text || "New chat";
  document.title = text ? `${text} · Chat` : "Chat";
}

// The log follows what is written as long as its end is in sight; who scrolls up to read stays there.
function follows() {
  const box = byId("scroll");
  return box.scrollHeight - box.scrollTop - box.clientHeight < 60;
}

function follow() {
  byId("scroll").scrollTop = byId("scroll").scrollHeight;
}

function drawLatest() { byId("latest").hidden = follows(); }

function setQuestion(text) {
  const box = byId("question");
  box.value = text;
  fit();
  draw();
}

function fit() {
  const box = byId("question");
  box.rows = 1;
  while (box.scrollHeight > box.clientHeight + 1 && box.rows < 8) box.rows++;
}

// The list of chats

async function fetchChats() {
  const response = await fetch("/api/chats").catch(() => null);
  if (!response?.ok) return;
  const list = await response.json();
  byId("chats").replaceChildren(...list.map(({ id, title: text }) => {
    const link = Object.assign(document.createElement("a"), { href: `/chats/${id}`, textContent: text, title: text });
    const item = document.createElement("li");
    item.append(link);
    return item;
  }));
  byId("none").hidden = list.length > 0;
  byId("link").hidden = list.length === 0;
  markChats();
}

function markChats() {
  for (const link of byId("chats").querySelectorAll("a")) {
    if (link.pathname === `/chats/${chat}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// On a phone the list is over the chat.
function side(shown) {
  const was = document.body.classList.contains("side");
  document.body.classList.toggle("side", shown);
  byId("menu").setAttribute("aria-expanded", String(shown));
  document.querySelector("main").inert = shown && !wide.matches;
  if (shown) byId("new").focus();
  else if (was) byId("menu").focus();
}

function go(path) {
  history.pushState(null, "", path);
  openHere();
}

function openHere() {
  heard = 0;
  open(/^\/chats\/([0-9a-f]{32})$/.exec(location.pathname)?.[1] ?? "");
  if (wide.matches) byId("question").focus();
}

// Another device

async function makeLink() {
  try {
    const made = await post("/api/links");
    byId("url").value = `${location.origin}/#link=${made.token}`; // behind the #: it is in no log of a server
    byId("minutes").textContent = String(Math.round(made.seconds / 60));
    byId("device").showModal();
    byId("url").select();
    byId("url").scrollLeft = 0;
  } catch {
    fail("No link could be made. Try again in a moment.");
  }
}

// Asked, since a link may come from anybody: who takes it writes into that person's chats.
async function useLink(token) {
  history.replaceState(null, "", "/");
  if (!confirm("Open the chats of your other device here? Do so only with a link that you made yourself.")) return;
  try {
    await post("/api/links/use", { token });
    fetchChats();
    if (!wide.matches) side(true);
  } catch {
    fail("This link has been used, or is too old. Make another one.");
  }
}

// What the user does

byId("ask").onsubmit = (e) => {
  e.preventDefault();
  if (byId("send").dataset.does === "stop") stop();
  else ask(byId("question").value);
};
byId("question").oninput = () => { fit(); draw(); };
byId("question").onkeydown = (e) => {
  if (e.key !== "Enter" || e.shiftKey || e.isComposing || touch.matches) return;
  e.preventDefault();
  ask(e.target.value);
};
addEventListener("keydown", (e) => {
  if (e.key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (document.body.classList.contains("side")) side(false);
  else if (inTheWorks() && !stopping) stop();
});
byId("scroll").onscroll = drawLatest;
new ResizeObserver(drawLatest).observe(byId("log"));
byId("latest").onclick = () => { follow(); byId("question").focus(); };
byId("menu").onclick = () => side(!document.body.classList.contains("side"));
byId("shade").onclick = () => side(false);
byId("delete").onclick = remove;
byId("link").onclick = makeLink;
byId("copy-url").onclick = () => copy(byId("copy-url"), byId("url").value);
byId("side").onclick = (e) => {
  const link = e.target.closest("a");
  if (!link || e.metaKey || e.ctrlKey || e.shiftKey) return;
  e.preventDefault();
  go(link.pathname);
  if (!wide.matches) side(false);
};
byId("empty").onclick = (e) => {
  const button = e.target.closest("button");
  if (button) ask(button.dataset.ask);
};
wide.onchange = () => side(false);
onpopstate = openHere;
onfocus = fetchChats;
onoffline = ononline = () => { trouble.offline = !navigator.onLine; draw(); };

async function start() {
  openHere();
  fetchChats();
  const token = /^#link=([\w-]+)$/.exec(location.hash)?.[1];
  if (token) useLink(token);
  const names = await (await fetch("/api/models")).json();
  byId("model").replaceChildren(...names.map((name) => new Option(name, name)));
  byId("model").disabled = names.length < 2;
}
start();
