//go:build unix

package redissse

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// release runs scripts/release.sh with a stub in place of xcaddy, which writes for what it was to build and
// cannot build for MIPS.
func release(t *testing.T, dist string, platforms ...string) (string, error) {
	t.Helper()
	stubs := t.TempDir()
	const stub = "#!/bin/sh\n" + `[ "$GOARCH" != mips ] || exit 3; for last; do :; done; echo "$GOOS $GOARCH $CGO_ENABLED $4" >"$last"` + "\n"
	if err := os.WriteFile(filepath.Join(stubs, "xcaddy"), []byte(stub), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("scripts/release.sh", platforms...)
	cmd.Env = append(os.Environ(), "PATH="+stubs+":"+os.Getenv("PATH"), "CGO_ENABLED=0", "VERSION=v1.2.3", "DIST="+dist)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestRelease(t *testing.T) {
	dist := t.TempDir()
	for _, stale := range []string{"caddy_redis_sse_plan9_mips", "checksums.txt"} {
		if err := os.WriteFile(filepath.Join(dist, stale), []byte("of before"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := release(t, dist, "linux/amd64", "windows/arm64"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sums := ""
	for _, of := range [][2]string{{"caddy_redis_sse_linux_amd64", "linux amd64"}, {"caddy_redis_sse_windows_arm64.exe", "windows arm64"}} {
		text := readText(t, filepath.Join(dist, of[0]))
		if want := of[1] + " 0 " + xcaddyModule + "@v1.2.3=.\n"; text != want {
			t.Errorf("%s was built with %q, want %q", of[0], text, want)
		}
		sums += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(text)), of[0])
	}
	if got := readText(t, filepath.Join(dist, "checksums.txt")); got != sums {
		t.Errorf("the checksums are\n%swant\n%s", got, sums)
	}
	files, err := filepath.Glob(filepath.Join(dist, "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("the release has %q (%v)", files, err)
	}
}

// A release is all that was asked for or none: with checksums.
func TestReleaseFailsAsAWhole(t *testing.T) {
	dist := t.TempDir()
	if out, err := release(t, dist); err == nil {
		t.Errorf("of no platforms: %s", out)
	}
	if out, err := release(t, dist, "linux/amd64", "linux/mips"); err == nil {
		t.Errorf("of a platform that was not built: %s", out)
	}
	files, err := filepath.Glob(filepath.Join(dist, "*"))
	if err != nil || slices.Contains(files, filepath.Join(dist, "checksums.txt")) {
		t.Errorf("there are %q (%v)", files, err)
	}
}
