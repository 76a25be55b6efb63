//go:build unix

package proctest

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program that runs beside the tests, with all that it starts.
type Process struct {
	cmd    *exec.Cmd
	log    buffer
	exited chan struct{}
	err    error // once exited is closed
}

// Launch runs cmd in a process group of its own. It is for what tests share; whoever launches a process kills it. On Linux the
// kernel kills it with the test binary, or sends another signal if cmd has a [ChildAttr].
//
// The log is its stderr, and its stdout unless cmd has another place for that.
func Launch(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	cmd.Stderr = &p.log
	if cmd.Stdout == nil {
		cmd.Stdout = &p.log
	}
	cmd.WaitDelay = Patience // for its children, which have its output
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = ChildAttr(syscall.SIGKILL)
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Start is Launch for a process that ends with the test, which prints its log if it failed.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p, err := Launch(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.name(), p.Log())
		}
	})
	return p
}

func (p *Process) name() string { return filepath.Base(p.cmd.Path) }

// Pid is the number of the process. It may be another's once the process has ended.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Exited is closed once the process has ended and all that it said is known.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Wait returns when the process has ended, with what [exec.Cmd.Wait] says of that.
func (p *Process) Wait() error {
	<-p.exited
	return p.err
}

// Log is what the process has said so far.
func (p *Process) Log() string { return p.log.String() }

// Kill ends the process and what is left of its group, and returns when it has ended. Killing an ended one does nothing.
func (p *Process) Kill() {
	select {
	case <-p.exited: // its number may be another's by now
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // fails only if all have just ended
	<-p.exited
}

// Signal sends the process a signal, which must not have ended.
func (p *Process) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("sending %s the signal %q: %v", p.name(), sig, err)
	}
}

// AwaitExit returns when the process has ended, which it must without a complaint.
func (p *Process) AwaitExit(t testing.TB) {
	t.Helper()
	Await(t, p.name()+" to end", p.exited)
	if p.err != nil {
		t.Errorf("%s ended with %v", p.name(), p.err)
	}
}

// EndSoon returns when the process has ended, which it has been told to. It is an error, and killed, if it goes on.
func (p *Process) EndSoon() error {
	defer p.Kill()
	select {
	case <-p.exited:
		return nil
	case <-time.After(Patience):
		return fmt.Errorf("waiting for %s to end: not after %v: %s", p.name(), Patience, p.Log())
	}
}

// Poll is the function for what the process has to do. Its end ends the wait, and the test.
func (p *Process) Poll(t testing.TB, what string, done func() bool) {
	t.Helper()
	Poll(t, what, func() bool {
		select {
		case <-p.exited:
			t.Fatalf("waiting for %s: %s ended with %v", what, p.name(), p.err)
		default:
		}
		return done()
	})
}

// AwaitListening returns when somebody listens on addr.
func (p *Process) AwaitListening(t testing.TB, addr string) {
	t.Helper()
	p.Poll(t, p.name()+" to listen on "+addr, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// buffer is one that a process may write to while a test reads it.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(text)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
