package redissse

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// There is no Docker where the tests run. What can be held without is: that the files name what is there, and the same versions.

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// decodeYAML fails for what is no YAML, for a key that is there twice, and for one that into has no field for.
func decodeYAML(t *testing.T, file string, into any) {
	t.Helper()
	dec := yaml.NewDecoder(strings.NewReader(readText(t, file)))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if err := dec.Decode(new(any)); err != io.EOF {
		t.Fatalf("%s goes on after its document: %v", file, err)
	}
}

// instructions are those of a Dockerfile, each on one line, by their first word.
func instructions(t *testing.T, file string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for line := range strings.Lines(strings.ReplaceAll(readText(t, file), "\\\n", "")) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if !slices.Contains([]string{"FROM", "WORKDIR", "COPY", "ARG", "RUN"}, word) {
			t.Errorf("%s: what does %q do? Say it here", file, word)
		}
		found[word] = append(found[word], strings.Join(strings.Fields(rest), " "))
	}
	return found
}

func TestTheDockerfileBuildsAsMakeDoes(t *testing.T) {
	is := instructions(t, "Dockerfile")
	version := strings.TrimPrefix(loadXcaddyJSON(t).CaddyVersion, "v")
	if want := []string{"--platform=$BUILDPLATFORM caddy:" + version + "-builder AS build", "caddy:" + version}; !slices.Equal(is["FROM"], want) {
		t.Errorf("the Dockerfile builds from %q, want %q", is["FROM"], want)
	}
	// Through xcaddy, which the first image has: TestBuildThroughXcaddy says with which arguments.
	const build = "go build -o /usr/local/bin/build ./internal/tools/build && " +
		`GOOS=$TARGETOS GOARCH=$TARGETARCH build -version "$VERSION" -output /usr/bin/caddy`
	if len(is["RUN"]) != 1 || !strings.HasSuffix(is["RUN"][0], " "+build) {
		t.Errorf("the Dockerfile runs %q, want %q", is["RUN"], build)
	}
	if want := []string{". .", "--from=build /usr/bin/caddy /usr/bin/caddy"}; !slices.Equal(is["COPY"], want) {
		t.Errorf("the Dockerfile copies %q, want %q", is["COPY"], want)
	}
	if !slices.Contains(is["ARG"], "VERSION=v0.0.0-unknown") {
		t.Errorf("the Dockerfile's arguments are %q", is["ARG"])
	}
}

// TestTheBuilderImageHasAGoThatWillDo: its Go fetches no newer one, and is one that Caddy builds with.
func TestTheBuilderImageHasAGoThatWillDo(t *testing.T) {
	ours, caddys := goLine(t, "."), goLine(t, moduleDir(t, "github.com/caddyserver/caddy/v2"))
	if ours != caddys {
		t.Errorf("go.mod wants go %s, Caddy's wants %s", ours, caddys)
	}
}

func moduleDir(t *testing.T, module string) string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(dir))
}

func goLine(t *testing.T, dir string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(readText(t, filepath.Join(dir, "go.mod")))
	if found == nil {
		t.Fatalf("the go.mod of %s says no version of Go", dir)
	}
	return found[1]
}

// TestTheImageIsBuiltFromAllThatItNeeds holds .dockerignore to the files that a build reads.
func TestTheImageIsBuiltFromAllThatItNeeds(t *testing.T) {
	const format = `{{$dir := .Dir}}{{with .Module}}{{if .Main}}{{range $.GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`
	cmd := exec.Command("go", "list", "-deps", "-f", format, "./cmd/caddy", "./internal/tools/build")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	needed := []string{"go.mod", "go.sum", "xcaddy.json", "cmd/caddy/main.go"}
	for file := range strings.FieldsSeq(string(out)) {
		name, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		needed = append(needed, name)
	}
	if len(needed) < 50 {
		t.Fatalf("a build needs only %q?", needed)
	}
	for _, name := range needed {
		if ignored(t, name) {
			t.Errorf(".dockerignore leaves out %s", name)
		}
	}
	for _, name := range []string{".git/HEAD", ".gitignore", "hub_test.go", "docs/build.md", "internal/hub/hub_test.go", "internal/clientstest/node_modules/x.js",
		"dist/caddy_redis_sse_linux_amd64", "caddy", "examples/demo/main.go"} {
		if !ignored(t, name) {
			t.Errorf(".dockerignore lets in %s", name)
		}
	}
}

// ignored is what the patterns that .dockerignore has come to: the last that matches a name, or a directory of it, counts.
func ignored(t *testing.T, name string) (out bool) {
	t.Helper()
	for line := range strings.FieldsSeq(regexp.MustCompile(`(?m)^#.*`).ReplaceAllString(readText(t, ".dockerignore"), "")) {
		pattern, again := strings.CutPrefix(line, "!")
		anywhere, deep := strings.CutPrefix(pattern, "**/")
		parts := strings.Split(name, "/")
		if !deep {
			parts = parts[:1]
		}
		for _, part := range parts {
			if match, err := path.Match(anywhere, part); err != nil {
				t.Fatal(err)
			} else if match {
				out = !again
			}
		}
	}
	return out
}
