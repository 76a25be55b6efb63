//go:build browser && linux

package browsertest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// post is a fetch that publishes. Of text/plain a browser asks nobody before; of application/json it does.
func post(path, contentType, body string) ask {
	return ask{Path: path, Init: options{
		"method": "POST", "credentials": "include", "body": body, "headers": map[string]string{"Content-Type": contentType},
	}}
}

// blind is a post whose answer no page of another origin gets to see.
func blind(path, body string) ask {
	a := post(path, "text/plain", body)
	a.Init["mode"] = "no-cors"
	return a
}

// published checks that a page was told that its message is on its way.
func published(t *testing.T, answers []answer) {
	t.Helper()
	for _, a := range answers {
		var told struct {
			Channel   string
			Receivers int
		}
		err := json.Unmarshal([]byte(a.Body), &told)
		if err != nil || a.Status != 200 || told.Channel != channel || told.Receivers != 1 {
			t.Errorf("the page got %+v, want a message published (%v)", a, err)
		}
	}
}

func TestPageOfAnAllowedOriginPublishes(t *testing.T) {
	inEachWith(t, []string{httpOne}, shared, func(t *testing.T, b browser, g *gateway) {
		s := g.subscribe()
		answers, p := g.ask(b, g.friend,
			post("/publish/friends", "application/json", `{"n":1}`),
			post("/publish/friends", "text/plain", "message-2"),
			post("/publish/friends", "text/plain", strings.Repeat("x", 65)),
		)
		p.wantMethods("OPTIONS", "POST", "POST", "POST")
		p.wantLogged(g, "OPTIONS", "/publish/friends", 204)
		published(t, answers[:2])
		if a := answers[2]; a.Status != 413 || a.Type != "cors" {
			t.Errorf("for a message that is too large the page got %+v, want a 413 it can read", a)
		}

		answers, p = g.ask(b, g.abroad(), post("/publish/friends", "application/json", `{"n":3}`))
		p.wantMethods("OPTIONS", "POST")
		published(t, answers)

		answers, p = g.ask(b, g.site(g.addr), // the same origin
			post("/publish/own", "application/json", `{"n":4}`),
			post("/publish/friends", "application/json", `{"n":5}`),
		)
		p.wantMethods("POST", "POST")
		published(t, answers)
		if vary := answers[1].Headers["vary"]; !strings.Contains(vary, "Origin") {
			t.Errorf("Vary is %q", vary)
		}
		s.wantMessages(t, `{"n":1}`, "message-2", `{"n":3}`, `{"n":4}`, `{"n":5}`)

		g.redis.Kill()
		answers, _ = g.ask(b, g.friend, post("/publish/friends", "text/plain", "message-6"))
		g.wantRetryAfter(answers[0], 503, 1, 5)
	})
}

func TestPageOfAStrangerPublishesNothing(t *testing.T) {
	inEachWith(t, []string{httpOne}, shared, func(t *testing.T, b browser, g *gateway) {
		s := g.subscribe()
		for _, from := range []struct{ origin, path string }{
			{g.stranger, "/publish/friends"}, {g.stranger, "/publish/own"}, {g.friend, "/publish/own"}, {g.abroad(), "/publish/own"},
		} {
			answers, p := g.ask(b, from.origin,
				post(from.path, "application/json", "no"),
				post(from.path, "text/plain", "no"),
				blind(from.path, "no"),
			)
			p.wantMethods("OPTIONS", "POST", "POST")
			p.wantLogged(g, "POST", from.path, 403, 403)
			wantNothing(t, answers[:2])
			if a := answers[2]; a.Type != "opaque" {
				t.Errorf("the page got %+v", a)
			}
		}
		g.redis.Publish(channel, "the only one")
		s.wantMessages(t, "the only one")
	})
}

// subscription is a stream of all that is published.
type subscription struct{ *ssetest.Stream }

func (g *gateway) subscribe() subscription {
	g.t.Helper()
	s := ssetest.Open(g.t, g.client, fmt.Sprintf("%s/streams/%s", g.site(g.addr), channel))
	s.SkipCursor()
	return subscription{s}
}

// wantMessages checks that these are the next messages.
func (s subscription) wantMessages(t *testing.T, want ...string) {
	t.Helper()
	if got := s.Messages(len(want)); !slices.Equal(got, want) {
		t.Errorf("%q were published, want %q", got, want)
	}
}
