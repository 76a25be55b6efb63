//go:build unix

package proctest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sh runs a script that says "ready" when it is, and returns then.
func sh(t testing.TB, script string) *Process {
	t.Helper()
	p := Start(t, exec.Command("sh", "-c", script))
	p.Poll(t, "the script to be ready", func() bool { return strings.Contains(p.Log(), "ready") })
	return p
}

const sleeps = "echo ready; exec sleep 1000"

func TestProcessEndsWithItsTest(t *testing.T) {
	var p *Process
	t.Run("test", func(t *testing.T) { p = sh(t, sleeps) })
	select {
	case <-p.Exited():
	default:
		p.Kill()
		t.Error("the process goes on after its test")
	}
	p.Kill() // of an ended one
}

// pipe makes one whose write end is for processes that have to end.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// wantClosed wants nobody else to have the write end any more.
func wantClosed(t *testing.T, r, w *os.File) {
	t.Helper()
	_ = w.Close()
	if err := r.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("what holds the pipe goes on: %v", err)
	}
}

func TestKillEndsChildren(t *testing.T) {
	r, w := pipe(t)
	cmd := exec.Command("sh", "-c", "sleep 1000 2>&1 & echo ready >&2; wait")
	cmd.Stdout = w
	p := Start(t, cmd)
	p.Poll(t, "the script to be ready", func() bool { return strings.Contains(p.Log(), "ready") })
	p.Kill()
	wantClosed(t, r, w)
}

func TestSignal(t *testing.T) {
	p := sh(t, "trap 'echo bye; exit' TERM; echo ready; while :; do sleep 0.01; done")
	p.Signal(t, syscall.SIGTERM)
	if err := p.EndSoon(); err != nil {
		t.Error(err)
	}
	p.AwaitExit(t)
	if log := p.Log(); log != "ready\nbye\n" {
		t.Errorf("the log is %q", log)
	}
	message := fatal(t, func(tb testing.TB) { p.Signal(tb, syscall.SIGTERM) })
	if !strings.Contains(message, `sending sh the signal "terminated": `) {
		t.Errorf("a signal to an ended process: %q", message)
	}
}

func TestAComplaintOrAnEarlyEndIsAFailure(t *testing.T) {
	p := Start(t, exec.Command("sh", "-c", "echo no >&2; exit 3"))
	for what, f := range map[string]func(testing.TB){
		"sh ended with exit status 3": p.AwaitExit,
		"waiting for sh to listen on 127.0.0.1:1: sh ended with exit status 3": func(tb testing.TB) {
			p.AwaitListening(tb, "127.0.0.1:1")
		},
	} {
		if message := fatal(t, f); message != what {
			t.Errorf("got %q, want %q", message, what)
		}
	}
}

func TestLogIsShownOnFailure(t *testing.T) {
	for _, failed := range []bool{false, true} {
		r := &recorder{TB: t, failed: failed}
		sh(r, "echo all is well; "+sleeps)
		r.cleanup()
		if shown := strings.Contains(r.message, "all is well"); shown != failed {
			t.Errorf("failed %v: logged %q", failed, r.message)
		}
	}
}

// recorder is a test that may fail without failing the real one.
type recorder struct {
	testing.TB
	failed  bool
	message string
	cleanup func()
}

func (r *recorder) Failed() bool { return r.failed }

func (r *recorder) Cleanup(f func()) { r.cleanup = f }

func (r *recorder) Logf(format string, args ...any) { r.message = fmt.Sprintf(format, args...) }

func (r *recorder) Errorf(format string, args ...any) { r.message = fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// fatal runs f and returns what it failed its test with.
func fatal(t *testing.T, f func(testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r.message
}
