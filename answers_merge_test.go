package redissse

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub/hubtest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// mergeRoutes serve the same answers merged, with both kinds of control, and not.
const mergeRoutes = `
	redis_sse /merged/* {http.request.uri.path.1} {
		from start
		end data [DONE]
		merge delta choices.0.delta.content
		drain 0s 0s
	}
	redis_sse /strict/* {http.request.uri.path.1} {
		from start
		control comments
		gap_data {gap}
		begin field type start
		end data [DONE]
		merge delta choices.0.delta.content
		drain 0s 0s
	}
	redis_sse /single/* {http.request.uri.path.1} {
		from start
		end data [DONE]
		drain 0s 0s
	}
	metrics /metrics
`

// mergeTokens are those of an answer, as its protocol has them, with their text.
func mergeTokens(n int) (payloads []string, text string) {
	var all strings.Builder
	for i := range n {
		token := fmt.Sprintf("%d %s ", i, []string{"word", `"quoted"`, "Zoë", "\n", `back\slash`, "😀"}[i%6])
		all.WriteString(token)
		payload, err := json.Marshal(map[string]string{"type": "text-delta", "id": "1", "delta": token})
		if err != nil {
			panic(err) // strings always marshal
		}
		payloads = append(payloads, string(payload))
	}
	return payloads, all.String()
}

// mergeText is the text in an event.
func mergeText(t *testing.T, data string) string {
	t.Helper()
	var part struct{ Type, ID, Delta string }
	if err := json.Unmarshal([]byte(data), &part); err != nil || part.Type != "text-delta" || part.ID != "1" {
		t.Fatalf("an event is %.200q: %v", data, err)
	}
	return part.Delta
}

// mergeAnswer is a gateway that has an answer of n tokens in channel a.
func mergeAnswer(t *testing.T, n int) (g *gateway, text string) {
	t.Helper()
	server := redistest.Start(t)
	g = startGateway(t, server.URL(), quickHub+"keep *", mergeRoutes)
	g.wait("the pattern", func() bool { return server.Do("PUBSUB", "NUMPAT").(int64) == 1 })
	tokens, text := mergeTokens(n)
	pipe := server.Client().Pipeline()
	for _, token := range append(tokens, "[DONE]") {
		pipe.Publish(t.Context(), "a", token)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.wait("the tokens", func() bool { return heldMessages(g.hub()) == int64(n)+1 })
	return g, text
}

func TestAReplayOfAnAnswerIsFewLargeEvents(t *testing.T) {
	const n = 2000
	g, want := mergeAnswer(t, n)
	read := func(path string) (text string, events, size int) {
		t.Helper()
		s := g.open(path)
		ended(t, s, "[DONE]")
		for e, ok := s.TryNext(0); ok; e, ok = s.TryNext(0) {
			if e.Type == "message" && e.Data != "[DONE]" {
				text += mergeText(t, e.Data)
				events++
			}
		}
		return text, events, len(s.Raw())
	}
	before := g.scrape()
	text, events, size := read("/merged/a")
	const labels = `{hub="default",route="{http.request.uri.path.1}"}`
	g.wait("the end to be counted", func() bool {
		return g.scrape().since(before)[`streams_total{end="finished",hub="default",route="{http.request.uri.path.1}"}`] == 1
	})
	g.scrape().since(before).want(t, series{
		"events_sent_total" + labels: n + 1, "replayed_events_total" + labels: n + 1, "merged_messages_total" + labels: float64(n - events),
	})
	if text != want || events > 10 {
		t.Errorf("%d events with %d bytes of text, want at most 10 with %d", events, len(text), len(want))
	}
	strictText, strictEvents, _ := read("/strict/a")
	singleText, singles, singleSize := read("/single/a")
	if strictText != want || strictEvents != events || singleText != want || singles != n {
		t.Errorf("%d events with comments, %d that are not merged, the text is the same: %v, %v", strictEvents, singles, strictText == want, singleText == want)
	}
	if size > singleSize/5 {
		t.Errorf("%d bytes, want a fifth of %d at most", size, singleSize)
	}
	t.Logf("%d tokens: %d events, %d bytes; not merged: %d bytes", n, events, size, singleSize)
}

// A client that is cut within an event does not have it, and gets all of it again: no token twice, none missing.
func TestACutWithinAMergedEventLosesAndRepeatsNothing(t *testing.T) {
	g, want := mergeAnswer(t, 2000)
	for _, path := range []string{"/merged/a", "/strict/a"} {
		for round := range 10 {
			var text strings.Builder
			id, done, cuts := "", false, 0
			for ; !done; cuts++ {
				if cuts == 1000 {
					t.Fatalf("%s: it does not come to its end", path)
				}
				var events []ssetest.Event
				events, id = mergeCut(t, g, path, id, rand.IntN(12_000))
				for _, e := range events {
					switch {
					case e.Type != "message":
					case e.Data == "[DONE]":
						done = true
					default:
						text.WriteString(mergeText(t, e.Data))
					}
				}
			}
			if text.String() != want {
				t.Fatalf("%s, round %d, after %d cuts: %d bytes of text, want %d, each once and in order", path, round, cuts, text.Len(), len(want))
			}
			g.answersNothing(path, id)
		}
	}
}

// mergeCut opens a stream as a client that has id, reads some bytes at most, and goes. It returns the events that were complete, and the
// id that a browser has then.
func mergeCut(t *testing.T, g *gateway, path, id string, bytes int) ([]ssetest.Event, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	if id != "" {
		r.Header.Set("Last-Event-ID", id)
	}
	response, err := g.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, int64(bytes)))
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s after %q: %s, %v", path, id, response.Status, err)
	}
	p := ssetest.NewParser()
	p.LastEventID = id
	return p.Push(raw), p.LastEventID
}

// A client that keeps up gets each token by itself, as soon as it is there; one that is slow gets what has come meanwhile in few events.
func TestOnlyAClientThatIsBehindGetsMergedEvents(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, From: "start", Merge: []string{"delta"}, End: []Match{{Data: []string{"[DONE]"}}}})
		merged := metricValue(t, h.metrics.merged)
		slow := &served{}
		slow.pause = 5 * time.Second
		startServing(t, h, slow)
		w.settled()
		time.Sleep(time.Minute)
		quick := serve(t, h)
		w.settled()
		tokens, want := mergeTokens(300)
		for i, token := range append(tokens, "[DONE]") {
			w.redis.Deliver(hubtest.Message{Channel: "a", Payload: token})
			w.settle()
			time.Sleep(100 * time.Millisecond)
			if n := len(quick.data()); n != i+1 {
				t.Fatalf("the client that keeps up has %d events after %d tokens", n, i+1)
			}
		}
		<-quick.ended
		if n := metricValue(t, h.metrics.merged) - merged; n < 200 {
			t.Errorf("%v tokens share an event by now: the slow client should not have had them yet", n)
		}
		<-slow.ended
		for name, s := range map[string]*served{"quick": quick, "slow": slow} {
			text, tokens := "", s.data()
			for _, data := range tokens[:len(tokens)-1] {
				text += mergeText(t, data)
			}
			if text != want || s.cut || (name == "slow") != (len(tokens) < 20) {
				t.Errorf("%s: %d events, %d bytes of text, want %d, cut: %v", name, len(tokens), len(text), len(want), s.cut)
			}
		}
	})
}
