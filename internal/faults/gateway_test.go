//go:build linux

package faults

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// Channels of the gateway's routes. Each is of one route, so that a client's channels say which stream it has.
const (
	mergedChannels = 3 // of the stream at /merged: merged:0, merged:1 ...
	wideChannels   = 50
)

// gateway is a Caddy process with the module, all defaults but for what a test asks for.
type gateway struct {
	*proctest.Process // the last one

	loads sync.Mutex   // held while a configuration is being loaded
	lives sync.RWMutex // held while there is none
	ended string       // the logs of those before
	past  map[string]float64

	t     *testing.T
	bin   string
	dir   string
	addr  string
	admin string
	http  *http.Client

	redis   string // the URL
	options string // lines of the hub's block
	streams string // of the block of each route with streams

	panics bool // of the reader are no complaint, if they are caught
}

func newGateway(t *testing.T, redisURL, options, streams string) *gateway {
	t.Helper()
	g := &gateway{
		t: t, bin: proctest.RacingCaddy(t), dir: t.TempDir(), addr: proctest.FreeAddr(t), admin: proctest.FreeAddr(t), redis: redisURL, options: options, streams: streams,
		past: map[string]float64{},
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: proctest.Patience},
	}
	g.configure()
	if err := g.launch(); err != nil {
		t.Fatal(err)
	}
	return g
}

// routes are the handlers: a channel by its path, several merged, a pattern, many by one path, and publishing.
func (g *gateway) routes() string {
	var merged, wide strings.Builder
	for n := range mergedChannels {
		fmt.Fprintf(&merged, " merged:%d", n)
	}
	for n := range wideChannels {
		fmt.Fprintf(&wide, " {path.1}:%d", n)
	}
	var routes strings.Builder
	for _, route := range []string{"/one/* {path.1}", "/merged" + merged.String(), "/wide/*" + wide.String(), "/pattern"} {
		lines := g.streams
		if route == "/pattern" {
			lines += "\t\tpattern pattern:*\n"
		}
		fmt.Fprintf(&routes, "\tredis_sse %s {\n%s\t}\n", route, lines)
	}
	return routes.String() + "\tredis_sse_publish /publish/* {path.1}\n"
}

// configure writes the Caddyfile. Each is another one, so that Caddy takes it.
func (g *gateway) configure() {
	g.t.Helper()
	text := fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tauto_https off\n\tmetrics\n\tredis_sse {\n\t\tredis %s\n%s\t}\n}\nhttp://%s {\n%s}\n",
		g.admin, g.redis, g.options, g.addr, g.routes())
	if err := os.WriteFile(filepath.Join(g.dir, "Caddyfile"), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) command(args ...string) *exec.Cmd {
	cmd := exec.Command(g.bin, args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "HOME="+g.dir, "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir)
	return cmd
}

// reload loads the configuration, changed or not, as "caddy reload" does.
func (g *gateway) reload() {
	g.t.Helper()
	g.loads.Lock()
	defer g.loads.Unlock()
	g.configure()
	if err := g.load(); err != nil {
		g.t.Fatal(err)
	}
}

// tryReload is reload for any goroutine, with the configuration as it was.
func (g *gateway) tryReload() error {
	g.loads.Lock()
	defer g.loads.Unlock()
	return g.load()
}

func (g *gateway) load() error {
	g.lives.RLock()
	defer g.lives.RUnlock()
	if out, err := g.command("reload", "--force", "--config", "Caddyfile", "--address", g.admin).CombinedOutput(); err != nil {
		return fmt.Errorf("reloading: %w\n%s", err, out)
	}
	return nil
}

func (g *gateway) url(path string) string { return "http://" + g.addr + path }

// get returns the body of what the admin endpoint answers.
func (g *gateway) get(path string) string {
	g.t.Helper()
	body, err := g.tryGet(path)
	if err != nil {
		g.t.Fatal(err)
	}
	return body
}

// tryGet is get for any goroutine.
func (g *gateway) tryGet(path string) (string, error) {
	g.lives.RLock()
	defer g.lives.RUnlock()
	response, err := g.http.Get("http://" + g.admin + path)
	if err != nil {
		return "", fmt.Errorf("asking the gateway: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("asking the gateway: %w", err)
	}
	return string(body), nil
}

// metric is the sum over a metric's labels, without the namespace. A counter goes on where an exit has ended it.
func (g *gateway) metric(name string) float64 {
	g.t.Helper()
	sums, err := sums(g.get("/metrics"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.lives.RLock()
	defer g.lives.RUnlock()
	return g.past[name] + sums[name]
}

// sums are those of all our metrics.
func sums(text string) (map[string]float64, error) {
	sums := map[string]float64{}
	for line := range strings.Lines(text) {
		line, ours := strings.CutPrefix(strings.TrimSpace(line), "caddy_redis_sse_")
		if !ours {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		name, _, _ := strings.Cut(line[:max(at, 0)], "{")
		value, ok := line[at+1:], at > 0
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("reading the metric %q: %w", line, err)
		}
		sums[name] += v
	}
	return sums, nil
}

// usage is what a process holds, apart from what it has open to Redis.
type usage struct {
	goroutines, files int
}

// usage counts what the gateway holds. conns is how many connections to Redis it has.
func (g *gateway) usage(conns int) usage {
	g.t.Helper()
	var u usage
	if _, err := fmt.Sscanf(g.get("/debug/pprof/goroutine?debug=1"), "goroutine profile: total %d", &u.goroutines); err != nil {
		g.t.Fatalf("counting goroutines: %v", err)
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.Pid()))
	if err != nil {
		g.t.Fatalf("counting file descriptors: %v", err)
	}
	u.files = len(files) - conns
	return u
}

// caught is what a line of the log has that tells of a panic that ended the reader's connection, and no more than that.
const caught = `"error":"reading from redis: panic: `

// judgeLog wants nothing in the gateway's log that no fault excuses.
func (g *gateway) judgeLog() {
	g.t.Helper()
	for line := range strings.Lines(g.Log()) {
		if g.panics && strings.Contains(line, caught) {
			continue
		}
		for _, bad := range []string{"DATA RACE", "panic", "runtime error", "goroutine 1 ["} {
			if strings.Contains(line, bad) {
				g.t.Errorf("the gateway's log has %q:\n%s", bad, g.Log())
			}
		}
	}
}
