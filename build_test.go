//go:build unix

package redissse

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// TestTheBuiltBinaryKnowsItsVersion builds as "make build" does without xcaddy, and asks the binary.
func TestTheBuiltBinaryKnowsItsVersion(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a build of caddy")
	}
	if proctest.Elsewhere(t) {
		return
	}
	const version = "v1.2.3-test.1"
	bin := buildBinary(t, version)

	listed, err := commandOf(t.Context(), t, bin, "list-modules", "--versions", "--skip-standard").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, listed)
	}
	for _, id := range []string{"redis_sse", "http.handlers.redis_sse", "http.handlers.redis_sse_publish"} {
		if !strings.Contains("\n"+string(listed), "\n"+id+" "+version+"\n") {
			t.Errorf("list-modules does not say %s of %s:\n%s", version, id, listed)
		}
	}
	want := fmt.Sprintf(`caddy_redis_sse_build_info{caddy_version="%s",version="%s"} 1`, loadXcaddyJSON(t).CaddyVersion, version)
	if metrics := metricsOf(t, bin); !strings.Contains(metrics, want) {
		t.Errorf("the metrics have no %s:\n%s", want, metrics)
	}
	// As docs/build.md says. Nothing is fetched.
	for _, args := range [][]string{{"upgrade"}, {"add-package", "example.com/more"}, {"remove-package", module}} {
		out, err := commandOf(t.Context(), t, bin, args...).CombinedOutput()
		if said := "cannot auto-upgrade when Go module has been replaced: " + module + " => ./plugin0"; err == nil || !strings.Contains(string(out), said) {
			t.Errorf("caddy %s: %v, %s, want %q", args[0], err, out, said)
		}
	}
}

// buildBinary builds with the build tool and without xcaddy, whether or not that is on PATH.
func buildBinary(t *testing.T, version string) (bin string) {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	only := filepath.Join(dir, "path")
	if err := os.Mkdir(only, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(goTool, filepath.Join(only, "go")); err != nil {
		t.Fatal(err)
	}
	bin = filepath.Join(dir, "caddy")
	cmd := exec.Command(goTool, "run", "./internal/tools/build", "-version", version, "-output", bin)
	cmd.Env = append(os.Environ(), "PATH="+only)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// metricsOf runs a binary with a hub whose Redis is down, and returns its metrics.
func metricsOf(t *testing.T, bin string) (metrics string) {
	t.Helper()
	admin := proctest.FreeAddr(t)
	cmd := commandOf(context.Background(), t, bin, "run", "--config", "Caddyfile")
	text := fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tredis_sse {\n\t\tredis redis://%s\n\t}\n}\n", admin, proctest.FreeAddr(t))
	if err := os.WriteFile(filepath.Join(cmd.Dir, "Caddyfile"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	proctest.Start(t, cmd).Poll(t, "caddy to show metrics", func() bool {
		response, err := http.Get("http://" + admin + "/metrics")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		metrics = string(body)
		return err == nil
	})
	return metrics
}
