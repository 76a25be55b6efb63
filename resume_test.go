package redissse

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// resumeRoutes serve /events/<channel>/<channel>.. by name, without and with client_from.
const resumeRoutes = `
	redis_sse /one/* {http.request.uri.path.1} {
		open_timeout 300ms
		drain 0s 0s
	}
	redis_sse /two/* {http.request.uri.path.1} {http.request.uri.path.2} {
		open_timeout 300ms
		drain 0s 0s
	}
	redis_sse /from/* {http.request.uri.path.1} {http.request.uri.path.2} {
		client_from
		drain 0s 0s
	}
	redis_sse /since/* {http.request.uri.path.1} {
		from since 1h
		drain 0s 0s
	}
	redis_sse /start/* {http.request.uri.path.1} {
		from start
		drain 0s 0s
	}
	redis_sse /last2/* {http.request.uri.path.1} {
		from last 2
		drain 0s 0s
	}
	redis_sse /query {http.request.uri.query.c} {
		drain 0s 0s
	}
`

func resumeGateway(t *testing.T, hub string) (*redistest.Server, *gateway) {
	t.Helper()
	return resumeGatewayOver(t, httpOne, hub)
}

func resumeGatewayOver(t *testing.T, proto, hub string) (*redistest.Server, *gateway) {
	t.Helper()
	server, g := redistest.Start(t), newGatewayOver(t, proto)
	g.load(server.URL(), quickHub+hub, resumeRoutes)
	return server, g
}

// resumePublish publishes n messages <prefix>1.. to channel, each of which somebody must receive.
func resumePublish(t *testing.T, server *redistest.Server, channel, prefix string, n int) []string {
	t.Helper()
	var sent []string
	for i := range n {
		payload := prefix + strconv.Itoa(i+1)
		if receivers := server.Publish(channel, payload); receivers != 1 {
			t.Fatalf("%d receivers of %q in %q, want 1", receivers, payload, channel)
		}
		sent = append(sent, payload)
	}
	return sent
}

// resumeGap takes the next event but cursors, which must be a gap.
func resumeGap(t *testing.T, s *ssetest.Stream) (ssetest.Event, told) {
	t.Helper()
	e := s.NextAfterCursors()
	if e.Type != "gap" {
		t.Fatalf("got %+q, want a gap", e)
	}
	g, err := decodeGap(e.Data)
	if err != nil {
		t.Fatalf("the data of a gap is %q: %v", e.Data, err)
	}
	return e, *g
}

func decodeGap(data string) (*told, error) {
	g := new(told)
	decoder := json.NewDecoder(strings.NewReader(data))
	decoder.DisallowUnknownFields()
	return g, decoder.Decode(g)
}

// resumeMustGap takes the next event but cursors, which must be a gap of channel for one of the reasons.
func resumeMustGap(t *testing.T, s *ssetest.Stream, channel string, reasons ...string) told {
	t.Helper()
	_, g := resumeGap(t, s)
	if g.Channel != channel || !slices.Contains(reasons, g.Reason) {
		t.Fatalf("got gap %+v, want one of %q for one of %q", g, channel, reasons)
	}
	return g
}

// resumeMessages takes as many messages as wanted, and nothing else but cursors.
func resumeMessages(t *testing.T, s *ssetest.Stream, want ...string) {
	t.Helper()
	if got := s.Messages(len(want)); !slices.Equal(got, want) {
		t.Fatalf("got messages %q, want %q", got, want)
	}
}

// resumeNothingElse shows that nothing was left in the stream: the next event is a new message.
func resumeNothingElse(t *testing.T, server *redistest.Server, s *ssetest.Stream, channel string) {
	t.Helper()
	server.Publish(channel, "and now live")
	resumeMessages(t, s, "and now live")
}

func TestResumeByHeaderOrQueryIsExact(t *testing.T) {
	server, g := resumeGateway(t, "")
	first := g.opened("/one/jobs")
	all := resumePublish(t, server, "jobs", "before ", 5)
	resumeMessages(t, first, all...)
	id := first.LastEventID()
	first.Close()
	missed := resumePublish(t, server, "jobs", "missed ", 5)

	for name, test := range map[string]struct{ header, query string }{
		"header":          {header: id},
		"last_event_id":   {query: "?last_event_id=" + url.QueryEscape(id)},
		"lastEventId":     {query: "?lastEventId=" + url.QueryEscape(id)},
		"the header wins": {header: id, query: "?last_event_id=garbage"},
	} {
		t.Run(name, func(t *testing.T) {
			s := g.in(t).opened("/one/jobs"+test.query, ssetest.WithLastEventID(test.header))
			resumeMessages(t, s, missed...)
			more := resumePublish(t, server, "jobs", name, 2)
			resumeMessages(t, s, more...)
			missed = append(missed, more...)
		})
	}
}

func TestResumeOfAStreamWithoutAMessageIsExact(t *testing.T) {
	server, g := resumeGateway(t, "")
	s := g.open("/one/jobs")
	cursor := s.SkipCursor()
	s.Close()
	missed := resumePublish(t, server, "jobs", "m", 3)
	again := g.opened("/one/jobs", ssetest.WithLastEventID(cursor.ID))
	resumeMessages(t, again, missed...)

	// And one whose id is the cursor of the resumed stream, which repeats the one it came with.
	third := g.open("/one/jobs", ssetest.WithLastEventID(cursor.ID))
	repeated := third.SkipCursor()
	third.Close()
	resumeMessages(t, g.opened("/one/jobs", ssetest.WithLastEventID(repeated.ID)), missed...)
}

func TestResumeAtEveryEventOfAHistory(t *testing.T) {
	server, g := resumeGateway(t, "")
	s := g.open("/two/a/b")
	history := []ssetest.Event{s.SkipCursor()}
	take := func(n int) {
		for range n {
			history = append(history, s.NextAfterCursors())
		}
	}
	round := func(prefix string) {
		for i := range 8 {
			server.Publish([]string{"a", "b", "b", "a"}[i%4], prefix+strconv.Itoa(i))
		}
		take(8)
	}
	round("x")
	server.KillPubSub()
	take(2) // a gap for each channel
	for _, e := range history[len(history)-2:] {
		if e.Type != "gap" {
			t.Fatalf("after the outage came %+q, want a gap", e)
		}
	}
	round("y")
	s.Close()

	for i, at := range history {
		again := g.opened("/two/a/b", ssetest.WithLastEventID(at.ID))
		for _, want := range history[i+1:] {
			if got := again.NextAfterCursors(); got != want {
				t.Fatalf("resumed at event %d %+q: got %+q, want %+q", i, at, got, want)
			}
		}
		resumeNothingElse(t, server, again, "a")
		again.Close()
		// The live message belongs to the history of the next turns.
		history = append(history, ssetest.Event{ID: again.LastEventID(), Type: "message", Data: "and now live"})
	}
}

func TestResumeWithAnotherSetOfChannelsJudgesEachByItself(t *testing.T) {
	server, g := resumeGateway(t, "")
	s := g.opened("/two/a/b")
	resumePublish(t, server, "a", "a", 2)
	resumePublish(t, server, "b", "b", 2)
	s.Messages(4)
	id := s.LastEventID()
	s.Close()
	missed := resumePublish(t, server, "a", "missed ", 2)
	again := g.opened("/two/a/c", ssetest.WithLastEventID(id))
	resumeMustGap(t, again, "c", gapNotBuffered)
	resumeMessages(t, again, missed...)
	resumeNothingElse(t, server, again, "c")
}

func TestResumeOfAChannelDroppedMeanwhileIsAGap(t *testing.T) {
	server, g := resumeGateway(t, "linger 0s")
	s := g.opened("/one/quiet")
	id := s.LastEventID()
	s.Close()
	server.WaitNumSub("quiet", 0)
	if n := server.Publish("quiet", "unheard"); n != 0 {
		t.Fatalf("%d receivers of a channel that was dropped", n)
	}
	again := g.opened("/one/quiet", ssetest.WithLastEventID(id))
	resumeMustGap(t, again, "quiet", gapNotBuffered, gapExpired)
	resumeNothingElse(t, server, again, "quiet")
}

func TestStreamOpenedInAnOutageGetsItsGapAtTheConfirmation(t *testing.T) {
	server, g := resumeGateway(t, "")
	known := g.opened("/one/known")
	resumeMessages(t, known, resumePublish(t, server, "known", "k", 1)...)
	id := known.LastEventID()
	server.Kill()
	g.waitLog("no redis connection")

	fresh := g.opened("/one/fresh") // 200 although nothing is confirmed
	freshKnown := g.opened("/one/known")
	resumed := g.opened("/one/known", ssetest.WithLastEventID(id))
	server.Restart()
	resumeMustGap(t, fresh, "fresh", gapNotBuffered)
	resumeMustGap(t, freshKnown, "known", gapDisconnected)
	resumeMustGap(t, resumed, "known", gapDisconnected)
	resumeMustGap(t, known, "known", gapDisconnected)
	resumeNothingElse(t, server, fresh, "fresh")
	server.Publish("known", "again")
	for _, s := range []*ssetest.Stream{known, freshKnown, resumed} {
		resumeMessages(t, s, "again")
	}
}

func TestOpenedMeansSubscribed(t *testing.T) {
	server, g := resumeGateway(t, "")
	for i := range 200 {
		channel := fmt.Sprintf("fresh%d", i)
		s := g.open("/one/" + channel)
		if n := server.Publish(channel, "at once"); n != 1 {
			t.Fatalf("%d receivers right after the headers of %q, want 1", n, channel)
		}
		resumeMessages(t, s, "at once")
		s.Close()
	}
}

// resumeCursor is the cursor that the stream's client would come back with.
func resumeCursor(t *testing.T, s *ssetest.Stream) place {
	t.Helper()
	c, ok := placeOf(s.LastEventID())
	if !ok {
		t.Fatalf("the id %q is not one of ours", s.LastEventID())
	}
	return c
}

func TestAMeaninglessCursorIsAGapAndAllThatIsBuffered(t *testing.T) {
	server, g := resumeGateway(t, "")
	s := g.opened("/one/jobs")
	all := resumePublish(t, server, "jobs", "m", 3)
	resumeMessages(t, s, all...)
	real := resumeCursor(t, s)
	with := func(change func(*place)) string {
		c := real
		change(&c)
		return c.ID()
	}
	for name, id := range map[string]string{
		"text":                      "garbage",
		"a number":                  "42",
		"5,000 bytes":               strings.Repeat("9", 5000),
		"5,000 dashes":              strings.Repeat("-", 5000),
		"one too long":              real.ID() + "A",
		"padded":                    real.ID()[:27] + "=",
		"lower case":                strings.ToLower(real.ID()),
		"another kind":              "I" + real.ID()[1:],
		"of the first form":         "1795771533333-277960878541095-abd60f614d38bf02-2c26b46b",
		"a space inside":            real.ID()[:10] + " " + real.ID()[11:],
		"SQL":                       `' OR 1=1 --`,
		"seq of the future":         with(func(c *place) { c.Seq += 1 << 20 }),
		"seq before the first":      with(func(c *place) { c.Seq = 0 }),
		"other epoch, no time":      with(func(c *place) { c.Epoch ^= 1; c.MS = 0 }),
		"other epoch, far ahead":    with(func(c *place) { c.Epoch ^= 1; c.MS += 60_000 }),
		"other epoch, largest time": with(func(c *place) { c.Epoch ^= 1; c.MS = 1<<44 - 1 }),
	} {
		t.Run(name, func(t *testing.T) {
			g := g.in(t)
			for _, s := range []*ssetest.Stream{
				g.opened("/one/jobs", ssetest.WithLastEventID(id)), g.opened("/one/jobs?last_event_id=" + url.QueryEscape(id)),
			} {
				resumeMustGap(t, s, "jobs", gapUnknownID)
				resumeMessages(t, s, all...)
				s.Close()
			}
		})
	}
	for name, query := range map[string]string{"NUL": "%00", "invalid UTF-8": "%ff%fe", "line ends": "a%0d%0aid:%20b"} {
		t.Run(name, func(t *testing.T) {
			s := g.in(t).opened("/one/jobs?last_event_id=" + query)
			resumeMustGap(t, s, "jobs", gapUnknownID)
			resumeMessages(t, s, all...)
		})
	}
	t.Run("other epoch, long ago", func(t *testing.T) {
		s := g.in(t).opened("/one/jobs", ssetest.WithLastEventID(with(func(c *place) { c.Epoch ^= 1; c.MS -= 3_600_000 })))
		resumeMustGap(t, s, "jobs", gapNotBuffered)
		resumeMessages(t, s, all...)
	})
}

// Another node, or this one after a restart, knows a cursor by its anchor once it has buffered for long enough.
func TestACursorOfAnotherEpochResumesExactlyAtItsAnchor(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server, g := resumeGateway(t, "")
	s := g.opened("/one/jobs")
	clock := g.hub().memory.Clock
	g.wait("redis's clock", func() bool { return clock.Now() != 0 })
	const anchorWindow, anchorReach = 4, 5000 // of internal/hub: payloads, milliseconds
	var real place
	var from int64 // when the first messages were there, which have no anchor
	n := 0
	g.wait("a buffer of the age that is searched", func() bool {
		n++ // each payload is another one, so that an anchor is of one message only
		resumeMessages(t, s, resumePublish(t, server, "jobs", fmt.Sprintf("m%d-", n), 1)...)
		if real = resumeCursor(t, s); n < anchorWindow {
			from = clock.Now()
		}
		return n >= anchorWindow && real.Anchor != 0 && real.MS > from+anchorReach
	})
	real.Epoch ^= 1
	real.Seq += 1 << 20 // that of another node
	again := g.opened("/one/jobs", ssetest.WithLastEventID(real.ID()))
	resumeMessages(t, again, resumePublish(t, server, "jobs", "later", 1)...)
}

func TestResumeBehindAnEvictionIsAGap(t *testing.T) {
	for name, buffer := range map[string]string{"count": "messages 5", "bytes": "channel_size 4KiB"} {
		t.Run(name, func(t *testing.T) {
			server, g := resumeGateway(t, "buffer {\n"+buffer+"\n}")
			s := g.opened("/one/jobs")
			id := s.LastEventID()
			sent := resumePublish(t, server, "jobs", strings.Repeat("x", 300), 40)
			for e := s.Next(); e.Data != sent[39]; e = s.Next() { // by then all have arrived, and gone
			}
			again := g.opened("/one/jobs", ssetest.WithLastEventID(id))
			got := resumeMustGap(t, again, "jobs", gapEvicted)
			if got.After == nil || *got.After != id {
				t.Errorf("the gap is after %v, want the stream's cursor %q", got.After, id)
			}
			// Whatever is left is the end of what was sent.
			first := again.Messages(1)[0]
			at := slices.Index(sent, first)
			if at < 1 || name == "count" && at != 35 {
				t.Fatalf("the first message left is number %d of 40", at)
			}
			resumeMessages(t, again, sent[at+1:]...)
			resumeNothingElse(t, server, again, "jobs")
		})
	}
}

func TestResumeBehindTheAgeLimitIsAGap(t *testing.T) {
	server, g := resumeGateway(t, "buffer {\nmax_age 1s\n}")
	s := g.opened("/one/jobs")
	id := s.LastEventID()
	resumeMessages(t, s, resumePublish(t, server, "jobs", "old ", 3)...)
	end := s.LastEventID()
	s.Close()
	h := g.hub()
	g.wait("the messages to expire", func() bool {
		return h.held("jobs").messages == 0
	})
	again := g.opened("/one/jobs", ssetest.WithLastEventID(id))
	resumeMustGap(t, again, "jobs", gapExpired)
	resumeNothingElse(t, server, again, "jobs")

	// Who has had all of them misses nothing.
	whole := g.opened("/one/jobs", ssetest.WithLastEventID(end))
	resumeMessages(t, whole, "and now live")
}
