//go:build unix

package examples_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

func testBehindNginx(t *testing.T) {
	g := startGatewayAt(t, redistest.Start(t), readFile(t, "behind-nginx/Caddyfile").at("http://:8089"), theApp)
	f := readFile(t, "behind-nginx/nginx.conf").at("127.0.0.1:8088")
	f.replace("127.0.0.1:8089", g.addr)
	testBehind(t, g, startNginx(t, f), http.StatusBadGateway)
}

// startNginx runs nginx with a configuration. It writes nothing outside of its own directory.
func startNginx(t *testing.T, f *file) *process {
	t.Helper()
	addr := proctest.FreeAddr(t)
	f.replace(f.site, addr)
	f.replace("http {\n", "http {\n"+ownPaths)
	own := "daemon off; pid nginx.pid;"
	if os.Geteuid() == 0 {
		own += " user root;" // its workers may enter the test's directory
	}
	p := newProcess(t, serverBinary("nginx"), "-e", "stderr", "-c", filepath.Base(f.name), "-g", own)
	p.args = append(p.args, "-p", p.dir)
	f.write(p.dir)
	p.addr = addr
	p.ending = syscall.SIGTERM // SIGKILL of the master would leave its workers
	p.start()
	return p
}

// ownPaths are the directives without which nginx writes to where Debian has it write.
var ownPaths = func() string {
	lines := []string{"access_log off;"}
	for _, kind := range strings.Fields("client_body proxy fastcgi uwsgi scgi") {
		lines = append(lines, kind+"_temp_path "+kind+";")
	}
	return strings.Join(lines, "\n") + "\n"
}()
