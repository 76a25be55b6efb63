//go:build unix

package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

const (
	// upWait bounds a start. An empty Redis answers within 50 ms, so only a machine in trouble gets near it.
	upWait = 10 * time.Second

	// Ports come from below the ephemeral range (32768 on Linux). Inside it, a client that keeps dialling the port of a killed
	// server sooner or later gets that port as its own and connects to itself, and any other connection may take it meanwhile.
	firstPort, lastPort = 20000, 29999
	// portTries is how many ports Start tries. Only other tests pick from the range, so a second try is rare already.
	portTries = 10

	// pollEvery is the pause between two looks at the other process, which cannot wake us.
	pollEvery = 5 * time.Millisecond

	// logTail is how much of the server's log goes to the log of a failed test.
	logTail = 16 << 10
)

var errPortTaken = errors.New("port is taken")

// Server is a redis-server process of its own, on a loopback port that stays the same over Kill and Restart. It keeps nothing
// on disk: a restarted server is empty and has forgotten what CONFIG SET and ACL SETUSER said.
//
// TryPublish, StepClock, Addr, Port and URL may be called by any goroutine, the other methods by the test's own.
type Server struct {
	t       testing.TB
	bin     string
	args    []string
	env     []string
	dir     string
	logPath string
	port    int

	process *process // the running or the last one; nil before the first

	offset *atomic.Int64 // of its clock from the true one, in microseconds; nil if it has no other

	mu   sync.Mutex
	life life // what TryPublish sees of process, once that is up
}

// process is one run of redis-server.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once the process has been reaped
}

// life is a process that has answered, and the helpers' client of it.
type life struct {
	client *redis.Client
	exited chan struct{}
}

// Start runs redis-server, found in PATH, and returns when it answers. It ends the test if there is none: a test that asked
// for Redis never passes without. args follow the arguments of Start and win over them, in the form of the command line:
// "--maxclients", "10".
//
// The process ends with the test, frozen or not, and its log is printed if the test failed; go test -artifacts keeps the log.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, nil, args)
}

// start has the process find env too.
func start(t testing.TB, env, args []string) *Server {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("redis-server is not in PATH: install Redis 7 or later, then run `make test` again (%v)", err)
	}
	s := &Server{t: t, bin: bin, args: args, env: env, dir: t.TempDir()}
	t.Cleanup(s.cleanup)
	for range portTries {
		s.port = firstPort + rand.IntN(lastPort-firstPort+1)
		s.logPath = filepath.Join(t.ArtifactDir(), fmt.Sprintf("redis-%d.log", s.port))
		err = s.launch()
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		t.Fatalf("starting redis-server: %v", err)
	}
	return s
}

// Port is the port the server listens on.
func (s *Server) Port() int { return s.port }

// Addr is the server's host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is the server's redis:// URL, database 0, without credentials.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }

// Kill ends the process with SIGKILL, frozen or not, and returns when it is gone. Connections end as the kernel ends them, and
// the port refuses new ones. Killing a dead server does nothing.
func (s *Server) Kill() { s.process.kill() }

// Restart starts the server again, on the same port with the same arguments, and returns when it answers. A server that still
// runs is killed first.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	err := s.launch()
	for end := time.Now().Add(upWait); errors.Is(err, errPortTaken) && time.Now().Before(end); {
		time.Sleep(pollEvery)
		err = s.launch()
	}
	if err != nil {
		s.t.Fatalf("restarting redis-server: %v", err)
	}
}

// Freeze stops the process with SIGSTOP: connections stay open, and the kernel goes on accepting new ones and bytes, but
// nothing is answered. It returns when the process stands still (on Linux; elsewhere when the signal is sent).
func (s *Server) Freeze() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	for end := time.Now().Add(upWait); !s.process.stopped(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			s.t.Fatalf("freezing redis-server: still running after %v", upWait)
		}
	}
}

// Thaw lets a frozen process go on. It then executes what clients sent meanwhile, also those that gave up waiting.
func (s *Server) Thaw() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.process.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("sending %v to redis-server: %v", sig, err)
	}
}

// launch starts one process and waits until it answers. The error is errPortTaken if another program has the port.
func (s *Server) launch() error {
	log, err := os.OpenFile(s.logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	defer log.Close()
	before := len(s.log())

	cmd := exec.Command(s.bin, s.commandLine()...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.dir, log, log, proctest.ChildAttr(syscall.SIGKILL)
	if err := cmd.Start(); err != nil {
		return err
	}
	s.process = &process{cmd: cmd, exited: make(chan struct{})}
	go s.process.reap()

	client := redis.NewClient(s.options())
	if err := s.process.awaitUp(client); err != nil {
		_ = client.Close()
		s.process.kill()
		if bytes.Contains(s.log()[before:], []byte("Address already in use")) {
			return errPortTaken
		}
		return fmt.Errorf("%q: %w; its log ends:\n%s", cmd.Args, err, s.tail())
	}
	s.begin(life{client, s.process.exited})
	return nil
}

func (s *Server) commandLine() []string {
	line := []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port),
		"--save", "", "--appendonly", "no", "--dir", s.dir,
		// A user of the helpers' own, so that they work whatever a test does to the default user.
		"--user", helperUser, "on", "nopass", "~*", "&*", "+@all",
	}
	return append(line, s.args...)
}

// cleanup ends the process before the test's directories go, since it was registered after theirs.
func (s *Server) cleanup() {
	s.process.kill()
	if s.life.client != nil {
		_ = s.life.client.Close()
	}
	if s.t.Failed() {
		s.t.Logf("log of redis-server on port %d:\n%s", s.port, s.tail())
	}
}

// log is what all lives of the server have written; empty before the first.
func (s *Server) log() []byte {
	text, err := os.ReadFile(s.logPath)
	if err != nil {
		return fmt.Appendf(nil, "reading the log: %v", err)
	}
	return text
}

func (s *Server) tail() []byte {
	text := s.log()
	return text[max(0, len(text)-logTail):]
}

// awaitUp returns nil as soon as this process answers, be it with LOADING to everything but INFO. INFO instead of PING since
// the Redis of another test, which got the port before us, answers PING just as well.
func (p *process) awaitUp(client *redis.Client) error {
	var lastErr error
	for end := time.Now().Add(upWait); time.Now().Before(end); {
		select {
		case <-p.exited:
			return fmt.Errorf("exiting at once: %v", p.cmd.ProcessState)
		case <-time.After(pollEvery):
		}
		if lastErr = p.answers(client); lastErr == nil {
			return nil
		}
	}
	return fmt.Errorf("giving up after %v: %w", upWait, lastErr)
}

func (p *process) answers(client *redis.Client) error {
	// go-redis dials only once a second after a row of failures, so it is not used before the port is open.
	conn, err := net.DialTimeout("tcp", client.Options().Addr, commandTimeout)
	if err != nil {
		return err
	}
	_ = conn.Close()
	info, err := client.InfoMap(background, "server").Result()
	if err != nil {
		return err
	}
	if pid := info["Server"]["process_id"]; pid != strconv.Itoa(p.cmd.Process.Pid) {
		return fmt.Errorf("another redis-server answers, process %q", pid)
	}
	return nil
}

func (p *process) reap() {
	_ = p.cmd.Wait() // a killed process is an error to Wait, and the wanted one here
	close(p.exited)
}

// kill ends the process, and joins reap. Nil, ended and frozen processes are fine: SIGKILL needs no SIGCONT, which would let a
// frozen server execute what it has been sent.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // fails only if it has ended
	<-p.exited
}

// stopped tells whether the process stands still after SIGSTOP, which the kernel delivers in its own time.
func (p *process) stopped() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return true // no procfs: nothing to wait for
	}
	_, state, _ := bytes.Cut(stat, []byte(") ")) // pid (comm) state
	return bytes.HasPrefix(state, []byte("T"))
}
