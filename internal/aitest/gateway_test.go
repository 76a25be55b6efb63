//go:build ai && linux

package aitest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/browsers"
	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// gateway is "caddy run" with the Caddyfile beside this, a Redis and a backend, and proxies that can break clients' connections.
type gateway struct {
	t        *testing.T
	redis    *redistest.Server
	backend  *backend
	process  *proctest.Process
	dir      string
	settings map[string]string // of the Caddyfile
	version  int               // of the configuration
	plain    *redistest.Proxy  // http
	secure   *redistest.Proxy  // https
}

// longQuiet is a quiet in which no answer of a case that is not about it can end, however slow the machine.
const longQuiet = "5m"

// bundle makes the page's script once.
var bundle = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(proctest.Dir(), "page")
	if err := os.CopyFS(dir, os.DirFS("page")); err != nil {
		return "", fmt.Errorf("copying the page: %w", err)
	}
	out, err := exec.Command("node_modules/.bin/esbuild", "page/page.mjs", "--bundle", "--format=esm", "--minify", "--log-level=warning",
		`--define:process.env.NODE_ENV="production"`, "--outfile="+filepath.Join(dir, "page.js")).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("bundling the page: %w\n%s", err, out)
	}
	return dir, nil
})

// newGateway runs Caddy; settings are those of the Caddyfile that are not as always.
func newGateway(t *testing.T, settings map[string]string) *gateway {
	t.Helper()
	g := &gateway{t: t, redis: redistest.Start(t), dir: t.TempDir()}
	g.backend = newBackend(t, g.redis)
	page, err := bundle()
	if err != nil {
		t.Fatal(err)
	}
	authority, err := browsers.Authority()
	if err != nil {
		t.Fatal(err)
	}
	plain, secure := proctest.FreeAddr(t), proctest.FreeAddr(t)
	g.settings = map[string]string{
		"ADMIN": proctest.FreeAddr(t), "PORT": port(plain), "TLS_PORT": port(secure), "CERT": authority.Cert, "KEY": authority.Key,
		"REDIS_URL": g.redis.URL(), "BACKEND": g.backend.server.URL, "PAGE": page, "QUIET": longQuiet, "DRAIN": "0s",
	}
	for name, value := range settings {
		g.settings[name] = value
	}
	g.process = proctest.Start(t, g.command("run"))
	g.awaitVersion(plain)
	g.awaitSubscribed()
	g.plain, g.secure = redistest.NewProxy(t, plain), redistest.NewProxy(t, secure)
	return g
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

func (g *gateway) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(proctest.Caddy(g.t), append([]string{name, "--config", "Caddyfile"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+g.dir, "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir, fmt.Sprintf("VERSION=%d", g.version))
	for name, value := range g.settings {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// reload has Caddy take the Caddyfile as another version of it, and returns once that serves.
func (g *gateway) reload() {
	g.t.Helper()
	g.version++
	if out, err := g.command("reload", "--address", g.settings["ADMIN"]).CombinedOutput(); err != nil {
		g.t.Fatalf("reloading: %v\n%s", err, out)
	}
	g.awaitVersion("127.0.0.1:" + g.settings["PORT"])
}

// awaitVersion returns once a new connection is served by the configuration.
func (g *gateway) awaitVersion(addr string) {
	g.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	g.process.Poll(g.t, "caddy to serve its configuration", func() bool {
		response, err := client.Get("http://" + addr + "/")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.Header.Get("X-Version") == fmt.Sprint(g.version)
	})
}

// site is what a client that speaks a version of HTTP asks, by a proxy.
func (g *gateway) site(proto string) string {
	if proto == httpTwo {
		return "https://localhost:" + port(g.secure.Addr())
	}
	return "http://" + g.plain.Addr()
}

// loseConnections breaks all that clients have.
func (g *gateway) loseConnections() {
	g.plain.Reset()
	g.secure.Reset()
}

// keepAway breaks all connections of clients, and holds new ones up, or lets these through. None is refused: some clients give up
// after a few refusals.
func (g *gateway) keepAway(on bool) {
	g.plain.SetBlackhole(on)
	g.secure.SetBlackhole(on)
	if on {
		g.loseConnections()
	}
}

// startRedis starts Redis again, and returns once the gateway has subscribed there.
func (g *gateway) startRedis() {
	g.t.Helper()
	g.redis.Restart()
	g.backend.redis = g.redis.Client() // the connections of the former one are lost
	g.awaitSubscribed()
}

// awaitSubscribed returns once the gateway gets what is published from then on.
func (g *gateway) awaitSubscribed() {
	g.t.Helper()
	proctest.Poll(g.t, "the gateway to subscribe", func() bool { return g.redis.Do("PUBSUB", "NUMPAT") == int64(len(protocols)) })
}
