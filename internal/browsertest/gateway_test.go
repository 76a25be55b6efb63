//go:build browser && linux

package browsertest

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// The HTTP versions that a browser speaks to a site, as Caddy names them.
const (
	httpOne = "HTTP/1.1"
	httpTwo = "HTTP/2.0"
)

// channel is what the streams are of, if nothing else is said.
const channel = "news"

// The client of this project, and the path that pages have it at.
const (
	clientDir  = "../../client"
	clientPath = "/redis-sse.js"
)

// cookie is what pages of other origins set.
const cookie = "reader=private"

// quick is what streams are served with, so that they come back soon and send nothing by themselves.
const quick = "retry 300ms\nheartbeat 59s\ndrain 500ms\n"

// gateway is "caddy run" with a Redis of its own, and a proxy before it that can break a browser's connections.
type gateway struct {
	t         *testing.T
	proto     string
	redis     *redistest.Server
	collector *collector
	client    *http.Client // no browser, and not through the proxy
	proxy     *redistest.Proxy
	friend    string                                 // another origin that has the same pages, and is in cors_origins
	stranger  string                                 // one that is not
	add       func(g *gateway) (global, site string) // what this one has in its Caddyfile besides
	bin       string
	dir       string
	addr      string
	admin     string
	version   string // of the configuration, which pages have in a header
	process   *proctest.Process
}

// newGateway runs Caddy with one site, which a browser reads over proto. add may be nil.
func newGateway(t *testing.T, proto string, add func(g *gateway) (global, site string)) *gateway {
	t.Helper()
	g := &gateway{
		t: t, proto: proto, redis: redistest.Start(t), collector: newCollector(t),
		friend: pageServer(t), stranger: pageServer(t), add: add,
		bin: proctest.Caddy(t), dir: t.TempDir(), addr: proctest.FreeAddr(t), admin: proctest.FreeAddr(t),
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	g.client = &http.Client{Transport: transport}
	g.proxy = redistest.NewProxy(t, g.addr)
	g.configure("1")
	g.start()
	return g
}

// pageServer serves the pages from an origin of their own. Its cookie is the gateway's, too: it goes to all ports of a host.
func pageServer(t *testing.T) string {
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir("page")))
	mux.Handle(clientPath, http.FileServer(http.Dir(clientDir)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", cookie+"; Path=/")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// configure writes the Caddyfile; version makes it another one. Nothing in it is slow, but for the heartbeat: a stream that
// is quiet has its first cursor and nothing else.
func (g *gateway) configure(version string) {
	g.t.Helper()
	g.version = version
	pages, err := filepath.Abs("page")
	if err != nil {
		g.t.Fatal(err)
	}
	client, err := filepath.Abs(clientDir)
	if err != nil {
		g.t.Fatal(err)
	}
	site, certificate := "http://127.0.0.1", ""
	if g.proto == httpTwo {
		site, certificate = "https://localhost", fmt.Sprintf("tls %s %s", authority.Cert, authority.Key)
	}
	_, port, _ := net.SplitHostPort(g.addr)
	var global, more string
	if g.add != nil {
		global, more = g.add(g)
	}
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
	}
	%s
}
%s:%s {
	%s
	root %s
	root %s %s
	header X-Version %s
	@asked path /streams/* /publish/*
	forward_auth @asked %s {
		uri /visit
		header_up X-Test-Proto {http.request.proto}
		header_up X-Test-Conn {http.request.remote}
	}
	redis_sse /streams/* {path.1} {
		%s
	}
	%s
	file_server
}
`, g.admin, g.redis.URL(), global, site, port, certificate, pages, clientPath, client, version, g.collector.addr(), quick, more)
	if err := os.WriteFile(g.caddyfile(), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) caddyfile() string { return filepath.Join(g.dir, "Caddyfile") }

// start runs Caddy and returns when it serves.
func (g *gateway) start() {
	g.t.Helper()
	g.process = proctest.Start(g.t, g.command("run", "--config", g.caddyfile()))
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
	at := g.site(g.addr) + "/index.html"
	g.process.Poll(g.t, "caddy to serve configuration "+g.version, func() bool {
		response, err := client.Get(at)
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
	return g.tab(b, g.site(addr)+"/", url.Values{"channel": {channel}})
}

// tab opens one of the pages in a tab.
func (g *gateway) tab(b browser, at string, query url.Values) *page {
	g.t.Helper()
	name := fmt.Sprintf("tab-%d", tabs.Add(1))
	query.Set("name", name)
	query.Set("collector", g.collector.server.URL)
	p := &page{t: g.t, collector: g.collector, name: name}
	if err := b.Open(name, at+"?"+query.Encode()); err != nil {
		g.t.Fatal(err)
	}
	p.close = sync.OnceFunc(func() {
		if err := b.Close(name); err != nil {
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
