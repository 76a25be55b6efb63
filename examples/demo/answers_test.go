package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func ask(t *testing.T, d *demo) (url string) {
	t.Helper()
	status, body := post(t, d.httpURL()+"/demo/ask", "")
	if status != http.StatusOK {
		t.Fatalf("asking: status %d: %s", status, body)
	}
	return d.httpURL() + "/answers/" + decode[struct{ Answer string }](t, body).Answer
}

// read takes events of an answer: to its end, or up to so many words. It returns the words, and how many gaps stood in them.
func read(t *testing.T, s *ssetest.Stream, most int) (text string, gaps int) {
	t.Helper()
	for count := 0; count < most; count++ {
		switch e := s.NextAfterCursors(); e.Type {
		case "gap":
			gaps++
		default:
			m := decode[message](t, e.Data)
			if m.Done {
				return text, gaps
			}
			text += m.Token
		}
	}
	return text, gaps
}

const toItsEnd = 1 << 20

func TestAnswerComesWholeToWhoeverOpensItsChannel(t *testing.T) {
	d := startDemo(t)
	published := d.worker.client.PSubscribe(t.Context(), answerChannel+"*")
	defer published.Close()
	url := ask(t, d)
	for range 5 { // the confirmation, and what no page is there for
		if _, err := published.ReceiveTimeout(t.Context(), 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	first := ssetest.Open(t, http.DefaultClient, url)
	before, _ := read(t, first, 10)
	first.Close() // as a page does that is reloaded

	for _, when := range []string{"in the middle", "at the end"} {
		text, gaps := read(t, ssetest.Open(t, http.DefaultClient, url), toItsEnd)
		if text != answerText || gaps > 0 {
			t.Errorf("opened again %s: %d gaps, and the text is\n%s\nwant\n%s", when, gaps, text, answerText)
		}
		if !strings.HasPrefix(text, before) {
			t.Errorf("opened again %s: the text does not begin with %q", when, before)
		}
	}
}

func TestAnswerEndsAlsoIfRedisWasAway(t *testing.T) {
	d := startDemo(t)
	s := ssetest.Open(t, http.DefaultClient, ask(t, d))
	read(t, s, 3)
	if status, body := post(t, d.httpURL()+"/demo/restart-redis", ""); status != http.StatusNoContent {
		t.Fatalf("restart: status %d: %s", status, body)
	}
	if _, gaps := read(t, s, toItsEnd); gaps != 1 {
		t.Errorf("%d gaps, want 1", gaps)
	}
}

func TestAnswersAtOnceAreBounded(t *testing.T) {
	d := startDemo(t)
	hold := make(chan struct{})
	defer close(hold)
	for range answersAtOnce {
		if err := d.worker.answers.begin(func() { <-hold }); err != nil {
			t.Fatal(err)
		}
	}
	if status, _ := post(t, d.httpURL()+"/demo/ask", ""); status != http.StatusTooManyRequests {
		t.Errorf("status %d, want 429", status)
	}
}
