//go:build unix

package examples_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// process is a server that a test may stop and start again.
type process struct {
	*proctest.Process // the last one

	t      *testing.T
	dir    string // empty, and where it runs
	env    []string
	args   []string
	addr   string         // where it listens once it is up
	admin  string         // where Caddy's admin endpoint is
	ending syscall.Signal // how the end of the test binary ends it
	quit   syscall.Signal // how an operator does
}

// newProcess prepares a program and its arguments.
func newProcess(t *testing.T, args ...string) *process {
	t.Helper()
	return &process{t: t, dir: t.TempDir(), args: args, ending: syscall.SIGKILL, quit: syscall.SIGTERM}
}

// start returns when the process listens.
func (p *process) start() {
	p.t.Helper()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = p.dir, append(os.Environ(), p.env...), proctest.ChildAttr(p.ending)
	p.Process = proctest.Start(p.t, cmd)
	p.AwaitListening(p.t, p.addr)
}

// stop ends the process as an operator does, and returns when it has ended.
func (p *process) stop() {
	p.t.Helper()
	p.Signal(p.t, p.quit)
	p.AwaitExit(p.t)
}
