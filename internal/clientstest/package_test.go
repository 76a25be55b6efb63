//go:build clients && linux

package clientstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The client for browsers, which is an npm package, too.
const (
	clientDir    = "../../client"
	clientModule = "redis-sse.js"
	clientMost   = 3000 // bytes, as it is delivered
)

// run returns what a command prints, which has to succeed. What tools keep goes into the test's own directory.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "npm_config_cache="+t.TempDir(), "npm_config_update_notifier=false")
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		_ = errors.As(err, &failed)
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, failed.Stderr)
	}
	return string(out)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The file that pages are given is made from the one that people read:
//
//	UPDATE_GOLDEN=1 go test -tags clients -run TestClientIsMadeFromItsSource ./internal/clientstest
func TestClientIsMadeFromItsSource(t *testing.T) {
	t.Parallel()
	delivered := filepath.Join(clientDir, clientModule)
	made := run(t, ".", "node_modules/.bin/terser", "--module", "--ecma", "2020", "--compress", "passes=3", "--mangle",
		"--comments", "/^!/", filepath.Join(clientDir, "src", clientModule))
	made = strings.TrimSuffix(made, "\n") + "\n"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(delivered, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have := read(t, delivered)
	if string(have) != made {
		t.Errorf("%s is not what its source makes: see above this test", delivered)
	}
	if len(have) >= clientMost {
		t.Errorf("%s has %d bytes, want less than %d", delivered, len(have), clientMost)
	}
	size := fmt.Sprintf("%.1f kB", float64(len(have))/1000)
	for _, file := range []string{readmeFile, "client/README.md", "docs/README.md", "llms.txt"} {
		if !strings.Contains(string(read(t, filepath.Join("../..", file))), size) {
			t.Errorf("%s does not say that it has %s", file, size)
		}
	}
}

func TestClientInNode(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("harness/redis-sse/*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are the tests %q, %v", files, err)
	}
	out, err := exec.Command("node", append([]string{"--test"}, files...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// types.ts has what may be written with the client's types, and, below @ts-expect-error, what may not.
func TestClientTypes(t *testing.T) {
	t.Parallel()
	dir := installed(t)
	write(t, dir, "types.ts", string(read(t, "harness/redis-sse/types.ts")))
	tsc, err := filepath.Abs("node_modules/.bin/tsc")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tsc, "--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom",
		filepath.Join(dir, "types.ts")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// installed returns a directory of an app that has installed the package.
func installed(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write(t, dir, "package.json", `{"type": "module"}`)
	tarball := strings.TrimSpace(run(t, clientDir, "npm", "pack", "--silent", "--pack-destination", dir))
	run(t, dir, "npm", "install", "--offline", "--no-audit", "--no-fund", "--install-links", "./"+tarball)
	return dir
}

func TestClientIsAPackage(t *testing.T) {
	t.Parallel()
	var about struct {
		License string
		Scripts map[string]string
		Files   []string

		Dependencies, DevDependencies, PeerDependencies, OptionalDependencies map[string]string
	}
	if err := json.Unmarshal(read(t, filepath.Join(clientDir, "package.json")), &about); err != nil {
		t.Fatal(err)
	}
	needs := len(about.Dependencies) + len(about.DevDependencies) + len(about.PeerDependencies) + len(about.OptionalDependencies)
	if needs+len(about.Scripts) > 0 || about.License != "Apache-2.0" {
		t.Errorf("the package is %+v, want one that needs nothing, runs nothing and has the project's license", about)
	}
	if !bytes.Equal(read(t, filepath.Join(clientDir, "LICENSE")), read(t, "../../LICENSE")) {
		t.Error("its license has another text than the project's")
	}

	dir := installed(t)
	var files []string
	root := filepath.Join(dir, "node_modules", "caddy-redis-sse")
	for _, file := range strings.Fields(run(t, root, "find", ".", "-type", "f")) {
		files = append(files, strings.TrimPrefix(file, "./"))
	}
	slices.Sort(files)
	want := []string{"LICENSE", "README.md", "package.json", "redis-sse.d.ts", clientModule, "src/" + clientModule}
	if !slices.Equal(files, want) {
		t.Errorf("it has %q, want %q", files, want)
	}
	if got := run(t, dir, "node", "-e", `import("caddy-redis-sse").then((m) => console.log(Object.keys(m)))`); got != "[ 'listen' ]\n" {
		t.Errorf("importing it has %s", got)
	}
}
