//go:build unix

package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestStartAnswersOnItsOwnPort(t *testing.T) {
	a, b := Start(t), Start(t, "--maxclients", "123")
	if a.Port() == b.Port() {
		t.Fatalf("both servers listen on %d", a.Port())
	}
	if want := fmt.Sprintf("127.0.0.1:%d", a.Port()); a.Addr() != want || a.URL() != "redis://"+want+"/0" {
		t.Errorf("Addr %q, URL %q, want %q in both", a.Addr(), a.URL(), want)
	}
	if got := fmt.Sprint(b.Do("CONFIG", "GET", "maxclients")); got != "[maxclients 123]" {
		t.Errorf("an argument of Start is lost: %s", got)
	}
	if got := a.Do("GET", "missing"); got != nil {
		t.Errorf("a nil reply is %v", got)
	}
}

func TestStartWithoutRedisEndsTheTest(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	message := fatal(t, func(tb testing.TB) { Start(tb) })
	if !strings.Contains(message, "redis-server is not in PATH") || !strings.Contains(message, "make test") {
		t.Errorf("unhelpful message: %q", message)
	}
}

func TestStartWithBadArgumentsShowsTheLog(t *testing.T) {
	message := fatal(t, func(tb testing.TB) { Start(tb, "--no-such-option", "1") })
	if !strings.Contains(message, "no-such-option") {
		t.Errorf("the server's own words are missing: %q", message)
	}
}

func TestLaunchNamesATakenPort(t *testing.T) {
	taken, other := Start(t), Start(t)
	other.Kill()
	other.port = taken.port
	if err := other.launch(); !errors.Is(err, errPortTaken) {
		t.Fatalf("launching on a taken port: %v", err)
	}
	taken.Publish("c", "still there")
}

func TestProcessEndsWithTheTest(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		var pid int
		t.Run(fmt.Sprintf("frozen=%v", frozen), func(t *testing.T) {
			s := Start(t)
			pid = s.process.cmd.Process.Pid
			if frozen {
				s.Freeze()
			}
		})
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d after a test, frozen=%v: %v", pid, frozen, err)
		}
	}
}

func TestKillAndRestart(t *testing.T) {
	s := Start(t)
	addr := s.Addr()
	s.Do("SET", "k", "v")
	s.Kill()
	s.Kill()
	// More failures than go-redis bears before it dials only once a second.
	for range 1000 {
		if _, err := s.TryPublish("c", "x"); !errors.Is(err, errDown) {
			t.Fatalf("publishing to a dead server: %v", err)
		}
	}
	s.Restart()
	if s.Addr() != addr {
		t.Errorf("the address changed from %q to %q", addr, s.Addr())
	}
	s.Publish("c", "x")
	if got := s.Do("GET", "k"); got != nil {
		t.Errorf("the restarted server remembers %v", got)
	}
	pid := s.process.cmd.Process.Pid
	s.Restart()
	if s.process.cmd.Process.Pid == pid {
		t.Error("Restart left the running server alone")
	}
}

func TestFreezeAndThaw(t *testing.T) {
	s := Start(t)
	sub := subscribe(t, s, "c")
	client := s.Client()
	if err := client.Ping(t.Context()).Err(); err != nil { // so that it has a connection to be frozen with
		t.Fatal(err)
	}
	s.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := client.Publish(ctx, "c", "given up").Err(); err == nil {
		t.Fatal("a frozen server answered")
	}
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatalf("a frozen server's kernel refuses connections: %v", err)
	}
	_ = conn.Close()
	s.Thaw()
	s.Publish("c", "after")
	if a, b := receive(t, sub), receive(t, sub); a != "given up" || b != "after" {
		t.Errorf("received %q, %q", a, b)
	}
}

func TestPubSubHelpers(t *testing.T) {
	s := Start(t)
	if n := s.Publish("c", "x"); n != 0 {
		t.Errorf("%d receivers of a channel nobody has", n)
	}
	if n := s.PubSubClients(); n != 0 {
		t.Errorf("%d pub/sub clients before the first", n)
	}
	first := subscribe(t, s, "c")
	subscribe(t, s, "c")
	s.WaitNumSub("c", 2)
	if n := s.NumSub("other"); n != 0 {
		t.Errorf("%d subscribers of another channel", n)
	}
	if n := s.PubSubClients(); n != 2 {
		t.Errorf("%d pub/sub clients, want 2", n)
	}
	if n := s.Publish("c", "hello"); n != 2 {
		t.Errorf("%d receivers, want 2", n)
	}
	if got := receive(t, first); got != "hello" {
		t.Errorf("received %q", got)
	}
	if n := s.KillPubSub(); n != 2 {
		t.Errorf("killed %d, want 2", n)
	}
	s.WaitNumSub("c", 0)
}

func TestHelpersOutliveALockedDefaultUser(t *testing.T) {
	s := Start(t)
	s.Do("ACL", "SETUSER", "default", "off")
	if err := s.Client().Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	s.Publish("c", "x")

	outsider := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, Protocol: 2})
	defer outsider.Close()
	if err := outsider.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("a client without credentials: %v", err)
	}
}

func TestLogIsShownOnFailure(t *testing.T) {
	s := Start(t)
	r := &recorder{TB: t, failed: true}
	s.t = r
	s.cleanup()
	if !strings.Contains(r.message, "Ready to accept connections") || len(r.message) > 2*logTail {
		t.Errorf("logged %q", r.message)
	}
}

func subscribe(t *testing.T, s *Server, channel string) *redis.PubSub {
	t.Helper()
	sub := s.Client().Subscribe(t.Context(), channel)
	t.Cleanup(func() { _ = sub.Close() })
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatalf("subscribing: %v", err)
	}
	return sub
}

func receive(t *testing.T, sub *redis.PubSub) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	m, err := sub.ReceiveMessage(ctx)
	if err != nil {
		t.Fatalf("receiving: %v", err)
	}
	return m.Payload
}

// recorder is a test that may fail without failing the real one.
type recorder struct {
	testing.TB
	failed  bool
	message string
}

func (r *recorder) Failed() bool { return r.failed }

func (r *recorder) Logf(format string, args ...any) { r.message = fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// fatal runs f and returns what it ended its test with.
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

func TestCLISpeaksToItsServer(t *testing.T) {
	s := Start(t)
	s.Client().Set(t.Context(), "key", "of this server", 0)
	cmd := exec.Command("sh", "-c", "redis-cli GET key")
	cmd.Env = append(os.Environ(), s.CLI())
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "of this server\n" {
		t.Errorf("redis-cli says %q (%v)", out, err)
	}
}
