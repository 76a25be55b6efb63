//go:build clients && linux

package aichat_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/chromiumtest"
	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// page is this folder's page in a Chromium.
type page struct {
	*chromiumtest.Chromium
	t *testing.T
}

func (e *example) page(path string) *page {
	e.t.Helper()
	p := &page{chromiumtest.Start(e.t), e.t}
	// There is nobody to say yes.
	p.Do("Page.enable", map[string]any{}, &struct{}{})
	p.Do("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": "window.confirm = () => true"}, &struct{}{})
	p.Load(e.url + path)
	return p
}

// is returns when an expression is what it should be.
func (p *page) is(want, expression string) {
	p.t.Helper()
	var got string
	if !proctest.Within(proctest.Patience, func() bool { got = p.Eval(expression); return got == want }) {
		p.t.Fatalf("%s is %q, want %q", expression, got, want)
	}
}

// shows returns when the newest answer is this text, in a state.
func (p *page) shows(state, text string) {
	p.t.Helper()
	p.is(state+": "+strings.TrimSpace(text), `(() => {
		const last = document.querySelector(".exchange:last-child");
		return last?.dataset.state + ": " + last?.querySelector(".answer").innerText.trim();
	})()`)
}

func (p *page) click(selector string) {
	p.t.Helper()
	p.Eval(fmt.Sprintf("document.querySelector(%q).click()", selector))
}

func (p *page) press(key string, code int) {
	p.t.Helper()
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		p.Do("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}, &struct{}{})
	}
}

const enter, escape = 13, 27

// ask types a question, and Enter.
func (p *page) ask(question string) {
	p.t.Helper()
	p.Eval(`document.querySelector("#question").focus()`)
	p.Do("Input.insertText", map[string]any{"text": question}, &struct{}{})
	p.press("Enter", enter)
}

// pictures are taken in the light and in the dark.
func (p *page) pictures(state string) {
	p.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		p.Do("Emulation.setEmulatedMedia", map[string]any{
			"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}},
		}, &struct{}{})
		p.Screenshots("ai-chat-" + state + "-" + scheme)
	}
}

// An answer on the page: typed, through a refresh in the middle of it, on a second device that comes meanwhile, and afterwards.
func TestPage(t *testing.T) {
	t.Parallel()
	e := startExample(t)
	p := e.page("/")
	p.is("false", `document.querySelector("#empty").hidden`)
	p.pictures("empty")
	p.ask("What is it?")
	e.model.words(firstHalf)
	p.shows("writing", firstHalf)
	p.pictures("writing")

	p.Load(p.Eval("location.href"))
	p.shows("writing", firstHalf)
	second := e.device(p)
	second.shows("writing", firstHalf)
	e.model.words(secondHalf)
	p.shows("writing", all)
	second.shows("writing", all)
	e.model.end()
	p.shows("finished", all)
	second.shows("finished", all)
	p.is("The answer is finished.", `document.querySelector("#said").textContent`)
	p.pictures("finished")

	second.ask("And then?")
	e.model.words(firstHalf)
	p.shows("writing", firstHalf) // though it was the other one that asked
	p.press("Escape", escape)
	p.shows("stopped", firstHalf)
	second.shows("stopped", firstHalf)
	second.Load(p.Eval("location.href"))
	second.shows("stopped", firstHalf)
	second.is("What is it?|"+all+"|And then?|"+strings.TrimSpace(firstHalf),
		`[...document.querySelectorAll(".question, .answer")].map((each) => each.innerText.trim()).join("|")`)

	p.click("#delete")
	p.is("/", "location.pathname")
	second.Load(second.Eval("location.href"))
	second.is("There is no such chat here. It was deleted, or belongs to somebody else.", `document.querySelector("#failed").textContent`)
}

// device is the chat of a page on another device, which has followed a link to it.
func (e *example) device(p *page) *page {
	e.t.Helper()
	p.click("#link")
	p.is("true", `document.querySelector("#device").open`)
	_, token, _ := strings.Cut(p.Eval(`document.querySelector("#url").value`), "#")
	p.Eval(`document.querySelector("#device").close()`)
	second := e.page("/#" + token)
	second.is("1", `document.querySelectorAll("#chats a").length`)
	second.click("#chats a")
	return second
}

// What is broken is told, as long as it is, and what a gap may have cost until it is mended.
func TestPageInOutages(t *testing.T) {
	t.Parallel()
	e := startExample(t)
	p := e.page("/")
	outage := `document.querySelector("#outage").textContent`
	missing := `!document.querySelector(".missing").hidden`
	p.ask("What is it?")
	e.model.words(firstHalf)
	p.shows("writing", firstHalf)
	chat := p.Eval("location.pathname")

	e.redis.Kill()
	e.model.words("one, ")
	p.is("The answer is held up on its way here. It goes on by itself.", outage)
	p.pictures("redis-away")
	p.click("#send") // which is the stop button
	p.is("Not stopped: the server cannot do it right now. Try again in a moment.", `document.querySelector("#failed").textContent`)
	e.redis.Restart()
	p.shows("writing", firstHalf+"one, ")
	p.is("", outage)
	p.is("false", missing)

	e.loseOnTheWay(chat, "two, ")
	p.is("true", missing)
	p.shows("writing", firstHalf+"one, ")
	p.pictures("gap")
	p.click(".load")
	p.shows("writing", firstHalf+"one, two, ")
	p.is("false", missing)

	e.toVisitor.SetRefuse(true)
	e.toVisitor.Reset()
	p.is("Connection lost, trying again.", outage)
	e.model.words("three, ")
	p.pictures("connection-lost")
	p.Eval(`document.querySelector("#question").value = "Lost?"`)
	e.toVisitor.SetRefuse(false)
	p.shows("writing", firstHalf+"one, two, three, ")
	p.is("", outage)
	p.is("false", missing)

	e.loseOnTheWay(chat, "four.")
	p.is("true", missing)
	e.model.end()
	p.shows("finished", firstHalf+"one, two, three, four.")
	p.is("false", missing) // what is stored is whole
}

// A question that cannot be sent stays where it was typed, and an answer whose worker is killed is not waited for.
func TestPageKeepsWhatCouldNotBeSent(t *testing.T) {
	t.Parallel()
	e := startExample(t)
	p := e.page("/")
	e.app.Kill()
	p.ask("Is anybody there?")
	p.is("Not sent: the server cannot do it right now. Try again in a moment.", `document.querySelector("#failed").textContent`)
	p.is("Is anybody there?", `document.querySelector("#question").value`)
	e.startApp()
	p.press("Enter", enter)
	e.model.words(firstHalf)
	p.shows("writing", firstHalf)
	p.is("", `document.querySelector("#question").value`)

	e.app.Kill()
	e.startApp()
	e.redis.Do("DEL", "alive:1") // as after 10 s
	p.shows("failed", firstHalf)
	p.is("The answer was interrupted.", `document.querySelector(".why").textContent`)
	p.pictures("interrupted")
	p.click(".retry")
	e.model.words(secondHalf)
	e.model.end()
	p.shows("finished", secondHalf)
}

// hostile is what a model may have been talked into writing.
const hostile = `<img src=x onerror="document.title='run'"> <script>document.title='run'</script> <b onclick=x>b</b>

[a](javascript:document.title='run') [b](JavaScript:x) [c](data:text/html,x) [d](vbscript:x) [e](//evil.example/x) [f](https://a.example/"onmouseover="x)
![g](https://evil.example/pixel.png) <javascript:x> <https://b.example/"><i>

| <i>h</i> | <svg onload=x> |
|---|---|
| <iframe src=x> | [i](javascript:x) |

` + "```<i>html\n<script>document.title='run'</script>\n```\n\n- <form action=x>\n- `<style>*{display:none}</style>`\n"

func TestMarkupIsText(t *testing.T) {
	t.Parallel()
	e := startExample(t, "OPENAI_BASE_URL=", "CHAT_PAUSE=0")
	v := e.visitor()
	v.awaitState(v.start("Say: "+hostile), "finished")
	var link struct{ Token string }
	v.want(http.StatusCreated, http.MethodPost, "/api/links", nil, &link)
	p := e.page("/#link=" + link.Token)
	p.is("1", `document.querySelectorAll("#chats a").length`)
	p.click("#chats a")
	p.is("finished", `document.querySelector(".exchange")?.dataset.state`)
	p.is("0", `document.querySelectorAll("#log :is(img, script, iframe, svg, form, style, i:not(.waiting i), b), #chats :is(img, script)").length`)
	p.is("0", `[...document.querySelectorAll("#log *")].filter((each) => each.getAttributeNames().some((name) => name.startsWith("on"))).length`)
	p.is(`https://a.example/%22onmouseover=%22x https://evil.example/pixel.png https://b.example/%22`,
		`[...document.querySelectorAll("#log a")].map((each) => each.href).join(" ")`)
	p.is("true", `document.querySelector(".answer").innerText.includes("<img src=x onerror=")`)
	if title := p.Eval("document.title"); title == "run" {
		t.Error("markup was run")
	}
	p.wantPolicy(e)
	p.wantNames()
	p.wantMarkdown()
	p.wantSameAsItGrows()
	p.wantNarrow()
}

// wantPolicy checks that markup which got into the page all the same would do nothing.
func (p *page) wantPolicy(e *example) {
	p.t.Helper()
	response, err := http.Get(e.url + "/")
	if err != nil {
		p.t.Fatal(err)
	}
	_ = response.Body.Close()
	if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'self'") || strings.Contains(policy, "unsafe") {
		p.t.Errorf("the page's policy is %q", policy)
	}
	p.is("Chat", `(() => {
		document.title = "Chat";
		const div = document.createElement("div");
		div.innerHTML = "<img src=x onerror=\"document.title='run'\">";
		document.body.append(div);
		return new Promise((done) => setTimeout(() => { div.remove(); done(document.title); }, 200));
	})()`)
}

// wantNames checks that all that can be operated has a name to be called by.
func (p *page) wantNames() {
	p.t.Helper()
	p.is("", `[...document.querySelectorAll("button, input, select, textarea, a, [role=region]")]
		.filter((each) => !each.getAttribute("aria-label") && !each.textContent.trim() && !each.labels?.length)
		.map((each) => each.outerHTML).join("\n")`)
}

// wantMarkdown checks what comes of the marks that models use.
func (p *page) wantMarkdown() {
	p.t.Helper()
	for markdown, want := range map[string]string{
		"a **b** *c* __d__ ~~e~~ ***f***":   "<p>a <strong>b</strong> <em>c</em> <strong>d</strong> <s>e</s> <strong><em>f</em></strong></p>",
		"2 * 3 * 4, snake_case_name, a\\*b": "<p>2 * 3 * 4, snake_case_name, a*b</p>",
		"``a ` b`` and `**c**`":             "<p><code>a ` b</code> and <code>**c**</code></p>",
		"# A\n### B\ntext\n***":             "<h2>A</h2><h4>B</h4><p>text</p><hr>",
		"a\n- b\n  - c\n- d":                "<p>a</p><ul><li>b<ul><li>c</li></ul></li><li>d</li></ul>",
		"3. a\n\n   b\n4. c":                `<ol start="3"><li><p>a</p><p>b</p></li><li><p>c</p></li></ol>`,
		"> a\n> - b\n\nc":                   "<blockquote><p>a</p><ul><li>b</li></ul></blockquote><p>c</p>",
		"https://a.example/b_(c). Yes":      `<p><a href="https://a.example/b_(c" target="_blank" rel="noopener noreferrer nofollow">https://a.example/b_(c</a>). Yes</p>`,
		"[a](https://a.example/b_(c))":      `<p><a href="https://a.example/b_(c)" target="_blank" rel="noopener noreferrer nofollow">a</a></p>`,
		"a  \nb\nc":                         "<p>a<br>b\nc</p>",
		strings.Repeat("> ", 30) + "deep":   strings.Repeat("<blockquote>", 8) + "<p>" + strings.Repeat("&gt; ", 22) + "deep</p>" + strings.Repeat("</blockquote>", 8),
	} {
		if got := p.Eval(drawn(markdown, false)); got != want {
			p.t.Errorf("%q:\n got %s\nwant %s", markdown, got, want)
		}
	}
	for markdown, want := range map[string]string{
		"a **b": "<p>a <strong>b</strong></p>", "a `b": "<p>a <code>b</code></p>", "a [b](htt": "<p>a b</p>", "a **": "<p>a </p>",
		"2 * 3": "<p>2 * 3</p>", "- *a": "<ul><li><em>a</em></li></ul>",
	} {
		if got := p.Eval(drawn(markdown, true)); got != want {
			p.t.Errorf("%q, which grows:\n got %s\nwant %s", markdown, got, want)
		}
	}
}

func drawn(markdown string, growing bool) string {
	text, err := json.Marshal(markdown)
	if err != nil {
		panic(err) // of a test's own
	}
	return fmt.Sprintf(`import("/static/markdown.js").then(({ show }) => {
		const node = document.createElement("div");
		show(node, %s, %t);
		return node.innerHTML;
	})`, text, growing)
}

// wantSameAsItGrows checks that an answer that was drawn piece by piece is in the end what it is when it is drawn at once, and that
// texts made to be slow are not.
func (p *page) wantSameAsItGrows() {
	p.t.Helper()
	texts, err := json.Marshal(append(strings.Split(read(p.t, "answers.md"), "\n=====\n"), hostile))
	if err != nil {
		p.t.Fatal(err)
	}
	p.is("", fmt.Sprintf(`import("/static/markdown.js").then(({ show }) => {
		const differ = [];
		for (const text of %s) {
			const [grown, whole] = [document.createElement("div"), document.createElement("div")];
			for (let i = 0; i < text.length; i += 3) show(grown, text.slice(0, i), true);
			show(grown, text);
			show(whole, text);
			if (grown.innerHTML !== whole.innerHTML) differ.push(grown.innerHTML, whole.innerHTML);
		}
		return differ.join("\n");
	})`, texts))
	for _, part := range []string{"*", "`a", "[", "_a ", "**a ", "> ", "- ", "[a](", "|", "~~a ", "[a](b(c", "```\n", "- a\n\n", "![", "<"} {
		text, err := json.Marshal(strings.Repeat(part, 100_000/len(part)))
		if err != nil {
			p.t.Fatal(err)
		}
		took, err := strconv.ParseFloat(p.Eval(fmt.Sprintf(`import("/static/markdown.js").then(({ show }) => {
			const begun = performance.now();
			show(document.createElement("div"), %s, true);
			return performance.now() - begun;
		})`, text)), 64)
		if err != nil || took > 30_000 { // at most a second where nothing else runs
			p.t.Errorf("100 kB of %q take %v ms, %v", part, took, err)
		}
	}
}

// wantNarrow checks that a phone need not scroll sideways, whatever is in an answer.
func (p *page) wantNarrow() {
	p.t.Helper()
	p.Do("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true,
	}, &struct{}{})
	p.is("390 390", `document.documentElement.scrollWidth + " " + Math.max(...[...document.querySelectorAll(".exchange, #dock > *")]
		.map((each) => Math.ceil(each.getBoundingClientRect().right))) .toString().replace(/^3[0-8]\d$/, "390")`)
}
