//go:build unix

package redissse

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// runCaddy runs a command of the binary on a Caddyfile and returns what it printed. One that goes on for long is an error.
func runCaddy(t *testing.T, text string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	proctest.Caddy(t) // takes its time, the first time
	ctx, cancel := context.WithTimeout(t.Context(), gatewayWait)
	defer cancel()
	cmd := caddyCommand(ctx, t, args...)
	if err := os.WriteFile(filepath.Join(cmd.Dir, "Caddyfile"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err = cmd.Run()
	return out.String(), log.String(), err
}

// caddyCommand prepares a command of the binary, in an empty directory. What it stores is its own: no process waits for
// another one's locks.
func caddyCommand(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return commandOf(ctx, t, proctest.Caddy(t), args...)
}

// commandOf is caddyCommand with another binary.
func commandOf(ctx context.Context, t *testing.T, bin string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	return cmd
}

// caddyProcess is "caddy run" with a Redis of its own. It serves the same over HTTP/1.1, and over HTTP/2 and HTTP/3.
type caddyProcess struct {
	*proctest.Process
	t      *testing.T
	redis  *redistest.Server
	admin  string
	plain  string // where HTTP/1.1 is served
	secure string // where HTTP/2 and HTTP/3 are
}

// processConfig are the lines of a configuration: its global options and what its sites do.
type processConfig struct{ global, routes string }

// withHub is a configuration with hub "default" at redis.
func withHub(redis *redistest.Server, global, routes string) processConfig {
	return processConfig{global: fmt.Sprintf("redis_sse {\nredis %s\n%s\n}\n%s", redis.URL(), processHub, global), routes: routes}
}

// processHub has a hub keep all that a test publishes.
const processHub = "buffer {\nchannel_size 256MiB\n}"

// startCaddy runs Caddy with a hub "default", global options and routes.
func startCaddy(t *testing.T, global, routes string) *caddyProcess {
	t.Helper()
	redis := redistest.Start(t)
	return startCaddyWith(t, redis, withHub(redis, global, routes))
}

func startCaddyWith(t *testing.T, redis *redistest.Server, config processConfig) *caddyProcess {
	t.Helper()
	p := &caddyProcess{
		t: t, redis: redis, admin: proctest.FreeAddr(t), plain: proctest.FreeAddr(t), secure: proctest.FreeAddr(t),
	}
	cmd := caddyCommand(context.Background(), t, "run", "--config", "Caddyfile")
	if err := os.WriteFile(filepath.Join(cmd.Dir, "Caddyfile"), p.caddyfile(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Process = proctest.Start(t, cmd)
	p.awaitUp()
	return p
}

// caddyfile is a configuration in full.
func (p *caddyProcess) caddyfile(config processConfig) []byte {
	return fmt.Appendf(nil, `{
	admin %s
	persist_config off
	auto_https disable_redirects
	skip_install_trust
	default_bind 127.0.0.1
	%s
}
%s {
	%s
}
%s {
	%s%s
}
`, p.admin, config.global, siteOver(httpOne, p.plain), config.routes,
		siteOver(httpTwo, p.secure), siteLines(httpTwo), config.routes)
}

// awaitUp returns when the process serves.
func (p *caddyProcess) awaitUp() {
	p.t.Helper()
	p.Poll(p.t, "caddy to serve", func() bool {
		response, err := http.Head(siteOver(httpOne, p.plain))
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return true
	})
	awaitCertificate(p.t, p.secure)
}

// client returns a new client for an HTTP version, that is, one with connections of its own.
func (p *caddyProcess) client(proto string) *http.Client {
	p.t.Helper()
	return clientOver(p.t, proto, p.addr(proto))
}

func (p *caddyProcess) addr(proto string) string {
	if proto == httpOne {
		return p.plain
	}
	return p.secure
}

// url is the URL of a path for an HTTP version.
func (p *caddyProcess) url(proto, path string) string { return siteOver(proto, p.addr(proto)) + path }

// streamsPerClient is less than what HTTP/2 and HTTP/3 servers allow on a connection, which is 100 at the least.
const streamsPerClient = 50

// open opens n streams of a path, over as few connections as will do, and takes their first event, the cursor.
func (p *caddyProcess) open(proto, path string, n int) []*ssetest.Stream {
	p.t.Helper()
	var streams []*ssetest.Stream
	var client *http.Client
	for i := range n {
		if i%streamsPerClient == 0 {
			client = p.client(proto)
		}
		s := ssetest.Open(p.t, client, p.url(proto, path))
		s.SkipCursor()
		streams = append(streams, s)
	}
	return streams
}

// openEach opens n streams of a path over each HTTP version.
func (p *caddyProcess) openEach(path string, n int) (streams []*ssetest.Stream) {
	p.t.Helper()
	for _, proto := range protocols {
		streams = append(streams, p.open(proto, path, n)...)
	}
	return streams
}

// reload puts a configuration in place of the one that runs.
func (p *caddyProcess) reload(config processConfig) {
	p.t.Helper()
	response, err := http.Post("http://"+p.admin+"/load", "text/caddyfile", bytes.NewReader(p.caddyfile(config)))
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		p.t.Fatalf("reloading: status %d, %s, %v", response.StatusCode, said, err)
	}
}

// fromAdmin is what the admin endpoint says.
func (p *caddyProcess) fromAdmin(path string) string {
	p.t.Helper()
	response, err := http.Get("http://" + p.admin + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// inFlight is how many requests are served, times the routes each is in. It needs the global option metrics.
func (p *caddyProcess) inFlight() (n int) {
	p.t.Helper()
	for line := range strings.Lines(p.fromAdmin("/metrics")) {
		labels, number, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !strings.HasPrefix(labels, "caddy_http_requests_in_flight{") {
			continue
		}
		served, err := strconv.Atoi(number)
		if err != nil {
			p.t.Fatal(err)
		}
		n += served
	}
	return n
}

// awaitExit waits for the end of the process, which must report success.
func (p *caddyProcess) awaitExit() {
	p.t.Helper()
	select {
	case <-p.Exited():
		p.AwaitExit(p.t)
	case <-time.After(gatewayWait):
		p.t.Errorf("caddy goes on:\n%s", p.fromAdmin("/debug/pprof/goroutine?debug=1"))
	}
}
