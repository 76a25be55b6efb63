//go:build clients && linux

package clientstest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// answers is that guide with a page, and a model that waits while there is a file held, before each word that has no file step.
type answers struct {
	*guide
	page  *tab
	held  string
	steps int // so many there have been
}

func TestLLMStreamingGuide(t *testing.T) {
	t.Parallel()
	a := &answers{guide: newGuide(t, "llm-streaming.md",
		"app.py: import asyncio, json", "import glob, os, asyncio, json",
		"app.py: await asyncio.sleep(0.05)", `await asyncio.sleep(0.01)
        while os.path.exists("held"):
            if steps := glob.glob("step*"):
                os.remove(steps[0])
                break
            await asyncio.sleep(0.01)`)}
	a.held = filepath.Join(a.dir, "held")
	caddy := a.start()[1]
	a.prints(`id=$(curl`, "retry: 2000")
	a.page = a.open("one", a.site)

	a.growOnEachDevice()
	a.areStoppedFromAnyDevice()
	a.areWholeAfter("a Redis that restarts", a.redis.Kill, a.redis.Restart)
	a.areWholeAfter("PUBLISHes that fail", func() { a.mayPublish("-publish") }, func() { a.mayPublish("+publish") })
	a.areWholeAfter("a Caddy that restarts", caddy.Kill, func() { a.again("./caddy") })
	a.areTheSDKs()
	a.open("one", a.site+"/#none").await("#state", "no such answer")
}

// ask has the page ask a model that is held after some words.
func (a *answers) ask() {
	a.t.Helper()
	write(a.t, a.dir, "held", "")
	a.page.eval("window.before = true")
	a.page.fill("#question", "Why?")
	a.page.click("#form button") // which loads the page again
	a.stepUntil("an answer to grow", func() bool { return a.page.eval("!window.before && text.length > 100") == "true" })
}

// stepUntil lets the model, which is held, have one word after the other.
func (a *answers) stepUntil(what string, done func() bool) {
	a.t.Helper()
	proctest.Poll(a.t, what, func() bool {
		if left, err := filepath.Glob(filepath.Join(a.dir, "step*")); err != nil {
			a.t.Fatal(err)
		} else if len(left) == 0 {
			a.steps++
			write(a.t, a.dir, fmt.Sprint("step", a.steps), "")
		}
		return done()
	})
}

func (a *answers) release() {
	a.t.Helper()
	if err := os.Remove(a.held); err != nil {
		a.t.Fatal(err)
	}
}

// stored is the page's answer as the app has it.
func (a *answers) stored() (answer struct{ Text, State string }) {
	a.t.Helper()
	_, text := ask(a.t, "http://"+a.app+"/answers/"+a.page.eval("id")) // not through Caddy, which may be away
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		a.t.Errorf("the app answers %q: %v", text, err)
	}
	return answer
}

// show returns when a tab shows all of the answer that there is, once.
func (a *answers) show(what string, tab *tab) {
	a.t.Helper()
	shown := ""
	if !proctest.Within(proctest.Patience, func() bool {
		shown = tab.eval(`byId("answer").textContent`)
		return shown == a.stored().Text
	}) {
		a.t.Fatalf("%s shows\n%q\nof\n%q", what, shown, a.stored().Text)
	}
}

func (a *answers) end(what, state string, tabs ...*tab) {
	a.t.Helper()
	for _, tab := range tabs {
		tab.await("#state", state)
		a.show(what, tab)
		tab.awaitClosed(what)
	}
	if stored := a.stored(); stored.State != state {
		a.t.Errorf("the app has an answer that is %s, want %s", stored.State, state)
	}
}

func (a *answers) growOnEachDevice() {
	a.t.Helper()
	a.ask()
	a.page.reload()
	a.show("a page that was loaded again", a.page)
	other := a.open("two", a.page.eval("location.href"))
	a.show("a second device", other)
	a.page.picture("llm-streaming")
	for _, tab := range []*tab{a.page, other} {
		tab.await("#state", "running")
		if got := tab.eval("source.readyState"); got != "1" {
			a.t.Errorf("in mid-answer the stream has readyState %s, want 1", got)
		}
	}
	a.release()
	a.end("a page to the end", "finished", a.page, other)
	a.end("a page that was opened at the end", "finished", a.open("three", a.page.eval("location.href")))
}

func (a *answers) areStoppedFromAnyDevice() {
	a.t.Helper()
	whole := len(a.stored().Text)
	a.ask()
	other := a.open("two", a.page.eval("location.href"))
	other.click("#stop")
	proctest.Poll(a.t, "the app to be told", func() bool {
		return a.redis.Do("EXISTS", "stop:"+a.page.eval("id")) == int64(1)
	})
	a.release()
	a.end("a page whose answer was stopped", "stopped", a.page, other)
	if got := len(a.stored().Text); got >= whole {
		a.t.Errorf("an answer that was stopped has %d bytes, as many as a whole one", got)
	}
}

// areWholeAfter has tokens published during a fault, to nobody, and some after it, with which the channel may begin.
func (a *answers) areWholeAfter(fault string, begin, end func()) {
	a.t.Helper()
	a.ask()
	a.show("a page before "+fault, a.page)
	begin()
	a.grow()
	end()
	proctest.Poll(a.t, "Caddy to be subscribed", func() bool { return a.redis.Do("PUBSUB", "NUMPAT") == int64(1) })
	a.grow()
	late := a.open("two", a.page.eval("location.href"))
	for _, tab := range []*tab{a.page, late} {
		a.show("a page in mid-answer after "+fault, tab)
	}
	a.release()
	a.end("a page after "+fault, "finished", a.page, late)
}

func (a *answers) mayPublish(rule string) {
	a.t.Helper()
	a.redis.Do("ACL", "SETUSER", "default", rule)
}

// grow has the model, which is held, go on for some tokens.
func (a *answers) grow() {
	a.t.Helper()
	before := len(a.stored().Text)
	a.stepUntil("tokens to be published", func() bool { return len(a.stored().Text) > before+50 })
}

// areTheSDKs asks as the AI SDK does; what that makes of it is tested with the SDK itself.
func (a *answers) areTheSDKs() {
	a.t.Helper()
	const body = `{"id": "chat", "messages": [{"role": "user", "parts": [{"type": "text", "text": "Why?"}]}]}`
	if status, text := ask(a.t, a.site+"/api/chat/chat/stream"); status != http.StatusNoContent {
		a.t.Errorf("a chat without an answer is answered %d, %q, want 204", status, text)
	}
	for range 2 { // one channel
		response := ssetest.Do(a.t, a.client, a.site+"/api/chat", ssetest.WithMethod(http.MethodPost),
			ssetest.WithHeader("Content-Type", "application/json"), ssetest.WithBody(strings.NewReader(body)))
		_ = response.Body.Close() // as a page does that is loaded again
		_, text := ask(a.t, a.site+"/api/chat/chat/stream")
		if got, want := deltas(a.t, text), "You asked: Why? One word"; !strings.HasPrefix(got, want) || len(got) < 1000 {
			a.t.Errorf("an answer that is resumed is %q, want %q ...", got, want)
		}
		if status, text := ask(a.t, a.site+"/api/chat/chat/stream"); status != http.StatusNoContent {
			a.t.Errorf("a chat whose answer is finished is answered %d, %q, want 204", status, text)
		}
	}
}

// deltas is the text of an answer's parts, which have to have a beginning and an end.
func deltas(t *testing.T, stream string) (text string) {
	t.Helper()
	events := ssetest.NewParser().Push([]byte(stream))
	if len(events) < 2 || !strings.Contains(events[0].Data, `"start"`) || events[len(events)-1].Data != "[DONE]" {
		t.Fatalf("the stream has no beginning or no end:\n%s", stream)
	}
	for _, e := range events[:len(events)-1] {
		var part struct{ Type, Delta string }
		if err := json.Unmarshal([]byte(e.Data), &part); err != nil {
			t.Errorf("part %q: %v", e.Data, err)
		}
		text += part.Delta
	}
	return text
}
