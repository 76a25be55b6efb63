//go:build clients && linux

package compose_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func TestMain(m *testing.M) { os.Exit(proctest.Run(m)) }

// TestTheProgressOfAJob runs what compose.yaml does, without containers: this folder's app behind this folder's Caddyfile.
func TestTheProgressOfAJob(t *testing.T) {
	redis := redistest.Start(t)
	site := startCaddy(t, redis, startApp(t, redis))
	if page := body(t, http.MethodGet, site+"/", http.StatusOK); !strings.Contains(page, `new EventSource("/events")`) {
		t.Errorf("the page is %q", page)
	}
	stream := ssetest.Open(t, newClient(t), site+"/events")
	stream.SkipCursor()
	body(t, http.MethodPost, site+"/jobs", http.StatusAccepted)
	for done := 0; done <= 100; done += 5 {
		if got, want := stream.NextAfterCursors(), fmt.Sprintf(`{"done": %d}`, done); got.Data != want {
			t.Fatalf("got %+v, want %s", got, want)
		}
	}
	late := ssetest.Open(t, newClient(t), site+"/events")
	if got := late.NextAfterCursors(); got.Data != `{"done": 100}` {
		t.Errorf("who comes late gets %+v", got)
	}
}

// startApp returns where the app serves.
func startApp(t *testing.T, redis *redistest.Server) (addr string) {
	t.Helper()
	addr = proctest.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("/usr/bin/python3", "app.py") // Debian's, which python3-redis is for
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "REDIS_URL="+redis.URL(), "PORT="+port)
	proctest.Start(t, cmd).AwaitListening(t, addr)
	return addr
}

// startCaddy returns the URL of the site.
func startCaddy(t *testing.T, redis *redistest.Server, backend string) (site string) {
	t.Helper()
	text, err := os.ReadFile("Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	onLoopback := strings.Replace(string(text), "\n{\n", "\n{\n\tdefault_bind 127.0.0.1\n", 1)
	onLoopback = strings.Replace(onLoopback, "http://:9180 {", "http://"+proctest.FreeAddr(t)+" {", 1)
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(onLoopback), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := proctest.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	site = "http://localhost:" + port
	cmd := exec.Command(proctest.Caddy(t), "run", "--config", "Caddyfile")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "CADDY_ADMIN="+proctest.FreeAddr(t),
		"REDIS_URL="+redis.URL(), "BACKEND="+backend, "SITE="+site)
	proctest.Start(t, cmd).AwaitListening(t, addr)
	return site
}

func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// body is that of an answer with this status.
func body(t *testing.T, method, url string, status int) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := newClient(t).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		t.Fatalf("%s %s: %s, %q, %v, want %d", method, url, response.Status, text, err, status)
	}
	return string(text)
}
