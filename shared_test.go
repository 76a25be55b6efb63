//go:build linux

package redissse

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// TestStreamsThatStallShareTheCrewWithOthers: all of them are cut in their time, and the others of the same channel get everything
// meanwhile.
func TestStreamsThatStallShareTheCrewWithOthers(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	const stalled, live, messages = 80, 40, 10
	server := redistest.Start(t)
	g := newGatewayOver(t, httpTwo)
	transport := g.client.Transport.(again).RoundTripper.(*http.Transport)
	transport.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 64 << 20}
	g.load(server.URL(), stallHub, `
		redis_sse /big big {
			lean auto
			heartbeat 500ms
			stall_timeout 4s
			drain 0s 0s
		}
		metrics /metrics
	`)
	for range stalled {
		ssetest.Do(t, g.client, g.URL("/big"))
	}
	var streams []*ssetest.Stream
	for range live {
		streams = append(streams, ssetest.Open(t, g.client, g.URL("/big")))
	}
	g.wait("all streams to be shared", func() bool { return g.streamsOf(leanShared) == stalled+live })
	before := g.scrape()
	var all sync.WaitGroup
	for _, s := range streams {
		all.Go(func() {
			for i := range messages + 1 {
				if e := s.NextAfterCursors(); strings.TrimRight(e.Data, " ") != strconv.Itoa(i) {
					t.Errorf("message %d: a %s, %.20q", i, e.Type, e.Data)
					return
				}
			}
		})
	}
	for i := range messages {
		server.Publish("big", strconv.Itoa(i)+strings.Repeat(" ", 64<<10))
	}
	const ends = `streams_total{end="stalled",hub="default",route="big"}`
	g.wait("the stalled streams to be cut", func() bool { return g.scrape().since(before)[ends] == stalled })
	if n := g.streamsOf(leanShared); n != live {
		t.Errorf("%v streams are left, want %d", n, live)
	}
	server.Publish("big", strconv.Itoa(messages))
	all.Wait()
}

func TestStreamsAreSharedUnlessLeanIsOff(t *testing.T) {
	for _, proto := range []string{httpTwo, httpThree} {
		for option, want := range map[string]string{
			"lean auto": `lean="shared",reason="protocol"`, "lean on": `lean="shared",reason="protocol"`, "lean off": `lean="no",reason="option"`,
		} {
			t.Run(proto+" "+option, func(t *testing.T) {
				server := redistest.Start(t)
				g := newGatewayOver(t, proto)
				g.load(server.URL(), "", "redis_sse /news shared {\n"+option+"\n}\nmetrics /metrics\n")
				s := ssetest.Open(t, g.client, g.URL("/news"))
				g.wait("the stream to be live", func() bool {
					return g.scrape()[`streams_lean{hub="default",`+want+`,route="shared"}`] == 1
				})
				server.Publish("shared", "hello")
				resumeMessages(t, s, "hello")
			})
		}
	}
}

// Who has ended may be woken until it has left, and does nothing then.
func TestASharedStreamThatHasEndedDoesNothing(t *testing.T) {
	_, deliveries, _ := benchHub(t, 1)
	d := deliveries[0]
	s := &shared{d: d, over: make(chan sharedEnd, 1)}
	d.wake.Signal(signalGone)
	s.Do()
	if over := <-s.over; over.end != endClient {
		t.Fatalf("it ends with %q", over.end)
	}
	d.wake.Signal(signalBeat)
	s.Do()
	if !d.wake.Has(signalBeat) {
		t.Error("it has looked at what is its request's")
	}
}

// breaks is a sink that has a bug.
type breaks struct{ sink }

func (breaks) write([]byte) error { panic("oh") }
func (breaks) giveUp()            {}

// A bug in one stream is its request's, as if that had written it.
func TestASharedStreamThatPanicsDoesSoInItsRequest(t *testing.T) {
	_, deliveries, _ := benchHub(t, 2)
	bad, good := deliveries[0], deliveries[1]
	bad.sink = breaks{}
	for _, d := range deliveries {
		d.plan = &leanPlan{kind: leanShared, why: leanProtocol}
	}
	ended := make(chan endReason)
	go func() {
		end, _ := new(Handler).follow(good, reqGet("/"))
		ended <- end
	}()
	func() {
		defer func() {
			if text, _ := recover().(string); !strings.HasPrefix(text, "oh\n") || !strings.Contains(text, "breaks.write") {
				t.Errorf("it panics with %.200q", text)
			}
		}()
		bad.wake.Signal(signalBeat)
		end, _ := new(Handler).follow(bad, reqGet("/"))
		t.Errorf("it ends with %q", end)
	}()
	good.wake.Signal(signalGone)
	if end := <-ended; end != endClient {
		t.Errorf("the other one ends with %q", end)
	}
}

func TestAPanicElsewhereIsOneHere(t *testing.T) {
	elsewhere(func() {})
	for _, test := range []struct {
		value any
		is    func(got any) bool
	}{
		{http.ErrAbortHandler, func(got any) bool { return got == http.ErrAbortHandler }},
		{io.EOF, func(got any) bool { text, _ := got.(string); return strings.HasPrefix(text, "EOF\n") }},
		{errors.New("oh"), func(got any) bool {
			text, _ := got.(string)
			return strings.Contains(text, "TestAPanicElsewhereIsOneHere")
		}},
	} {
		func() {
			defer func() {
				if got := recover(); !test.is(got) {
					t.Errorf("%v is here %v", test.value, got)
				}
			}()
			elsewhere(func() { panic(test.value) })
			t.Errorf("%v is nothing here", test.value)
		}()
	}
}
