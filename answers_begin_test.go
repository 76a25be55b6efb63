package redissse

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// beginRoutes serve answers from their beginning.
const beginRoutes = `
	redis_sse /begun/* {http.request.uri.path.1} {
		from start
		begin field type start
		end data [DONE]
		heartbeat 20ms
		drain 0s 0s
	}
	redis_sse /all/* {http.request.uri.path.1} {
		from start
		heartbeat 20ms
		drain 0s 0s
	}
	redis_sse /asked/* {http.request.uri.path.1} {
		client_from
		begin field type start
		drain 0s 0s
	}
	redis_sse /unfinished/* {http.request.uri.path.1} {
		from unfinished
		begin field type start
		end data [DONE]
		drain 0s 0s
	}
	redis_sse /nothing/* {http.request.uri.path.1} {
		from start
		begin field type start
		empty 204
		drain 0s 0s
	}
`

const answerStart = `{"type":"start"}`

// beginning is a gateway that keeps all channels and has lost its connection to Redis once.
type beginning struct {
	*gateway
	server *redistest.Server
}

func startBeginning(t *testing.T, hub string) *beginning {
	t.Helper()
	b := &beginning{newGateway(t), redistest.Start(t)}
	b.load(b.server.URL(), quickHub+"keep *\n"+hub, beginRoutes)
	b.patterns()
	return b
}

func (b *beginning) patterns() {
	b.t.Helper()
	b.wait("the pattern to be confirmed", func() bool { return b.hub().held("*").live && b.server.Do("PUBSUB", "NUMPAT").(int64) == 1 })
}

// outage loses the connection, and returns when there is another.
func (b *beginning) outage() {
	b.t.Helper()
	if n := b.server.KillPubSub(); n != 1 {
		b.t.Fatalf("%d connections were killed", n)
	}
	b.wait("the loss to be noticed", func() bool { return b.server.PubSubClients() == 1 })
	b.patterns()
}

// publish returns when the hub has the payloads.
func (b *beginning) publish(channel string, payloads ...string) {
	b.t.Helper()
	before := heldMessages(b.hub())
	for _, p := range payloads {
		b.server.Publish(channel, p)
	}
	b.wait("the messages", func() bool { return heldMessages(b.hub()) == before+int64(len(payloads)) })
}

func TestAnOutageBeforeAnAnswerIsNoneOfIts(t *testing.T) {
	b := startBeginning(t, "")
	b.outage()
	for i, path := range []string{"/begun/", "/asked/%s?from=start", "/unfinished/", "/nothing/"} {
		channel := fmt.Sprint("born", i)
		path := strings.Replace(path, "%s", channel, 1)
		if !strings.Contains(path, "?") {
			path += channel
		}
		b.publish(channel, answerStart, "token")
		resumeMessages(t, b.opened(path), answerStart, "token")
		// And another client, which says nothing of beginnings, is told as ever.
		all := b.opened("/all/" + channel)
		resumeMustGap(t, all, channel, gapDisconnected)
		resumeMessages(t, all, answerStart, "token")
	}
	// A channel whose first message is none that an answer begins with may have lost that.
	b.publish("half", "token", answerStart)
	half := b.opened("/begun/half")
	resumeMustGap(t, half, "half", gapDisconnected)
	resumeMessages(t, half, "token", answerStart)
	// What a client that comes back has missed is its own.
	b.publish("resumed", answerStart)
	first := b.opened("/begun/resumed")
	resumeMessages(t, first, answerStart)
	id := first.LastEventID()
	first.Close()
	b.outage()
	b.publish("resumed", answerStart)
	back := b.opened("/begun/resumed", ssetest.WithLastEventID(id))
	resumeMustGap(t, back, "resumed", gapDisconnected)
	resumeMessages(t, back, answerStart)
}

// Whether something is missing is known with the first message: until then there is no gap, and no cursor beyond it.
func TestAGapBeforeAnAnswerWaitsForTheFirstMessage(t *testing.T) {
	b := startBeginning(t, "")
	b.outage()
	beats := func(s *ssetest.Stream) (id string) {
		t.Helper()
		first := s.SkipCursor()
		for range 3 {
			if e := s.SkipCursor(); e.ID != first.ID {
				p, _ := placeOf(e.ID)
				q, _ := placeOf(first.ID)
				if p.Seq > q.Seq {
					t.Errorf("the cursor moves from %s to %s while it is open whether something is missing", first.ID, e.ID)
				}
			}
		}
		return s.LastEventID()
	}
	good, bad := b.open("/begun/good"), b.open("/begun/bad")
	goodID, badID := beats(good), beats(bad)
	b.publish("good", answerStart)
	b.publish("bad", "token")
	resumeMessages(t, good, answerStart)
	resumeMustGap(t, bad, "bad", gapDisconnected)
	resumeMessages(t, bad, "token")
	// A client that was cut before the first message comes back with that cursor, which is one: it is told of the outage.
	for channel, id := range map[string]string{"good": goodID, "bad": badID} {
		back := b.opened("/begun/"+channel, ssetest.WithLastEventID(id))
		resumeMustGap(t, back, channel, gapDisconnected)
	}
}

// Between messages it is the answer's.
func TestAnOutageWithinAnAnswerIsTold(t *testing.T) {
	b := startBeginning(t, "")
	b.outage()
	b.publish("a", answerStart, "1")
	live := b.opened("/begun/a")
	resumeMessages(t, live, answerStart, "1")
	b.outage()
	b.publish("a", "3", "[DONE]")
	resumeMustGap(t, live, "a", gapDisconnected)
	resumeMessages(t, live, "3", "[DONE]")
	ended(t, live, "[DONE]")
	late := b.opened("/begun/a")
	resumeMessages(t, late, answerStart, "1")
	resumeMustGap(t, late, "a", gapDisconnected)
	resumeMessages(t, late, "3", "[DONE]")
	ended(t, late, "[DONE]")

	// An outage while the channel had a stream and no message yet is told, too, if what comes is not a beginning.
	early := b.opened("/begun/early")
	b.outage()
	b.publish("early", "2")
	resumeMustGap(t, early, "early", gapDisconnected)
	resumeMessages(t, early, "2")
}

// What was lost in an outage would have expired max_age later.
func TestAnOutageIsForgottenWithWhatItLost(t *testing.T) {
	b := startBeginning(t, "buffer {\nmax_age 1s\n}")
	first := b.opened("/all/resumed")
	cursor := first.LastEventID()
	first.Close()
	b.outage()
	over := time.Now()
	b.publish("early", "token")
	early := b.opened("/all/early")
	if time.Since(over) < time.Second { // else this machine was too slow to see it
		resumeMustGap(t, early, "early", gapDisconnected)
	}
	b.wait("max_age to have passed", func() bool { return time.Since(over) > 1200*time.Millisecond })
	b.publish("late", "token")
	resumeMessages(t, b.opened("/all/late"), "token")
	b.publish("resumed", "token")
	back := b.opened("/all/resumed", ssetest.WithLastEventID(cursor))
	resumeMustGap(t, back, "resumed", gapDisconnected, gapNotBuffered, gapExpired)
	resumeMessages(t, back, "token")
}

func TestFromUnfinishedIsTheAnswerInTheWorks(t *testing.T) {
	a := startAnswering(t, httpOne)
	next := func(path string, want ...string) string {
		t.Helper()
		s := a.open(path)
		for _, data := range want {
			if e := s.NextAfterCursors(); e.Data != data {
				t.Errorf("%s: got %+q, want %q", path, e, data)
			}
		}
		if want != nil && want[len(want)-1] == "[DONE]" {
			return ended(t, s, "[DONE]")
		}
		s.Close()
		return s.LastEventID()
	}
	a.answersNothing("/unfinished/chat", "")
	next("/asked/chat?from=unfinished")
	a.publish("chat", "1a")
	mid := next("/unfinished/chat", "1a")
	a.publish("chat", "1b", "[DONE]")
	a.answersNothing("/unfinished/chat", "") // the answer has ended: there is none in the works
	next("/unfinished/chat?last_event_id="+mid, "1b", "[DONE]")
	a.publish("chat", "2a", "2b", "[DONE]", "3a")
	next("/unfinished/chat", "3a")
	next("/unfinished/chat?last_event_id=-1", "3a") // no cursor
	next("/asked/chat?from=unfinished", "3a")
	next("/asked/chat?from=start", "1a", "1b", "[DONE]")
	next("/unfinished/chat?last_event_id="+mid, "1b", "[DONE]") // a cursor wins
	next("/asked/chat?from=unfinished&last_event_id="+mid, "1b", "[DONE]")
	a.publish("chat", "3b", "[DONE]")
	a.answersNothing("/unfinished/chat", "")

	// Who waits for the next one gets all of it.
	waits := a.open("/asked/chat?from=unfinished")
	a.publish("chat", "4a", "[DONE]")
	resumeMessages(t, waits, "4a", "[DONE]")
	ended(t, waits, "[DONE]")
	for _, query := range []string{"?from=unfinished", "?from=Unfinished"} {
		r := ssetest.Do(t, a.client, a.URL("/plain/chat"+query))
		if r.StatusCode != http.StatusOK { // no client_from
			t.Errorf("%s: %s", query, r.Status)
		}
	}
	if r := ssetest.Do(t, a.client, a.URL("/asked/chat?from=unfinish")); r.StatusCode != http.StatusBadRequest {
		t.Errorf("a word that is none: %s", r.Status)
	}
}

// Without end nothing is unfinished, and a client that asks for it is told.
func TestOnlyAStreamWithAnEndIsUnfinished(t *testing.T) {
	h := reqHandler(t, &Handler{ClientFrom: true}, "news")
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/?from=unfinished", nil)
	if err := h.ServeHTTP(w, reqCaddy(r, w), nil); reqStatus(err) != http.StatusBadRequest || !strings.Contains(err.Error(), `"unfinished"`) {
		t.Errorf("it is %v", err)
	}
}

// A client that asks whether there is an answer is told at once that there is none, but not before that is known.
func TestEmptyIsAnsweredOnceRedisHasConfirmed(t *testing.T) {
	server := redistest.Start(t, "--user", "app", "on", ">secret", "+@all", "resetchannels", "&__redis_sse:*", "&open:*", "&kept")
	g := startGateway(t, strings.Replace(server.URL(), "//", "//app:secret@", 1), quickHub+"keep kept", `
		redis_sse /empty/* {http.request.uri.path.1} {
			from start
			empty 204
			open_timeout 500ms
			max_streams 1
			drain 0s 0s
		}
		metrics /metrics
	`)
	before := g.scrape()
	g.answersNothing("/empty/open:1", "")
	g.answersNothing("/empty/open:1", "", ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader("?")))
	g.wait("the pattern", func() bool { return g.hub().held("kept").live })
	g.answersNothing("/empty/kept", "")
	const count = `no_content_total{cause="empty",hub="default",route="{http.request.uri.path.1}"}`
	added := g.scrape().since(before)
	added.want(t, series{count: 3})
	if n := added[`streams_opened_total{hub="default",route="{http.request.uri.path.1}"}`]; n != 0 {
		t.Errorf("%v streams opened", n)
	}
	alone := func(name string, opts ...ssetest.Option) *ssetest.Stream {
		t.Helper()
		g.wait("the only place", func() bool { return g.hub().streams.Load() == 0 })
		s := g.opened("/empty/"+name, opts...)
		t.Cleanup(s.Close)
		return s
	}
	// Redis refuses the channel: that is a gap, and no silence.
	denied := alone("secret")
	resumeMustGap(t, denied, "secret", gapRefused)
	denied.Close()
	// With a cursor it is no question.
	server.Publish("open:1", "lost or not")
	back := alone("open:2", ssetest.WithLastEventID(place{MS: 1, Seq: 1, Epoch: 1, Anchor: 1}.ID()))
	resumeMustGap(t, back, "open:2", gapNotBuffered)
	server.Publish("open:2", "the newest")
	resumeMessages(t, back, "the newest")
	back.Close()
	again := alone("open:2", ssetest.WithLastEventID(back.LastEventID()))
	resumeNothingElse(t, server, again, "open:2")
	again.Close()
	// As long as Redis has not confirmed, something may be there.
	server.Freeze()
	frozen := alone("open:3")
	server.Thaw()
	resumeMustGap(t, frozen, "open:3", gapNotBuffered, gapDisconnected)
	resumeNothingElse(t, server, frozen, "open:3")
}
