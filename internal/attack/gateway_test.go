//go:build attack && linux

package attack

import (
	"bufio"
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

	"github.com/redis/go-redis/v9"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// gateway is a Caddy process with a Redis of its own.
type gateway struct {
	*proctest.Process
	t     *testing.T
	redis *redistest.Server
	pipe  *redis.Client
	addr  string
	admin string
}

// setup is what differs between gateways.
type setup struct {
	redis  []string // of redis-server's command line
	hub    string   // lines of the global option
	routes string   // directives of the site
	env    []string
}

// caddyfile takes the addresses of its administration and of Redis, lines of the hub, its address, and its routes. It speaks HTTP/2
// without TLS, too.
const caddyfile = `{
	admin %s
	persist_config off
	auto_https off
	metrics
	servers {
		protocols h1 h2c
	}
	redis_sse {
		redis %s
		%s
	}
}
http://%s {
	%s
}
`

// newGateway starts Redis and Caddy.
func newGateway(t *testing.T, s setup) *gateway {
	t.Helper()
	bin := *caddy
	if bin == "" {
		bin = proctest.Caddy(t)
	}
	dir := t.TempDir()
	g := &gateway{t: t, redis: redistest.Start(t, s.redis...), addr: proctest.FreeAddr(t), admin: proctest.FreeAddr(t)}
	g.pipe = g.redis.Client()
	text := fmt.Sprintf(caddyfile, g.admin, g.redis.URL(), s.hub, g.addr, s.routes)
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "run", "--config", file, "--adapter", "caddyfile")
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir), s.env...)
	g.Process = proctest.Start(t, cmd)
	g.AwaitListening(t, g.addr)
	g.Poll(t, "the gateway to have its Redis", func() bool { return g.metric("caddy_redis_sse_redis_up") == 1 })
	return g
}

// metric is the sum of a metric over its labels.
func (g *gateway) metric(name string) (sum float64) {
	g.t.Helper()
	response, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			g.t.Fatal(err)
		}
		sum += value
	}
	return sum
}

// batch is how many messages are published before an answer is awaited.
const batch = 1000

// fill publishes n messages, and returns when the gateway has them all.
func (g *gateway) fill(n int, message func(i int) (channel, payload string)) {
	g.t.Helper()
	const received = "caddy_redis_sse_messages_received_total"
	before := g.metric(received)
	for i := 0; i < n; {
		p := g.pipe.Pipeline()
		for range min(batch, n-i) {
			channel, payload := message(i)
			p.Publish(context.Background(), channel, payload)
			i++
		}
		if _, err := p.Exec(context.Background()); err != nil {
			g.t.Fatal(err)
		}
	}
	g.Poll(g.t, "all messages at the gateway", func() bool { return g.metric(received) >= before+float64(n) })
}

// post publishes over HTTP, and returns the status.
func (g *gateway) post(path string, body io.Reader) int {
	g.t.Helper()
	response, err := http.Post("http://"+g.addr+path, "text/plain", body)
	if err != nil {
		return 0 // the connection was closed before the answer
	}
	defer response.Body.Close()
	return response.StatusCode
}
