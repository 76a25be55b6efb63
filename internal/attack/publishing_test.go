//go:build attack && linux

package attack

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestPublishBodies has publishers announce a body of 8 MiB and stop in the middle of it.
func TestPublishBodies(t *testing.T) {
	const a = attack("publish")
	newPublishing := func(t *testing.T) *gateway {
		return newGateway(t, setup{
			hub:    "buffer {\n max_message 8MiB\n channel_size 16MiB\n }",
			routes: "redis_sse_publish /publish/* {path.1} {\n max_size 8MiB\n }",
		})
	}
	t.Run("memory", func(t *testing.T) {
		g := newPublishing(t)
		publishers := size(100, 40)
		before := g.resetPeak()
		conns := stopAfter(t, g, publishers, 6*mib)
		stopped := time.Now()
		g.awaitFull()
		what := fmt.Sprintf("%d publishers that stop after 6 of 8 MiB: ", publishers)
		a.judge(what+"process", g.peak()-before, "MiB", 128)
		refused := 0
		for range 20 {
			if g.post("/publish/small", strings.NewReader("small")) != http.StatusOK {
				refused++
			}
		}
		a.tell(what+"others of 20 that are not answered 200 meanwhile", float64(refused), "")
		if !*little { // it takes long
			a.judgeAlone(what+"until all are ended", awaitEnds(conns, stopped).Seconds(), "s", 20)
		}
	})
	if *little {
		return // what is left are times
	}
	for _, sent := range []int{30 << 10, 500 << 10} {
		t.Run(fmt.Sprint(sent), func(t *testing.T) {
			conns := stopAfter(t, newPublishing(t), 10, sent)
			what := fmt.Sprintf("10 publishers that are silent after %d KiB: until all are ended", sent>>10)
			a.judgeAlone(what, awaitEnds(conns, time.Now()).Seconds(), "s", 20)
		})
	}
}

// stopAfter has publishers of 8 MiB send so many bytes of that.
func stopAfter(t *testing.T, g *gateway, publishers, sent int) (conns []net.Conn) {
	t.Helper()
	part := make([]byte, sent)
	for range publishers {
		conn, err := dial(g.addr, attacker, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := ask(conn, http.MethodPost, "/publish/large", fmt.Sprintf("Content-Length: %d", 8*mib)); err != nil {
			t.Fatal(err)
		}
		// One that is refused before is not an error: its answer is not read here.
		if err := conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(part)
		conns = append(conns, conn)
	}
	return conns
}

// heldAtMost is for how long an attack that holds something is watched: longer than any bound, and than what was seen of it.
const heldAtMost = 120 * time.Second

// awaitEnds returns how long after they stopped the gateway has closed all of these.
func awaitEnds(conns []net.Conn, stopped time.Time) time.Duration {
	for _, conn := range conns {
		_ = conn.SetReadDeadline(stopped.Add(heldAtMost))
		_, _ = io.Copy(io.Discard, conn)
	}
	return time.Since(stopped)
}

// TestBreaker has one publisher send what Redis does not take: that must not have others refused.
func TestBreaker(t *testing.T) {
	const a = attack("breaker")
	g := newGateway(t, setup{
		redis:  []string{"--proto-max-bulk-len", fmt.Sprint(mib)},
		routes: "redis_sse_publish /publish/* {path.1} {\n max_size 4MiB\n }",
	})
	const bodies, others = 20, 20
	for range bodies {
		g.post("/publish/large", strings.NewReader(strings.Repeat("x", 2*mib)))
	}
	refused := 0
	for range others {
		if g.post("/publish/small", strings.NewReader("small")) != http.StatusOK {
			refused++
		}
	}
	a.judge(fmt.Sprintf("%d bodies over proto-max-bulk-len: others of %d that are not answered 200", bodies, others), float64(refused), "", 0)
}
