//go:build unix

package examples_test

import (
	"net/http"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

func testBehindCaddy(t *testing.T) {
	g := startGatewayAt(t, redistest.Start(t), readFile(t, "behind-caddy/Caddyfile").at("http://:8089"), theApp)
	f := readFile(t, "behind-caddy/front.Caddyfile")
	f.replace("localhost:2020", proctest.FreeAddr(t))
	f.replace("grace_period 5s", "grace_period 1s")
	testBehind(t, g, startCaddy(t, f, "GATEWAY="+g.addr), http.StatusBadGateway)
}
