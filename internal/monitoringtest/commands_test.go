//go:build linux && monitoring

package monitoringtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// curlFor has curl end a stream after two seconds, as a reader does with Ctrl-C.
const curlFor = `#!/bin/sh
status=0
'%s' --max-time 2 "$@" || status=$?
[ $status = 28 ] || exit $status
`

// TestCommandsOfThePages types each block into a shell, beside a gateway. A block fails if its last command does, or one before it.
func TestCommandsOfThePages(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	g := startGateway(t, "redis_sse {\nredis "+redis.URL()+"\n}", "redis_sse /events news", caddyRun)
	client := newLoad(t)
	client.streams(1, g.url("/events"))
	redis.WaitNumSub("news", 1)
	for _, file := range []string{pageFile, troubleshootingFile} {
		for _, b := range shellBlocks(t, file) {
			if b.run {
				typed(t, g, redis, b.code)
			}
		}
	}
}

func typed(t *testing.T, g *gateway, redis *redistest.Server, code string) {
	t.Helper()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "curl"), fmt.Appendf(nil, curlFor, curl), 0o700); err != nil {
		t.Fatal(err)
	}
	_, path, _ := strings.Cut(redis.CLI(), "=")
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", strings.ReplaceAll(code, "localhost:2019", g.admin))
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+path, "GATEWAY="+g.url(""))
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "ERR ") { // redis-cli ends with 0 after an error, too
		t.Errorf("%s%v\n%s", code, err, out)
	}
}

// TestTheLineToPasteIsEnough runs a gateway as the user that the page makes.
func TestTheLineToPasteIsEnough(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	site := "redis_sse /jobs {\npattern job:*\n}\nredis_sse /one job:1\nredis_sse_publish /publish job:1"
	url := "redis://gateway:password@" + redis.Addr()
	g := startGateway(t, "redis_sse {\nredis "+url+"\nkeep job:*\nreconnect_min 100ms\nreconnect_max 100ms\n}", site, caddyRun)
	for _, b := range shellBlocks(t, pageFile) {
		if strings.Contains(b.code, "ACL SETUSER gateway") {
			typed(t, g, redis, b.code)
		}
	}
	proctest.Poll(t, "delivery to be proved", func() bool {
		return strings.Contains(get(t, g.admin, "/metrics"), `caddy_redis_sse_delivery_proved{hub="default"} 1`)
	})
	jobs, one := openRaw(t, g, "/jobs"), openRaw(t, g, "/one")
	response, err := http.Post(g.url("/publish"), "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("publishing is answered with %s", response.Status)
	}
	for _, s := range []*rawStream{jobs, one} {
		if !s.gets("data: hello") {
			t.Error("a stream gets nothing")
		}
	}
	if log := g.process.Log(); strings.Contains(log, "redis refuses") {
		t.Errorf("a right is missing: %s", log)
	}
	if !strings.Contains(get(t, g.admin, "/metrics"), `caddy_redis_sse_channels_refused{hub="default"} 0`) {
		t.Error("a channel is refused")
	}
}

func get(t *testing.T, addr, path string) string {
	t.Helper()
	response, err := http.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rawStream is a connection with a stream.
type rawStream struct {
	conn  net.Conn
	lines *bufio.Reader
}

// openRaw opens a stream, which has to come within Patience.
func openRaw(t *testing.T, g *gateway, path string) *rawStream {
	t.Helper()
	s := tryRaw(t, g.addr, path, proctest.Patience)
	if s == nil {
		t.Fatalf("%s opens no stream", path)
	}
	return s
}

// tryRaw returns nil if there is no answer in time.
func tryRaw(t *testing.T, addr, path string, wait time.Duration) *rawStream {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, wait)
	if err != nil {
		return nil
	}
	t.Cleanup(func() { _ = conn.Close() })
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, addr)
	s := &rawStream{conn, bufio.NewReader(conn)}
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	if line, err := s.lines.ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
		return nil
	}
	return s
}

// gets reads up to a line.
func (s *rawStream) gets(want string) bool {
	_ = s.conn.SetReadDeadline(time.Now().Add(proctest.Patience))
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return false
		}
		if strings.TrimSpace(line) == want {
			return true
		}
	}
}

// TestAtTheLimitOfDescriptorsMonitoringDiesFirst has a gateway with 128 descriptors, as the page says.
func TestAtTheLimitOfDescriptorsMonitoringDiesFirst(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	g := startGateway(t, "redis_sse {\nredis "+redis.URL()+"\n}", "redis_sse /events news", "ulimit -n 128; "+caddyRun)
	get(t, g.admin, "/metrics")  // as a Prometheus does that keeps its connection
	const soon = 3 * time.Second // far more than a stream takes that opens at all
	var open []*rawStream
	for len(open) < 128 {
		s := tryRaw(t, g.addr, "/events", soon)
		if s == nil {
			break
		}
		open = append(open, s)
	}
	t.Logf("%d streams are open", len(open))
	if len(open) < 100 || len(open) > 120 {
		t.Errorf("%d streams are open, the page says some 110", len(open))
	}
	if tryRaw(t, g.admin, "/metrics", soon) != nil {
		t.Error("who asks for the metrics is answered")
	}
	if out, err := g.command(`timeout 3 "$CADDY" reload --address ` + g.admin).CombinedOutput(); err == nil {
		t.Errorf("caddy reload works: %s", out)
	}
	get(t, g.admin, "/metrics")
	redis.Publish("news", "still here")
	for _, s := range open {
		if !s.gets("data: still here") {
			t.Fatal("a stream that was open has ended")
		}
	}
}
