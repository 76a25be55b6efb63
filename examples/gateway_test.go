//go:build unix

package examples_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// file is the text of an example's file, changed where it must be to run beside others.
type file struct {
	t    *testing.T
	name string
	text string
	site string // where it listens
}

func readFile(t *testing.T, name string) *file {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return &file{t: t, name: name, text: string(text), site: "http://localhost:8088"}
}

// at says that the file is not to be tried where the others are.
func (f *file) at(site string) *file {
	f.site = site
	return f
}

// replace changes all places where old stands. There must be one.
func (f *file) replace(old, with string) {
	f.t.Helper()
	if !strings.Contains(f.text, old) {
		f.t.Fatalf("examples/%s has no %q", f.name, old)
	}
	f.text = strings.ReplaceAll(f.text, old, with)
}

// listen gives the file a free address.
func (f *file) listen() (addr string) {
	f.t.Helper()
	addr = proctest.FreeAddr(f.t)
	f.replace(f.site, "http://"+addr)
	return addr
}

// write puts the text into dir.
func (f *file) write(dir string) (path string) {
	f.t.Helper()
	path = filepath.Join(dir, filepath.Base(f.name))
	if err := os.WriteFile(path, []byte(f.text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// startCaddy runs Caddy with a Caddyfile, on loopback only, and with more environment.
func startCaddy(t *testing.T, f *file, env ...string) *process {
	t.Helper()
	addr, admin := f.listen(), proctest.FreeAddr(t)
	f.replace("\n{\n", "\n{\n\tdefault_bind 127.0.0.1\n") // the global options
	p := newProcess(t, proctest.Caddy(t), "run", "--config", filepath.Base(f.name))
	f.write(p.dir)
	p.addr, p.admin = addr, admin
	// A store of its own: no process waits for another one's locks.
	p.env = append(env, "CADDY_ADMIN="+admin, "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	p.start()
	return p
}

// gateway is an example's Caddyfile that runs, between a Redis and an app.
type gateway struct {
	*process
	redis *redistest.Server
	app   *app
	url   string
}

// startGateway runs the Caddyfile of an example in front of an app.
func startGateway(t *testing.T, example string, app http.HandlerFunc) *gateway {
	t.Helper()
	return startGatewayAt(t, redistest.Start(t), readFile(t, filepath.Join(example, "Caddyfile")), app)
}

func startGatewayAt(t *testing.T, redis *redistest.Server, f *file, app http.HandlerFunc, env ...string) *gateway {
	t.Helper()
	g := &gateway{redis: redis, app: startApp(t, app)}
	g.process = startCaddy(t, f, append(env, "REDIS_URL="+g.redis.URL(), "BACKEND="+g.app.addr)...)
	g.url = "http://" + g.addr
	return g
}

// streams is how many streams are open.
func (g *gateway) streams(t *testing.T) int {
	t.Helper()
	r, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := openStreams.FindSubmatch(text)
	if found == nil {
		t.Fatalf("the metrics have no streams:\n%s", text)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var openStreams = regexp.MustCompile(`(?m)^caddy_redis_sse_streams\{.*\} (\d+)$`)

// app is what an example's Caddy stands in front of.
type app struct {
	addr        string
	connections atomic.Int64 // accepted so far
}

func startApp(t *testing.T, handler http.HandlerFunc) *app {
	t.Helper()
	a := new(app)
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			a.connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	a.addr = server.Listener.Addr().String()
	return a
}

// theApp answers everything alike.
func theApp(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("the app")) }
