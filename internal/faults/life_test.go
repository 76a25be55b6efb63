//go:build linux

package faults

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// exitWithin bounds how long an exit takes, streams and posts under way included, whatever Redis does.
const exitWithin = 20 * time.Second

// process is the gateway's. It waits for the next one while there is none.
func (g *gateway) process() *proctest.Process {
	g.lives.RLock()
	defer g.lives.RUnlock()
	return g.Process
}

// Pid is that of the last process, as in all that hides a method of [proctest.Process].
func (g *gateway) Pid() int { return g.process().Pid() }

// Log is that of all processes.
func (g *gateway) Log() string {
	g.lives.RLock()
	defer g.lives.RUnlock()
	return g.ended + g.Process.Log()
}

// Poll is patient with an exit that was asked for.
func (g *gateway) Poll(t testing.TB, what string, done func() bool) {
	t.Helper()
	proctest.Poll(t, what, func() bool {
		last := g.process()
		select {
		case <-last.Exited():
			if last == g.process() {
				t.Fatalf("waiting for %s: the gateway ended with %v", what, last.Wait())
			}
		default:
		}
		return done()
	})
}

// restart has the gateway exit, by itself and in time, and starts it again at once. Any goroutine may call it; what the test wants
// of the gateway waits meanwhile.
func (g *gateway) restart() (took time.Duration, err error) {
	text, err := g.tryGet("/metrics")
	if err != nil {
		return 0, err
	}
	last, err := sums(text)
	if err != nil {
		return 0, err
	}
	g.loads.Lock()
	defer g.loads.Unlock()
	g.lives.Lock()
	defer g.lives.Unlock()
	began := time.Now()
	if err := syscall.Kill(g.Process.Pid(), syscall.SIGTERM); err != nil {
		return 0, fmt.Errorf("asking the gateway to exit: %w", err)
	}
	select {
	case <-g.Exited():
		if err = g.Wait(); err != nil {
			err = fmt.Errorf("exiting: %w", err)
		}
	case <-time.After(exitWithin):
		err = fmt.Errorf("the gateway goes on %v after a SIGTERM", exitWithin)
		g.Kill()
	}
	took = time.Since(began)
	for name, sum := range last {
		if strings.HasSuffix(name, "_total") || strings.HasSuffix(name, "_count") {
			g.past[name] += sum
		}
	}
	g.ended += g.Process.Log()
	return took, errors.Join(err, g.launch())
}

// launch starts a process, and returns when it answers.
func (g *gateway) launch() error {
	p, err := proctest.Launch(g.command("run", "--config", "Caddyfile"))
	if err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	g.t.Cleanup(func() {
		p.Kill()
		if g.t.Failed() {
			g.t.Logf("log of the gateway:\n%s", p.Log())
		}
	})
	g.Process = p
	if proctest.Within(proctest.Patience, func() bool { return g.serves() }) {
		return nil
	}
	return fmt.Errorf("the gateway does not serve %v after its start", proctest.Patience)
}

func (g *gateway) serves() bool {
	response, err := g.http.Head("http://" + g.addr + "/")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}
