//go:build attack && linux

package attack

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// endless are requests for a stream whose body does not end.
var endless = []struct {
	what  string
	begin func(conn net.Conn) error
	drip  func(conn net.Conn) error // nil: silent
}{
	{"GET that sends none of its body", func(conn net.Conn) error {
		return ask(conn, http.MethodGet, "/events", acceptStream, "Content-Length: 10")
	}, nil},
	{"GET with a chunk a second", func(conn net.Conn) error {
		return ask(conn, http.MethodGet, "/events", acceptStream, "Transfer-Encoding: chunked")
	}, func(conn net.Conn) error { _, err := io.WriteString(conn, "1\r\nx\r\n"); return err }},
	{"POST with a byte a second", func(conn net.Conn) error {
		return ask(conn, http.MethodPost, "/events", acceptStream, "Content-Length: 1000")
	}, func(conn net.Conn) error { _, err := io.WriteString(conn, "x"); return err }},
	{"GET over HTTP/2 that sends none of its body", func(conn net.Conn) error {
		return ask2(conn, 64<<10, 1, true, http.MethodGet, "/events")
	}, nil},
	{"POST over HTTP/2 with a byte a second", func(conn net.Conn) error {
		return ask2(conn, 64<<10, 1, true, http.MethodPost, "/events")
	}, func(conn net.Conn) error {
		return http2.NewFramer(conn, nil).WriteData(1, false, []byte("x"))
	}},
}

// places is how many streams a route may have.
const places = 5

// TestBodies has requests hold what they have for longer than they may: their place, and the exit.
func TestBodies(t *testing.T) {
	const a = attack("bodies")
	for _, e := range endless {
		t.Run(e.what, func(t *testing.T) {
			g := newGateway(t, setup{routes: fmt.Sprintf("redis_sse /events news {\n max_streams %d\n drain 1s 1s\n }", places)})
			held := holdAll(t, g, e.begin, e.drip)
			over := 0.0
			if !g.within(5*time.Second, "/events", http.StatusServiceUnavailable) {
				over = 1
			}
			a.judge(e.what+fmt.Sprintf(", %d times: another let in over max_streams %d", places, places), over, "", 0)
			if !*little {
				g.within(heldAtMost, "/events", http.StatusOK)
				a.judgeAlone(e.what+": until there is room again", time.Since(held).Seconds(), "s", 40)
				holdAll(t, g, e.begin, e.drip)
			}
			// 30 times what it should take, so that no busy machine is over it.
			a.judge(e.what+": exit with drain 1s 1s", g.exit().Seconds(), "s", 30)
		})
	}
}

// exit has the gateway exit, and returns how long it takes.
func (g *gateway) exit() time.Duration {
	g.t.Helper()
	const watched = 60 * time.Second // twice the bound
	began := time.Now()
	g.Signal(g.t, syscall.SIGTERM)
	select {
	case <-g.Exited():
	case <-time.After(watched):
	}
	return time.Since(began)
}

// holdAll takes all places, and returns when the gateway has the requests: another one must not be before them. It returns since when.
func holdAll(t *testing.T, g *gateway, begin, drip func(net.Conn) error) time.Time {
	t.Helper()
	inFlight := func() float64 { return g.metric("caddy_http_requests_in_flight") }
	g.Poll(t, "the requests before to be over", func() bool { return inFlight() == 0 })
	began := time.Now()
	for range places {
		conn, err := dial(g.addr, attacker, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := begin(conn); err != nil {
			t.Fatal(err)
		}
		if drip != nil {
			goOn(t, conn, drip)
		}
	}
	g.Poll(t, "the requests", func() bool { return inFlight() >= places })
	return began
}

// goOn drips every second until the connection is closed.
func goOn(t *testing.T, conn net.Conn, drip func(net.Conn) error) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		for drip(conn) == nil {
			select {
			case <-time.After(time.Second):
			case <-stop:
				return
			}
		}
	}()
}

// within tells whether a plain request for a stream gets a status in time.
func (g *gateway) within(d time.Duration, path string, status int) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if g.status(path) == status {
			return true
		}
	}
	return false
}

// status asks for a stream without saying that it wants one, and leaves.
func (g *gateway) status(path string) int {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Get("http://" + g.addr + path)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}
