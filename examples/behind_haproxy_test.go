//go:build unix

package examples_test

import (
	"net/http"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

func testBehindHAProxy(t *testing.T) {
	gateway := readFile(t, "behind-haproxy/Caddyfile").at("http://:8089")
	gateway.replace("redis_sse /events news", "redis_sse /events news {\nheartbeat 59s\n}") // none finds a client gone in time
	g := startGatewayAt(t, redistest.Start(t), gateway, theApp)
	f := readFile(t, "behind-haproxy/haproxy.cfg").at("127.0.0.1:8088")
	f.replace("127.0.0.1:8089", g.addr)
	testBehind(t, g, startHAProxy(t, f), http.StatusServiceUnavailable)
}

// startHAProxy runs HAProxy with a configuration.
func startHAProxy(t *testing.T, f *file) *process {
	t.Helper()
	addr := proctest.FreeAddr(t)
	f.replace(f.site, addr)
	f.replace("hard-stop-after 30s", "hard-stop-after 1s")
	p := newProcess(t, serverBinary("haproxy"), "-db", "-f", filepath.Base(f.name))
	f.write(p.dir)
	readFile(t, "behind-haproxy/away.http").write(p.dir)
	p.addr = addr
	p.quit = syscall.SIGUSR1 // after SIGTERM its exit is that of a failure
	p.start()
	return p
}
