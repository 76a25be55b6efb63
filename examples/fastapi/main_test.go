//go:build clients && linux

package fastapi_test

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(proctest.Run(m)) }

// example is this folder's app behind Caddy with this folder's Caddyfile, and a Redis of its own.
type example struct {
	t      *testing.T
	redis  *redistest.Server
	app    *app
	site   string // the URL that the Caddyfile serves, of another port
	client *http.Client

	toRedis *redistest.Proxy // the app's way, not Caddy's
}

// startExample returns once a job that is started is told from its beginning. env is the app's.
func startExample(t *testing.T, env ...string) *example {
	t.Helper()
	e := &example{t: t, redis: redistest.Start(t), client: newClient(t)}
	e.toRedis = redistest.NewProxy(t, e.redis.Addr())
	e.app = startApp(t, "app:app", append(env, "REDIS_URL="+e.toRedis.URL())...)
	e.site = e.startCaddy()
	e.poll("the subscription of what is kept", func() bool { return e.redis.Do("PUBSUB", "NUMPAT").(int64) > 0 })
	return e
}

// startCaddy returns when another Caddy serves the page, with the URL of its site.
func (e *example) startCaddy() string {
	t := e.t
	t.Helper()
	text, err := os.ReadFile("Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	const documented = "http://localhost:8088 {\n"
	if bytes.Count(text, []byte(documented)) != 1 {
		t.Fatalf("the Caddyfile has no %q, which README.md names", documented)
	}
	_, port, _ := net.SplitHostPort(proctest.FreeAddr(t))
	site := "http://localhost:" + port
	text = bytes.Replace(text, []byte(documented), []byte(site+" {\n\tbind 127.0.0.1\n"), 1)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(proctest.Caddy(t), "run", "--config", "Caddyfile")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "CADDY_ADMIN="+proctest.FreeAddr(t),
		"REDIS_URL="+e.redis.URL(), "BACKEND="+e.app.addr)
	proctest.Start(t, cmd).Poll(t, "caddy to serve the page", func() bool { return e.status(site+"/") == http.StatusOK })
	return site
}

// app is uvicorn with one of this folder's modules.
type app struct {
	*proctest.Process
	addr string
}

// startApp returns when uvicorn serves.
func startApp(t *testing.T, name string, env ...string) *app {
	t.Helper()
	const packages = "python3-fastapi uvicorn python3-redis"
	bin, err := exec.LookPath("uvicorn")
	if err != nil {
		t.Fatalf("uvicorn is not on PATH: install Debian's %s, then run `make test-clients` again (%v)", packages, err)
	}
	a := &app{addr: proctest.FreeAddr(t)}
	host, port, _ := net.SplitHostPort(a.addr)
	cmd := exec.Command(bin, name, "--host", host, "--port", port)
	cmd.Env = append(append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1"), env...)
	a.Process = proctest.Start(t, cmd)
	a.Poll(t, "uvicorn to serve; it needs Debian's "+packages, func() bool {
		return strings.Contains(a.Log(), "Uvicorn running on")
	})
	return a
}

func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (e *example) poll(what string, done func() bool) {
	e.t.Helper()
	proctest.Poll(e.t, what, done)
}

// status is that of a GET through Caddy, 0 while nobody listens.
func (e *example) status(url string) int {
	e.t.Helper()
	response, err := e.client.Get(url)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return 0
	}
	if err != nil {
		e.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
