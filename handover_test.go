package redissse

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func TestAReloadWithoutTheHandlerReleasesTheHubWithItsLastStream(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	const window = 3 * time.Second
	overEachProtocol(t, func(t *testing.T, proto string) {
		server := redistest.Start(t)
		g := newGatewayOver(t, proto)
		g.load(server.URL(), quickHub, fmt.Sprintf(`
			redis_sse /short jobs {
				drain %s 0s
			}
			redis_sse /long jobs {
				drain 1h 0s
			}
		`, window))
		h, key := g.hubCalled(defaultHub)
		var long, short []*ssetest.Stream
		for range 3 { // one of them may end within seconds: it is a random moment of the hour
			long = append(long, g.opened("/long"))
		}
		for range 20 {
			short = append(short, g.opened("/short"))
		}
		// A claim of the test's own shows a hub that is released twice.
		own, err := claimHub(key, h.settings.Load(), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = own.release() })
		if err := g.tryConfig("", `respond "gone"`); err != nil { // would wait for /long if it waited
			t.Fatal(err)
		}
		ends := watchEnds(short)
		g.awaitReferences(h, key, 2, len(long))
		first, last := ends(t)
		if spread := last.Sub(first); spread < window/8 {
			t.Errorf("20 streams ended within %v, want them spread over %v", spread, window)
		}
		long = slices.DeleteFunc(long, hasEnded)
		sent := resumePublish(t, server, "jobs", "m", 2)
		for _, s := range long {
			resumeMessages(t, s, sent...)
			s.Close()
		}
		g.awaitReferences(h, key, 1, 0)
		if err := own.release(); err != nil {
			t.Error(err)
		}
		g.awaitReleased(server, key)
	})
}

// awaitReferences returns when the pool counts that many references to the hub, which must not be before the channel "jobs" is
// down to so many streams.
func (g *gateway) awaitReferences(h *redisHub, key hubKey, references, streams int) {
	g.t.Helper()
	g.wait(fmt.Sprintf("%d references", references), func() bool {
		n, _ := hubs.References(key)
		open := openStreams(h) // looked at after n: both only fall
		if n < references || n == references && open > streams {
			g.t.Fatalf("%d references are left while %d streams are open, want %d", n, open, references)
		}
		return n == references
	})
}

// openStreams is how many streams hold the channel "jobs".
func openStreams(h *redisHub) int { return h.held("jobs").streams }

func hasEnded(s *ssetest.Stream) bool {
	select {
	case <-s.Ended():
		return true
	default:
		return false
	}
}

// watchEnds returns a function that returns when the first and the last of the streams ended, all properly.
func watchEnds(streams []*ssetest.Stream) func(*testing.T) (first, last time.Time) {
	ends := make(chan time.Time, len(streams))
	for _, s := range streams {
		go func() {
			<-s.Ended() // at the end of the test at the latest
			ends <- time.Now()
		}()
	}
	return func(t *testing.T) (first, last time.Time) {
		t.Helper()
		for _, s := range streams {
			awaitEnd(t, s)
			last = <-ends
			if first.IsZero() {
				first = last
			}
		}
		return first, last
	}
}

func TestARenamedHubBeginsWithAGap(t *testing.T) { overEachProtocol(t, judgeRenamedHub) }

func judgeRenamedHub(t *testing.T, proto string) {
	server := redistest.Start(t)
	g := newGatewayOver(t, proto)
	load := func(name string) {
		t.Helper()
		global := fmt.Sprintf("redis_sse %s {\nredis %s\n}", name, server.URL())
		g.loadConfig(global, fmt.Sprintf("redis_sse /events jobs {\nhub %s\ndrain 300ms 0s\n}\n", name))
	}
	load("one")
	_, key := g.hubCalled("one")
	var before []*ssetest.Stream
	for range 5 {
		before = append(before, g.opened("/events"))
	}
	sent := resumePublish(t, server, "jobs", "before ", 5)
	load("two")
	for _, s := range before {
		awaitEnd(t, s)
		resumeMessages(t, s, sent...)
	}
	g.awaitReleased(server, key)
	if n := server.Publish("jobs", "meanwhile"); n != 0 {
		t.Errorf("%d receivers while no client is there", n)
	}
	var after []*ssetest.Stream
	for _, s := range before {
		again := g.opened("/events", ssetest.WithLastEventID(s.LastEventID()))
		// A hub that has not yet asked Redis for its clock does not know how old the id is.
		resumeMustGap(t, again, "jobs", gapNotBuffered, gapUnknownID)
		after = append(after, again)
	}
	sent = resumePublish(t, server, "jobs", "after ", 5)
	for _, s := range after {
		resumeMessages(t, s, sent...)
	}
}

// handover is a gateway whose configuration "old" is to be replaced while requests are on their way to its handler.
type handover struct {
	*gateway
	server *redistest.Server
}

// handoverRoutes are the handlers of one configuration, which ends its streams at once when it goes.
func handoverRoutes(step string) string {
	return fmt.Sprintf(`
		route {
			redissse_test_step %s
			redis_sse /jobs jobs {
				open_timeout 15s
				drain 0s 0s
			}
		}
	`, step)
}

func startHandover(t *testing.T, proto string) *handover {
	t.Helper()
	o := &handover{gateway: newGatewayOver(t, proto), server: redistest.Start(t)}
	o.load(o.server.URL(), quickHub, handoverRoutes("old"))
	return o
}

// replace loads the next configuration: one with the same handler, or one with neither handler nor hub.
func (o *handover) replace(kept bool) error {
	if kept {
		return o.tryLoad(o.server.URL(), quickHub, handoverRoutes("new"))
	}
	return o.tryConfig("", `respond "gone"`)
}

// late opens a stream whose request reaches the old handler before the load, and is complete only after it.
func (o *handover) late(kept bool, opts ...ssetest.Option) *ssetest.Stream {
	o.t.Helper()
	body, end := io.Pipe() // the handler before the old one reads it
	replaced := make(chan error, 1)
	go func() {
		defer end.Close()
		_, _ = end.Write([]byte("some of it")) // fails only if the request does
		select {
		case <-stepReached:
			replaced <- o.replace(kept)
		case <-o.t.Context().Done():
		}
	}()
	s := o.open("/jobs", append(opts, ssetest.WithMethod(http.MethodPost), ssetest.WithBody(body))...)
	if err := <-replaced; err != nil {
		o.t.Fatal(err)
	}
	if step := s.Header().Get("X-Step"); step != "old" {
		o.t.Fatalf("configuration %q served the request, want the old one", step)
	}
	if o.proto != httpOne {
		awaitCertificate(o.t, o.addr)
	}
	return s
}

// whole returns the messages that the streams, one after the other, brought: all of those that have ended, and of the last one
// those up to a message published now.
func (o *handover) whole(streams ...*ssetest.Stream) []string {
	o.t.Helper()
	o.server.Publish("jobs", "the end")
	var messages []string
	for _, s := range streams {
		for e, more := s.TryNext(gatewayWait); more && e.Data != "the end"; e, more = s.TryNext(gatewayWait) {
			switch e.Type {
			case "cursor":
			case "message":
				messages = append(messages, e.Data)
			default:
				o.t.Errorf("got %+q after %q", e, messages)
			}
		}
	}
	return messages
}

func TestARequestInADrainingHandlerIsServedAndThenEnded(t *testing.T) {
	overEachProtocol(t, func(t *testing.T, proto string) {
		o := startHandover(t, proto)
		first := o.opened("/jobs")
		id := first.LastEventID()
		sent := resumePublish(t, o.server, "jobs", "m", 5)
		resumeMessages(t, first, sent...) // the hub has them

		s := o.late(true, ssetest.WithLastEventID(id))
		awaitEnd(t, s)
		s.SkipCursor()
		resumeMessages(t, s, sent...)
		again := o.open("/jobs", ssetest.WithLastEventID(s.LastEventID()))
		if step := again.Header().Get("X-Step"); step != "new" {
			t.Errorf("configuration %q serves the next request", step)
		}
		if got := o.whole(s, again); len(got) > 0 {
			t.Errorf("got %q again", got)
		}
	})
}

// TestWhatIsPublishedOnceADrainingHandlerHasOpenedArrives: the client of a fresh EventSource publishes in onopen.
func TestWhatIsPublishedOnceADrainingHandlerHasOpenedArrives(t *testing.T) {
	overEachProtocol(t, func(t *testing.T, proto string) {
		o := startHandover(t, proto)
		s := o.late(true)
		if n := o.server.Publish("jobs", "in onopen"); n != 1 {
			t.Errorf("%d receivers of what is published in onopen", n)
		}
		awaitEnd(t, s)
		again := o.open("/jobs", ssetest.WithLastEventID(s.LastEventID()))
		if got := o.whole(s, again); !slices.Equal(got, []string{"in onopen"}) {
			t.Errorf("got %q, want what was published in onopen, once", got)
		}
	})
}

func TestARequestIsServedAlthoughItsHandlerAndHubAreGone(t *testing.T) {
	overEachProtocol(t, func(t *testing.T, proto string) {
		o := startHandover(t, proto)
		h, key := o.hubCalled(defaultHub)
		first := o.opened("/jobs")
		first.Close()
		o.wait("no stream to hold the hub", func() bool { return openStreams(h) == 0 })
		resumePublish(t, o.server, "jobs", "lost with the hub ", 1)

		s := o.late(false, ssetest.WithLastEventID(first.LastEventID()))
		awaitEnd(t, s)
		s.SkipCursor()
		resumeMustGap(t, s, "jobs", gapNotBuffered, gapUnknownID)
		o.awaitReleased(o.server, key)
	})
}

// TestARequestHalfReadAtAReloadGetsNoErrorStatus: net/http may hang up, from which an EventSource recovers. Any status but 200
// would stop it for ever.
func TestARequestHalfReadAtAReloadGetsNoErrorStatus(t *testing.T) {
	o := startHandover(t, httpOne)
	first := o.opened("/jobs")
	id := first.LastEventID()
	sent := resumePublish(t, o.server, "jobs", "m", 5)
	finish := o.halfRequest(id)
	if err := o.replace(true); err != nil {
		t.Fatal(err)
	}
	if answer := finish(); answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("the answer is %q", answer)
	}
	again := o.opened("/jobs", ssetest.WithLastEventID(id))
	resumeMessages(t, again, sent...)
	resumeNothingElse(t, o.server, again, "jobs")
}

// halfRequest sends half of a request's headers. The function it returns sends the rest, and returns all that comes back.
func (o *handover) halfRequest(id string) func() string {
	o.t.Helper()
	conn, err := net.Dial("tcp", o.addr)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "GET /jobs HTTP/1.1\r\nHost: "+o.addr+"\r\nLast-Ev"); err != nil {
		o.t.Fatal(err)
	}
	// Connections are accepted in turn: one that came later is served, so this one has its server.
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := fresh.Get(o.URL("/"))
	if err != nil {
		o.t.Fatal(err)
	}
	_ = response.Body.Close()
	return func() string {
		o.t.Helper()
		_, _ = io.WriteString(conn, "ent-ID: "+id+"\r\n\r\n") // what comes back tells whether it was taken
		if err := conn.SetReadDeadline(time.Now().Add(gatewayWait)); err != nil {
			o.t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			o.t.Fatalf("the connection is still open, after %q", answer)
		}
		return string(answer)
	}
}
