//go:build unix

package proctest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// binDir has the directory of what is built, for processes that run one test of another's.
const binDir = "REDIS_SSE_PROCTEST_BIN"

const module = "github.com/redis-sse/caddy-redis-sse"

var (
	buildCaddy  = sync.OnceValues(func() (string, error) { return build("caddy") })
	buildRacing = sync.OnceValues(func() (string, error) { return build("caddy-racing", "-race") })
)

// build builds cmd/caddy, unless another process of this run has done so.
func build(name string, flags ...string) (path string, err error) {
	dir := os.Getenv(binDir)
	if dir == "" {
		dir = Dir()
	}
	path = filepath.Join(dir, name)
	lock, err := os.Create(path + ".lock")
	if err != nil {
		return "", fmt.Errorf("building cmd/caddy: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("waiting for another one to build cmd/caddy: %w", err)
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if lean := Lean(); lean != "" {
		flags = append(flags, "-ldflags", "-X "+module+".defaultLean="+lean)
	}
	args := append([]string{"build", "-o", path}, flags...)
	out, err := exec.Command("go", append(args, module+"/cmd/caddy")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building cmd/caddy: %w\n%s", err, out)
	}
	return path, nil
}

// Caddy returns cmd/caddy, built once for all tests of a run. With -short those that need it are skipped.
func Caddy(t testing.TB) string {
	t.Helper()
	return built(t, buildCaddy)
}

// RacingCaddy is Caddy with the race detector.
func RacingCaddy(t testing.TB) string {
	t.Helper()
	return built(t, buildRacing)
}

func built(t testing.TB, build func() (string, error)) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes a build of caddy")
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}
