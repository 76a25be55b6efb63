//go:build unix

package redissse

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// caddyBinary builds cmd/caddy, once for all tests of a run.
var caddyBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(testDir, "caddy")
	if out, err := exec.Command("go", "build", "-o", path, "./cmd/caddy").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building cmd/caddy: %w\n%s", err, out)
	}
	return path, nil
})

// exitConfig is a Caddyfile as caddy fmt leaves it, but for its address and its Redis.
const exitConfig = `{
	admin off
	persist_config off
	auto_https off
	redis_sse {
		redis %s
	}
}

http://%s {
	redis_sse jobs {
		drain 30s %s
	}
}
`

// runCaddy runs a command of the binary on a Caddyfile and returns what it printed.
func runCaddy(t *testing.T, text string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	bin, err := caddyBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Dir = dir
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err = cmd.Run()
	return out.String(), log.String(), err
}

// caddyProcess is "caddy run".
type caddyProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	log    *os.File
	client *http.Client
	exited chan struct{}
	err    error // once exited is closed
}

func startCaddyProcess(t *testing.T, redis, drain string) *caddyProcess {
	t.Helper()
	bin, err := caddyBinary()
	if err != nil {
		t.Fatal(err)
	}
	addr := freeGatewayAddr(t)
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, fmt.Appendf(nil, exitConfig, redis, addr, drain), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &caddyProcess{
		t: t, cmd: exec.Command(bin, "run", "--config", config, "--adapter", "caddyfile"), url: "http://" + addr + "/",
		log: log, client: &http.Client{Transport: &http.Transport{}}, exited: make(chan struct{}),
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.kill)
	p.awaitUp()
	return p
}

func (p *caddyProcess) kill() {
	_ = p.cmd.Process.Kill() // fails only if it has ended
	<-p.exited
	_ = p.log.Close()
	p.client.CloseIdleConnections()
	if p.t.Failed() {
		text, err := os.ReadFile(p.log.Name())
		p.t.Logf("log of caddy (%v):\n%s", err, text)
	}
}

// awaitUp returns when the process serves.
func (p *caddyProcess) awaitUp() {
	p.t.Helper()
	for end := time.Now().Add(gatewayWait); ; time.Sleep(10 * time.Millisecond) {
		request, err := http.NewRequestWithContext(p.t.Context(), http.MethodHead, p.url, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		response, err := p.client.Do(request)
		if err == nil {
			_ = response.Body.Close()
			return
		}
		select {
		case <-p.exited:
			p.t.Fatalf("caddy ended at once: %v", p.err)
		default:
		}
		if time.Now().After(end) {
			p.t.Fatalf("caddy does not serve after %v: %v", gatewayWait, err)
		}
	}
}

func TestASignalEndsStreamsProperlyAndTheProcess(t *testing.T) {
	server := redistest.Start(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			p := startCaddyProcess(t, server.URL(), "1s")
			var streams []*ssetest.Stream
			for range 20 {
				s := ssetest.Open(t, p.client, p.url)
				s.SkipCursor()
				streams = append(streams, s)
			}
			server.Publish("jobs", "hello")
			for _, s := range streams {
				resumeMessages(t, s, "hello")
			}
			if err := p.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			for _, s := range streams {
				judgeLastWords(t, s)
			}
			// Far less than the window of a reload: that one does not count here.
			select {
			case <-p.exited:
				if p.err != nil {
					t.Errorf("caddy ended with %v", p.err)
				}
			case <-time.After(gatewayWait):
				t.Error("caddy goes on")
			}
		})
	}
}

// judgeLastWords waits for the proper end of a stream, whose last event must be a cursor to come back with.
func judgeLastWords(t *testing.T, s *ssetest.Stream) {
	t.Helper()
	select {
	case <-s.Ended():
	case <-time.After(gatewayWait):
		t.Fatal("the stream goes on")
	}
	if err := s.Err(); err != nil {
		t.Errorf("the stream was cut: %v", err)
	}
	var last ssetest.Event
	for e, more := s.TryNext(0); more; e, more = s.TryNext(0) {
		last = e
	}
	if _, ok := parseCursor(last.ID); last.Type != "cursor" || !ok || last.ID != s.LastEventID() {
		t.Errorf("the last event is %+q, want a cursor with an id", last)
	}
	if retry := s.Retry(); retry < defaultRetry/2 || retry > 3*defaultRetry/2 {
		t.Errorf("the last retry is %v", retry)
	}
	if raw := s.Raw(); bytes.Count(raw, []byte("retry: ")) != 2 {
		t.Errorf("want a retry at the beginning and one at the end: %q", raw)
	}
}

func TestCaddyCommandsWorkWithoutRedis(t *testing.T) {
	text := fmt.Sprintf(exitConfig, "redis://127.0.0.1:1/0", "127.0.0.1:1", "5s")
	for command, want := range map[string]string{
		"validate --config Caddyfile":                     "Valid configuration",
		"adapt --config Caddyfile --validate":             `"redis_sse"`,
		"list-modules --skip-standard":                    "http.handlers.redis_sse\nredis_sse\n",
		"fmt --diff Caddyfile":                            "",
		"validate --config Caddyfile --adapter caddyfile": "Valid configuration",
	} {
		stdout, stderr, err := runCaddy(t, text, strings.Fields(command)...)
		if err != nil || !strings.Contains(stdout, want) {
			t.Errorf("caddy %s: %v\n%s\n%s", command, err, stdout, stderr)
		}
	}
	if !bytes.Equal(caddyfile.Format([]byte(text)), []byte(text)) {
		t.Errorf("caddy fmt changes:\n%s", text)
	}
}

func TestBadRedisURLsAreNamedWithoutTheirPassword(t *testing.T) {
	const password = "s3cr3t-word"
	t.Setenv("REDISSSE_TEST_URL", "http://user:"+password+"@127.0.0.1:1/0")
	for redis, want := range map[string]string{
		"{env.REDISSSE_TEST_UNSET}":                                "env.REDISSSE_TEST_UNSET",
		"redis://:" + password + "@{env.REDISSSE_TEST_UNSET}:6379": "env.REDISSSE_TEST_UNSET",
		"{env.REDISSSE_TEST_URL}":                                  "127.0.0.1:1/0",
		"http://user:" + password + "@127.0.0.1:1/0":               "127.0.0.1:1/0",
		"redis://user:" + password + "@127.0.0.1:port/0":           "127.0.0.1:port/0",
		"redis://:" + password + "%zz@127.0.0.1:1/0":               "127.0.0.1:1/0",
		"redis://:" + password + "@127.0.0.1:1/database":           "127.0.0.1:1/database",
		"redis://:" + password + "@127.0.0.1:1/0?no_such_option=1": "no_such_option",
		password + "@127.0.0.1:1":                                  "127.0.0.1:1",
	} {
		for _, command := range []string{"validate", "run"} {
			stdout, stderr, err := runCaddy(t, fmt.Sprintf(exitConfig, redis, "127.0.0.1:1", "5s"), command, "--config", "Caddyfile")
			var status *exec.ExitError
			if !errors.As(err, &status) {
				t.Errorf("caddy %s with redis %s: %v", command, redis, err)
			}
			said := stdout + stderr
			if !strings.Contains(said, want) {
				t.Errorf("caddy %s with redis %s does not name %q:\n%s", command, redis, want, said)
			}
			if strings.Contains(said, password) {
				t.Errorf("caddy %s with redis %s tells the password:\n%s", command, redis, said)
			}
		}
	}
}
