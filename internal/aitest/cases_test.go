//go:build ai && linux

package aitest

import (
	"slices"
	"sync"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// patience bounds each wait for a session.
const patience = proctest.Patience

// The HTTP versions, as the table names them.
const (
	httpOne = "HTTP/1.1"
	httpTwo = "HTTP/2"
)

// client is a row of the table. In its name {x} is what package.json has as x, with its version.
type client struct {
	name     string
	protocol string
	proto    string
	device   device
}

var clients = []client{
	{"{ai5}", "ui", httpOne, inNode("ai 5")},
	{"{ai6}", "ui", httpOne, inNode("ai 6")},
	{"{ai7}", "ui", httpOne, inNode("ai 7")},
	{"{react5}, Chromium", "ui", httpTwo, inBrowser{"useChat 5", chromium}},
	{"{react7}, Chromium, HTTP/1.1", "ui", httpOne, inBrowser{"useChat 7", chromium}},
	{"{react7}, Chromium, HTTP/2", "ui", httpTwo, inBrowser{"useChat 7", chromium}},
	{"{react7}, Firefox, HTTP/1.1", "ui", httpOne, inBrowser{"useChat 7", firefox}},
	{"{react7}, Firefox, HTTP/2", "ui", httpTwo, inBrowser{"useChat 7", firefox}},
	{"{openai6}, chat completions", "completions", httpOne, inNode("openai 6, chat completions")},
	{"{openai7}, chat completions", "completions", httpOne, inNode("openai 7, chat completions")},
	{"{openai6}, Responses", "responses", httpOne, inNode("openai 6, Responses")},
	{"{openai7}, Responses", "responses", httpOne, inNode("openai 7, Responses")},
	{"{@anthropic-ai/sdk}", "anthropic", httpOne, inNode("@anthropic-ai/sdk")},
	{"{@ag-ui/client}", "agui", httpOne, inNode("@ag-ui/client")},
	{"{@langchain/langgraph-sdk}", "langgraph", httpOne, inNode("@langchain/langgraph-sdk")},
	{"{eventsource}", "es", httpOne, inNode("npm eventsource")},
	{"`EventSource`, Chromium", "es", httpTwo, inBrowser{"EventSource", chromium}},
	{"`EventSource`, Firefox", "es", httpTwo, inBrowser{"EventSource", firefox}},
	{"{@microsoft/fetch-event-source}, Chromium", "es", httpTwo, inBrowser{"fetch-event-source", chromium}},
	{"{@microsoft/fetch-event-source}, Firefox", "es", httpTwo, inBrowser{"fetch-event-source", firefox}},
}

// How many tokens an answer has, and how many when something happens.
const (
	tokens = 40
	half   = 20
)

// trial is a column of the table: what happens to an answer.
type trial struct {
	column   string
	settings map[string]string // of the Caddyfile
	breaks   bool              // the answer: something of it is missing for good
	play     func(w *world)
}

// world is a gateway and a seat for each client of the table.
type world struct {
	*gateway
	seats []*seat
}

// seat is a client with an answer of its own.
type seat struct {
	*world
	client
	answer string
	judged *session   // the device that the table tells of
	others []*session // devices that must get the whole
}

var trials = []trial{
	{column: "POST", play: func(w *world) {
		w.begin(options{})
		w.finish()
	}},
	{column: "refresh in mid-answer", play: func(w *world) {
		w.begin(options{RefreshAt: characters(textOf(0, half))})
		w.write(half)
		for _, s := range w.seats {
			s.judged.await(w.t, "the refresh", func() bool { return s.judged.refreshed })
		}
		w.awaitShown(half) // else some ask when the answer is over
		w.finish()
	}},
	{column: "second device, during", play: func(w *world) {
		w.begin(options{})
		w.write(half)
		w.awaitShown(half)
		w.join()
		w.awaitShown(half)
		w.finish()
	}},
	{column: "second device, after", play: func(w *world) {
		w.begin(options{})
		w.finish()
		w.join()
		w.awaitDone()
	}},
	{column: "connection cut", play: func(w *world) {
		w.begin(options{})
		w.write(half)
		w.awaitShown(half)
		w.loseConnections()
		w.comeBack()
		w.finish()
	}},
	{column: "cut, back after the end", play: func(w *world) {
		w.begin(options{})
		w.write(half)
		w.awaitShown(half)
		w.keepAway(true)
		w.write(tokens)
		w.end()
		w.keepAway(false)
		w.awaitDone()
	}},
	{column: "Redis killed and back", breaks: true, play: func(w *world) {
		w.begin(options{})
		w.write(half)
		w.awaitShown(half)
		w.redis.Kill()
		w.skip(half + outage)
		w.startRedis()
		w.finish()
	}},
	{column: "POST after an outage", play: func(w *world) {
		w.redis.Kill()
		w.startRedis()
		w.begin(options{})
		w.finish()
	}},
	{column: "reload, `drain 0s`", play: reloaded},
	{column: "reload, `drain 30s`", settings: map[string]string{"DRAIN": "30s"}, play: reloaded},
	{column: "stopped", play: func(w *world) {
		w.backend.obeyStops()
		w.begin(options{StopAt: characters(textOf(0, half))})
		w.write(half)
		w.awaitDone()
	}},
	{column: "worker killed", settings: map[string]string{"QUIET": shortQuiet}, breaks: true, play: func(w *world) {
		w.keepWriting(half)
		w.awaitDone()
	}},
	{column: "end lost in an outage", settings: map[string]string{"QUIET": shortQuiet}, breaks: true, play: func(w *world) {
		w.keepWriting(half)
		w.redis.Kill()
		w.startRedis()
		w.awaitDone()
	}},
	{column: "20,000 tokens, late phone", play: func(w *world) {
		for _, s := range w.seats {
			s.answer = s.protocol // one for all that speak it
			w.backend.begin(s.speaks(), s.answer)
		}
		w.hurry(long - 1)
		w.plain.SetRate(phone)
		w.secure.SetRate(phone)
		w.join()
		w.awaitShown(long - 1)
		w.write(long)
		w.end()
		w.awaitDone()
	}},
}

// shortQuiet is a quiet that a case waits for, and pause what a slow worker makes between two tokens. On a busy machine it may be late,
// but not by so much.
const (
	shortQuiet = "5s"
	pause      = 100 * time.Millisecond
)

// outage is how many tokens a worker publishes while Redis is away.
const outage = 5

// long is how many tokens a long answer has, and phone what a slow network brings of it in a second to all devices, in bytes each.
const (
	long  = 20_000
	phone = 2 << 20
)

func reloaded(w *world) {
	w.begin(options{})
	w.write(half)
	w.awaitShown(half)
	w.reload()
	w.comeBack()
	w.finish()
}

// comeBack returns when each device has come back, or is done: it shows what came after.
func (w *world) comeBack() {
	w.t.Helper()
	w.write(tokens - 1)
	w.awaitShown(tokens - 1)
}

// begin has each client ask for an answer.
func (w *world) begin(o options) {
	w.t.Helper()
	w.ask(o)
	for _, s := range w.seats {
		w.backend.await(s.answer)
	}
}

func (w *world) ask(o options) {
	w.t.Helper()
	for _, s := range w.seats {
		s.judged = s.open(o)
	}
}

// keepWriting has each client ask for an answer, and workers write it slowly, so that none is quiet, until each shows n tokens or more.
func (w *world) keepWriting(n int) {
	w.t.Helper()
	enough := make(chan struct{})
	var writing sync.WaitGroup
	defer writing.Wait()
	defer close(enough)
	writing.Go(func() {
		for {
			select {
			case <-enough:
				return
			case <-time.After(pause):
			}
			for _, s := range w.seats {
				if a := w.backend.of(s.answer); a != nil {
					a.write(a.tokens + 1)
				}
			}
		}
	})
	w.ask(options{})
	w.awaitShown(n)
}

// join has another device of each client look for the answer.
func (w *world) join() {
	w.t.Helper()
	for _, s := range w.seats {
		if s.judged != nil {
			s.others = append(s.others, s.judged)
		}
		s.judged = s.open(options{Joins: true})
	}
}

func (s *seat) open(o options) *session {
	s.t.Helper()
	opened := newSession(s.name, s.answer)
	s.device.open(s.t, opened, s.site(s.proto), o)
	return opened
}

// speaks is what the client's SDK understands.
func (s *seat) speaks() protocol {
	return protocols[slices.IndexFunc(protocols, func(p protocol) bool { return p.name == s.protocol })]
}

// write has workers publish tokens one by one, side by side, until each answer has n.
func (w *world) write(n int) {
	w.t.Helper()
	for more := true; more; {
		more = false
		for _, s := range w.seats {
			if a := w.backend.await(s.answer); a.tokens < n {
				a.write(a.tokens + 1)
				more = true
			}
		}
	}
}

// hurry is write for so many tokens that they are sent together.
func (w *world) hurry(n int) {
	w.t.Helper()
	for _, s := range w.seats {
		w.backend.await(s.answer).write(n)
	}
}

// skip has workers publish tokens that nobody takes, as Redis is away.
func (w *world) skip(n int) {
	for _, s := range w.seats {
		w.backend.await(s.answer).tokens = n
	}
}

func (w *world) end() {
	w.t.Helper()
	for _, s := range w.seats {
		w.backend.await(s.answer).end()
	}
}

// finish has the rest of each answer published, and returns when all devices are done.
func (w *world) finish() {
	w.t.Helper()
	w.write(tokens)
	w.end()
	w.awaitDone()
}

// awaitShown returns when each device shows so many tokens, or is done.
func (w *world) awaitShown(n int) {
	w.t.Helper()
	enough := characters(textOf(0, n))
	for _, s := range w.seats {
		s.judged.await(w.t, "the answer to come", func() bool { return s.judged.shown >= enough })
	}
}

func (w *world) awaitDone() {
	w.t.Helper()
	for _, s := range w.seats {
		for _, device := range append(s.others, s.judged) {
			device.await(w.t, "its end", func() bool { return false })
		}
	}
}
