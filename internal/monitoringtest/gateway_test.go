//go:build linux && monitoring

package monitoringtest

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// gateway is "caddy run" with an admin endpoint that Prometheus asks.
type gateway struct {
	t           *testing.T
	dir         string
	admin, addr string
	shell       string // what runs it; $CADDY is the binary
	env         []string
	process     *proctest.Process
}

// startGateway runs a Caddyfile of global options and of a site. What it is run by is a line of a shell.
func startGateway(t *testing.T, options, site, shell string, env ...string) *gateway {
	t.Helper()
	g := &gateway{t: t, dir: t.TempDir(), admin: proctest.FreeAddr(t), addr: proctest.FreeAddr(t), shell: shell}
	g.env = append(os.Environ(), "HOME="+g.dir, "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir, "CADDY="+proctest.Caddy(t))
	g.env = append(g.env, env...)
	write(t, g.dir, "Caddyfile", strings.Join([]string{
		"{", "admin " + g.admin, "persist_config off", "auto_https off", "default_bind 127.0.0.1", options, "}",
		"http://" + g.addr + " {", site, "}", "",
	}, "\n"))
	g.run()
	return g
}

func (g *gateway) run() {
	g.t.Helper()
	g.process = proctest.Start(g.t, g.command(g.shell))
	g.process.AwaitListening(g.t, g.addr)
}

func (g *gateway) command(line string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir, cmd.Env = g.dir, g.env
	return cmd
}

func (g *gateway) url(path string) string { return "http://" + g.addr + path }

// restart ends it as systemd does, and runs it again.
func (g *gateway) restart() {
	g.t.Helper()
	g.process.Signal(g.t, syscall.SIGTERM)
	proctest.Await(g.t, "the gateway to end", g.process.Exited())
	g.run()
}

// reload has it take its Caddyfile again.
func (g *gateway) reload() {
	g.t.Helper()
	if out, err := g.command(`exec "$CADDY" reload --force --address ` + g.admin).CombinedOutput(); err != nil {
		g.t.Fatalf("reloading: %v\n%s", err, out)
	}
}

const caddyRun = `exec "$CADDY" run`
