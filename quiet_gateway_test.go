package redissse

import (
	"fmt"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// quietHub has what is published before a stream opens.
const quietHub = quickHub + "keep *\n"

// quietRoutes stream answers from their beginning, with words for their silence and without. What is to come in time is
// published before: a busy machine may be late.
const quietRoutes = `
	metrics /metrics
	redis_sse /told {query.channel} {
		from start
		end data [DONE]
		quiet %[2]s ` + "`" + quietData + "`" + `
		heartbeat 200ms
		drain %[1]s 0s
	}
	redis_sse /cut {query.channel} {
		from start
		end data [DONE]
		quiet %[2]s
		drain %[1]s 0s
	}
`

// publishKept publishes on channel a, and returns when the hub has it.
func (g *gateway) publishKept(server *redistest.Server, payload string) {
	g.t.Helper()
	before := heldMessages(g.hub())
	g.wait("the kept pattern", func() bool { return g.hub().held("*").live })
	server.Publish("a", payload)
	g.wait("the message", func() bool { return heldMessages(g.hub()) > before })
}

// wantTold takes the events of a stream up to its end, which must be that nothing more came.
func wantTold(t *testing.T, s *ssetest.Stream) (before []string) {
	t.Helper()
	for {
		e := s.NextAfterCursors()
		if e.Data == quietData {
			awaitEnd(t, s)
			return before
		}
		before = append(before, e.Type+" "+e.Data)
	}
}

func TestAWorkerThatDiesEndsTheStreamOfItsAnswer(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	overEachProtocol(t, func(t *testing.T, proto string) {
		server := redistest.Start(t)
		g := newGatewayOver(t, proto)
		g.load(server.URL(), quietHub, fmt.Sprintf(quietRoutes, "0s", "1s"))
		before := g.scrape()
		g.publishKept(server, "a token")
		told, cut := g.opened("/told?channel=a"), g.opened("/cut?channel=a")
		if got := wantTold(t, told); len(got) != 1 || got[0] != "message a token" {
			t.Errorf("got %q before the end", got)
		}
		awaitCut(t, cut)
		g.wait("the metric", func() bool {
			since := g.scrape().since(before)
			return since[`streams_total{end="quiet",hub="default",route="{http.request.uri.query.channel}"}`] == 2
		})
		g.publishKept(server, "[DONE]") // by a worker that has taken over
		again := g.opened("/told?channel=a", ssetest.WithLastEventID(told.LastEventID()))
		if e := again.NextAfterCursors(); e.Data != "[DONE]" {
			t.Errorf("got %+q", e)
		}
		awaitEnd(t, again)
	})
}

func TestAnEndThatAnOutageTookIsNotWaitedForForEver(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), quietHub, fmt.Sprintf(quietRoutes, "0s", "5s"))
	g.publishKept(server, "a token")
	s := g.opened("/told?channel=a")
	if e := s.NextAfterCursors(); e.Data != "a token" {
		t.Errorf("got %+q", e)
	}
	server.Kill()
	for range 30 { // heartbeats of 200ms: the outage takes longer than quiet allows
		s.NextOf("cursor")
	}
	if _, err := server.TryPublish("a", "[DONE]"); err == nil {
		t.Error("the end was published")
	}
	server.Restart()
	if got := wantTold(t, s); len(got) != 1 || got[0][:4] != "gap " {
		t.Errorf("got %q behind the token, want a gap", got)
	}
}

func TestAReloadChangesNothingForAStreamThatIsQuiet(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), quietHub, fmt.Sprintf(quietRoutes, "1h", "3s"))
	g.publishKept(server, "a token")
	old := g.opened("/told?channel=a")
	g.load(server.URL(), quietHub, fmt.Sprintf(quietRoutes, "0s", "3s"))
	now := g.opened("/told?channel=a")
	for _, s := range []*ssetest.Stream{old, now} {
		if got := wantTold(t, s); len(got) != 1 || got[0] != "message a token" {
			t.Errorf("got %q before the end", got)
		}
	}
}
