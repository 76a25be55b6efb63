package redissse

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage" // Caddy has settled on the home directory before the tests can move it

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// gateway is Caddy with this module in the process of the test. There is one configuration in a process, so tests that use it
// cannot be parallel.
type gateway struct {
	t      *testing.T
	addr   string
	proto  string
	site   string
	client *http.Client // of that protocol only
}

// gatewayWait bounds every wait for the gateway. A test that waits that long fails.
const gatewayWait = 20 * time.Second

// quickHub are options of a hub that notices and recovers quickly, for tests with outages.
const quickHub = `
		ping_interval 500ms
		dead_after 2s
		reconnect_min 100ms
		reconnect_max 500ms
`

// startGateway runs Caddy with a hub "default" at redis, hub options (lines of the global option redis_sse) and routes
// (directives of its one site). It stops when the test ends; streams should have "drain 0s 0s" to end with it.
func startGateway(t *testing.T, redis, hub, routes string) *gateway {
	t.Helper()
	g := newGateway(t)
	g.load(redis, hub, routes)
	return g
}

func newGateway(t *testing.T) *gateway { return newGatewayOver(t, httpOne) }

// newGatewayOver prepares a gateway that is read over one HTTP version. It runs once it is loaded.
func newGatewayOver(t *testing.T, proto string) *gateway {
	t.Helper()
	addr := proctest.FreeAddr(t)
	g := &gateway{t: t, addr: addr, proto: proto, site: siteOver(proto, addr), client: clientOver(t, proto, addr)}
	gatewayLogs.reset()
	t.Cleanup(func() {
		g.stop()
		g.client.CloseIdleConnections()
		if t.Failed() {
			t.Logf("log of the gateway:\n%s", gatewayLogs.text())
		}
	})
	return g
}

// load puts a configuration in place of the one before, if there is one.
func (g *gateway) load(redis, hub, routes string) {
	g.t.Helper()
	g.loadConfig(hubAt(redis, hub), routes)
}

// loadConfig is load with global options in full.
func (g *gateway) loadConfig(global, routes string) {
	g.t.Helper()
	if err := g.tryConfig(global, routes); err != nil {
		g.t.Fatalf("loading a configuration: %v", err)
	}
	if g.proto != httpOne {
		awaitCertificate(g.t, g.addr)
	}
}

func (g *gateway) tryLoad(redis, hub, routes string) error {
	return g.tryConfig(hubAt(redis, hub), routes)
}

// hubAt is the global option of a hub "default".
func hubAt(redis, options string) string {
	return fmt.Sprintf("redis_sse {\nredis %s\n%s\n}", redis, options)
}

// tryConfig is tryLoad with global options in full.
func (g *gateway) tryConfig(global, routes string) error {
	text := fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https disable_redirects
	skip_install_trust
	storage file_system %s
	default_bind 127.0.0.1
	log {
		output gateway_test
	}
	%s
}
%s {
	%s%s
}
`, filepath.Join(proctest.Dir(), "storage"), global, g.site, siteLines(g.proto), routes)
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	config, _, err := adapter.Adapt([]byte(text), nil)
	if err != nil {
		return fmt.Errorf("adapting:\n%s%w", text, err)
	}
	return caddy.Load(config, true)
}

// in is the same gateway for a subtest.
func (g *gateway) in(t *testing.T) *gateway {
	sub := *g
	sub.t = t
	return &sub
}

// stop ends Caddy. Calls after the first do nothing.
func (g *gateway) stop() {
	g.t.Helper()
	if err := caddy.Stop(); err != nil {
		g.t.Errorf("stopping caddy: %v", err)
	}
}

// URL is the gateway's URL of a path, with its query.
func (g *gateway) URL(path string) string { return g.site + path }

// open opens a stream, without taking an event.
func (g *gateway) open(path string, opts ...ssetest.Option) *ssetest.Stream {
	g.t.Helper()
	return ssetest.Open(g.t, g.client, g.URL(path), opts...)
}

// opened opens a stream and takes its first event, the cursor.
func (g *gateway) opened(path string, opts ...ssetest.Option) *ssetest.Stream {
	g.t.Helper()
	s := g.open(path, opts...)
	s.SkipCursor()
	return s
}

// hub is the hub called default.
func (g *gateway) hub() *redisHub {
	g.t.Helper()
	var found *redisHub
	hubs.Range(func(key, value any) bool {
		if key.(hubKey).name == defaultHub {
			found = value.(*redisHub)
		}
		return found == nil
	})
	if found == nil {
		g.t.Fatal("there is no hub")
	}
	return found
}

// waitLog returns when the gateway has logged text.
func (g *gateway) waitLog(text string) {
	g.t.Helper()
	g.wait(fmt.Sprintf("%q in the log", text), func() bool { return strings.Contains(gatewayLogs.text(), text) })
}

// wait polls what cannot wake the test, until it is true.
func (g *gateway) wait(what string, done func() bool) {
	g.t.Helper()
	for end := time.Now().Add(gatewayWait); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("waiting for %s: not after %v", what, gatewayWait)
		}
	}
}

// awaitEnd returns when the stream has ended, which must have been properly.
func awaitEnd(t *testing.T, s *ssetest.Stream) {
	t.Helper()
	select {
	case <-s.Ended():
	case <-time.After(gatewayWait):
		t.Fatalf("the stream goes on for %v", gatewayWait)
	}
	if err := s.Err(); err != nil {
		t.Errorf("the stream was cut: %v", err)
	}
}

// judgeLastWords waits for the proper end of a stream, whose last event must be a cursor to come back with.
func judgeLastWords(t *testing.T, s *ssetest.Stream) {
	t.Helper()
	awaitEnd(t, s)
	judgeLastBytes(t, s.Raw())
}

// judgeLastBytes is judgeLastWords for a body in full.
func judgeLastBytes(t *testing.T, body []byte) {
	t.Helper()
	// From the last retry on: the cursor of the beginning is not one of the end.
	words := body[max(0, bytes.LastIndex(body, []byte("retry: "))):]
	parser := ssetest.NewParser()
	var last ssetest.Event
	if events := parser.Push(words); len(events) > 0 {
		last = events[len(events)-1]
	}
	if _, ok := placeOf(last.ID); last.Type != "cursor" || !ok || last.ID != parser.LastEventID {
		t.Errorf("the last event is %+q, want a cursor with an id", last)
	}
	if parser.Retry < defaultRetry/2 || parser.Retry > 3*defaultRetry/2 {
		t.Errorf("the last retry is %v", parser.Retry)
	}
	if bytes.Count(body, []byte("retry: ")) != 2 {
		t.Errorf("want a retry at the beginning and one at the end: %q", body)
	}
}

// gatewayLogs is what the gateway of the running test has logged. Loggers outlive configurations, so it is one for all.
var gatewayLogs gatewayLog

type gatewayLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *gatewayLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

func (l *gatewayLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *gatewayLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *gatewayLog) Close() error { return nil }

// gatewayLogWriter is the Caddy module that opens gatewayLogs.
type gatewayLogWriter struct{}

func init() { caddy.RegisterModule(gatewayLogWriter{}) }

func (gatewayLogWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.gateway_test", New: func() caddy.Module { return new(gatewayLogWriter) }}
}

func (gatewayLogWriter) String() string { return "gateway_test" }

func (gatewayLogWriter) WriterKey() string { return "gateway_test" }

func (gatewayLogWriter) OpenWriter() (io.WriteCloser, error) { return &gatewayLogs, nil }

func (gatewayLogWriter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

var _ caddy.WriterOpener = gatewayLogWriter{}
