//go:build browser && linux

package browsertest

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// The HTTP versions that a browser speaks to a site, as Caddy names them.
const (
	httpOne = "HTTP/1.1"
	httpTwo = "HTTP/2.0"
)

// channel is what the streams are of, if nothing else is said.
const channel = "news"

// caddyBinary builds cmd/caddy, once for all tests of a run.
var caddyBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(testDir, "caddy")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/caddy").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building cmd/caddy: %w\n%s", err, out)
	}
	return path, nil
})

// gateway is "caddy run" with a Redis of its own, and a proxy before it that can break a browser's connections.
type gateway struct {
	t         *testing.T
	proto     string
	redis     *redistest.Server
	collector *collector
	proxy     *redistest.Proxy
	bin       string
	dir       string
	addr      string
	admin     string
	version   string // of the configuration, which pages have in a header
	process   *process
}

// newGateway runs Caddy with one site, which a browser reads over proto.
func newGateway(t *testing.T, proto string) *gateway {
	t.Helper()
	bin, err := caddyBinary()
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{
		t: t, proto: proto, redis: redistest.Start(t), collector: newCollector(t),
		bin: bin, dir: t.TempDir(), addr: freeAddr(t), admin: freeAddr(t),
	}
	g.proxy = redistest.NewProxy(t, g.addr)
	g.configure("1")
	g.start()
	return g
}

// configure writes the Caddyfile; version makes it another one. Nothing in it is slow, but for the heartbeat: a stream that
// is quiet has its first cursor and nothing else. There is room for one channel.
func (g *gateway) configure(version string) {
	g.t.Helper()
	g.version = version
	pages, err := filepath.Abs("page")
	if err != nil {
		g.t.Fatal(err)
	}
	site, certificate := "http://127.0.0.1", ""
	if g.proto == httpTwo {
		site, certificate = "https://localhost", fmt.Sprintf("tls %s %s", authority.cert, authority.key)
	}
	_, port, _ := net.SplitHostPort(g.addr)
	text := fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	servers {
		protocols h1 h2
	}
	redis_sse {
		redis %s
		reconnect_min 100ms
		buffer {
			max_channels 1
		}
	}
}
%s:%s {
	%s
	root %s
	header X-Version %s
	forward_auth /streams/* %s {
		uri /visit
		header_up X-Test-Proto {http.request.proto}
		header_up X-Test-Conn {http.request.remote}
	}
	redis_sse /streams/* {path.1} {
		retry 300ms
		heartbeat 59s
		drain 500ms
	}
	file_server
}
`, g.admin, g.redis.URL(), site, port, certificate, pages, version, g.collector.addr())
	if err := os.WriteFile(g.caddyfile(), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) caddyfile() string { return filepath.Join(g.dir, "Caddyfile") }

// start runs Caddy and returns when it serves.
func (g *gateway) start() {
	g.t.Helper()
	g.process = startProcess(g.t, g.command("run", "--config", g.caddyfile()))
	g.awaitUp()
}

// reload has Caddy take the Caddyfile, as an operator would.
func (g *gateway) reload(version string) {
	g.t.Helper()
	g.configure(version)
	out, err := g.command("reload", "--config", g.caddyfile(), "--address", g.admin).CombinedOutput()
	if err != nil {
		g.t.Fatalf("reloading: %v\n%s", err, out)
	}
	g.awaitUp()
}

func (g *gateway) command(args ...string) *exec.Cmd {
	cmd := exec.Command(g.bin, args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "HOME="+g.dir, "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir)
	return cmd
}

// awaitUp returns when a new connection is served by the configuration.
func (g *gateway) awaitUp() {
	g.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	url := g.site(g.addr) + "/index.html"
	poll(g.t, "caddy to serve configuration "+g.version, func() bool {
		response, err := client.Get(url)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.Header.Get("X-Version") == g.version
	})
}

// site is the site as a browser that connects to addr names it.
func (g *gateway) site(addr string) string {
	if g.proto == httpOne {
		return "http://" + addr
	}
	_, port, _ := net.SplitHostPort(addr)
	return "https://localhost:" + port
}

// open opens the test page in a tab, through the proxy.
func (g *gateway) open(b browser) *page { return g.openAt(b, g.proxy.Addr(), channel) }

// openAt is open with connections to addr, for a stream of any channel.
func (g *gateway) openAt(b browser, addr, channel string) *page {
	g.t.Helper()
	name := fmt.Sprintf("tab-%d", tabs.Add(1))
	url := fmt.Sprintf("%s/?name=%s&channel=%s&collector=%s", g.site(addr), name, channel, g.collector.server.URL)
	p := &page{t: g.t, collector: g.collector, name: name}
	if err := b.open(name, url); err != nil {
		g.t.Fatal(err)
	}
	p.close = sync.OnceFunc(func() {
		if err := b.close(name); err != nil {
			g.t.Error(err)
		}
	})
	g.t.Cleanup(p.close)
	return p
}

// publish publishes each of the messages.
func (g *gateway) publish(messages ...string) {
	g.t.Helper()
	for _, m := range messages {
		g.redis.Publish(channel, m)
	}
}

// messages are numbered from one number to another one.
func messages(from, to int) (all []string) {
	for n := from; n <= to; n++ {
		all = append(all, fmt.Sprintf("message-%d", n))
	}
	return all
}

// freeAddr returns an address nobody listens on, outside the ephemeral range and that of redistest.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(9000))
		if _, taken := takenAddrs.LoadOrStore(addr, true); taken {
			continue
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		_ = ln.Close()
		return addr
	}
	t.Fatal("no free port")
	return ""
}

// takenAddrs are the addresses handed out: tests that run side by side must not get the same one.
var takenAddrs sync.Map
