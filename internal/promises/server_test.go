//go:build promises && linux

package promises

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// The endpoint that the gateway is compared with: its directory, and its module.
const plainDir, plainModule = "../../examples/fastapi", "before"

// python is Debian's, which has the packages, whatever python3 is on PATH.
const python = "/usr/bin/python3"

// server is the gateway or the plain endpoint.
type server struct {
	*proctest.Process // the last one

	t       *testing.T
	name    string
	addr    string
	path    string // of the stream
	command func() *exec.Cmd

	reloadGateway func() // nil for the plain endpoint
}

func newGateway(t *testing.T, bin, redisURL string) *server {
	t.Helper()
	s := &server{t: t, name: Gateway, addr: proctest.FreeAddr(t), path: "/streams/" + channel}
	dir, admin := t.TempDir(), proctest.FreeAddr(t)
	configure := func(version int) {
		text := fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tauto_https off\n\tredis_sse {\n\t\tredis %s\n\t}\n}\n"+
			"http://%s {\n\theader X-Version %d\n\tredis_sse /streams/* {path.1}\n\tredis_sse_publish /publish/* {path.1}\n}\n", admin, redisURL, s.addr, version)
		if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(bin, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		return cmd
	}
	configure(1)
	s.command = func() *exec.Cmd { return command("run", "--config", "Caddyfile") }
	s.reloadGateway = func() {
		configure(2)
		if out, err := command("reload", "--config", "Caddyfile", "--address", admin).CombinedOutput(); err != nil {
			t.Fatalf("reloading: %v\n%s", err, out)
		}
	}
	s.start()
	return s
}

func newPlain(t *testing.T, redisURL string) *server {
	t.Helper()
	s := &server{t: t, name: Plain, addr: proctest.FreeAddr(t), path: "/events?channel=" + channel}
	host, port, _ := net.SplitHostPort(s.addr)
	s.command = func() *exec.Cmd {
		cmd := exec.Command(python, "-m", "uvicorn", plainModule+":app", "--host", host, "--port", port, "--log-level", "warning")
		cmd.Dir = plainDir
		cmd.Env = append(os.Environ(), "REDIS_URL="+redisURL, "PYTHONDONTWRITEBYTECODE=1")
		return cmd
	}
	s.start()
	return s
}

func (s *server) url() string { return "http://" + s.addr + s.path }

// start runs the server, and returns when it answers.
func (s *server) start() {
	s.t.Helper()
	s.Process = proctest.Start(s.t, s.command())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	s.Poll(s.t, "the "+s.name+" to serve", func() bool {
		response, err := client.Head("http://" + s.addr + "/")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return true
	})
}

// stop asks the server to end, and kills it if it has not after d.
func (s *server) stop(d time.Duration) {
	s.Signal(s.t, syscall.SIGTERM)
	select {
	case <-s.Exited():
	case <-time.After(d):
	}
	s.Kill()
}
