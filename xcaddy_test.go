package redissse

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const xcaddyModule = modulePath

// xcaddyBuilder has the JSON fields of xcaddy.Builder and no others
// (caddyserver/xcaddy, builder.go and platforms.go), so that anything that
// builds Caddy through xcaddy's package can read our xcaddy.json.
type xcaddyBuilder struct {
	OS           string `json:"os"`
	Arch         string `json:"arch"`
	ARM          string `json:"arm"`
	Cgo          bool   `json:"cgo"`
	CaddyVersion string `json:"caddy_version"`
	Plugins      []struct {
		PackagePath string `json:"module_path"`
		Version     string `json:"version"`
	} `json:"plugins"`
	Replacements []struct {
		Old string `json:"old"`
		New string `json:"new"`
	} `json:"replacements"`
	TimeoutGet   time.Duration `json:"timeout_get"`
	TimeoutBuild time.Duration `json:"timeout_build"`
	RaceDetector bool          `json:"race_detector"`
	SkipCleanup  bool          `json:"skip_cleanup"`
	SkipBuild    bool          `json:"skip_build"`
	Debug        bool          `json:"debug"`
	BuildFlags   string        `json:"build_flags"`
	ModFlags     string        `json:"mod_flags"`
	PgoProfile   string        `json:"pgo_profile"`
	EmbedDirs    []struct {
		Dir  string `json:"dir"`
		Name string `json:"name"`
	} `json:"embed_dir"`
}

func loadXcaddyJSON(t *testing.T) xcaddyBuilder {
	t.Helper()
	data, err := os.ReadFile("xcaddy.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var b xcaddyBuilder
	if err := dec.Decode(&b); err != nil {
		t.Fatalf("xcaddy.json is no xcaddy.Builder: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Fatalf("xcaddy.json goes on after its object: %v", err)
	}
	return b
}

func TestXcaddyJSONAgreesWithGoMod(t *testing.T) {
	b := loadXcaddyJSON(t)
	gomod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	find := func(pattern string) string {
		m := regexp.MustCompile(`(?m)` + pattern).FindSubmatch(gomod)
		if m == nil {
			t.Fatalf("go.mod has no line like %q", pattern)
		}
		return string(m[1])
	}
	if got, want := b.CaddyVersion, find(`^(?:require)?\s+github\.com/caddyserver/caddy/v2 (\S+)`); got != want {
		t.Errorf("xcaddy.json's caddy_version = %q, go.mod requires %q", got, want)
	}
	if got := find(`^module (\S+)`); got != xcaddyModule {
		t.Errorf("go.mod's module = %q, want %q", got, xcaddyModule)
	}
	// cmd/caddy, the other way to build, imports this one plugin.
	if len(b.Plugins) != 1 || b.Plugins[0].PackagePath != xcaddyModule || b.Plugins[0].Version != "" {
		t.Errorf("xcaddy.json's plugins = %+v, want only %q without a version", b.Plugins, xcaddyModule)
	}
	if len(b.Replacements) != 1 || b.Replacements[0].Old != xcaddyModule || b.Replacements[0].New != "." {
		t.Errorf("xcaddy.json's replacements = %+v, want %q by %q", b.Replacements, xcaddyModule, ".")
	}
}

// builderRun is how the build tool called its builder.
type builderRun struct {
	args, env []string
	gomod     string // of the directory in which it ran
	output    string // what the tool was told to write
	err       error  // the tool's
}

// runBuild runs the build tool, with more flags, with PATH holding nothing but a stub of the
// given name, which records how it was called and exits with the given status.
func runBuild(t *testing.T, stub, status string, flags ...string) (run builderRun) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the stub is a shell script")
	}
	dir := t.TempDir()
	tool := filepath.Join(dir, "build")
	if out, err := exec.Command("go", "build", "-o", tool, "./internal/tools/build").CombinedOutput(); err != nil {
		t.Fatalf("building the build tool: %v\n%s", err, out)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\n" +
		`if [ "$1" = env ]; then echo "$GOFLAGS"; exit; fi` + "\n" +
		`printf '%s\n' "$@" >"$RECORD.args"` + "\n" +
		`while IFS= read -r line; do printf '%s\n' "$line"; done <go.mod >"$RECORD.mod"` + "\n" +
		`printf '%s\n' "XCADDY_GO_BUILD_FLAGS=$XCADDY_GO_BUILD_FLAGS" "GOFLAGS=$GOFLAGS" "CGO_ENABLED=$CGO_ENABLED" >"$RECORD.env"` + "\n" +
		"exit " + status + "\n"
	if err := os.WriteFile(filepath.Join(bin, stub), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(dir, "record")
	run.output = filepath.Join(dir, "caddy")
	cmd := exec.Command(tool, append(flags, "-output", run.output)...)
	cmd.Env = append(os.Environ(), "PATH="+bin, "RECORD="+record, "GOFLAGS=-buildvcs=false", "CGO_ENABLED=")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	recorded := func(kind string) string {
		data, err := os.ReadFile(record + kind)
		if err != nil {
			t.Fatalf("the stub was not run: %v", err)
		}
		return strings.TrimSuffix(string(data), "\n")
	}
	run.err = err
	run.args, run.env = strings.Split(recorded(".args"), "\n"), strings.Split(recorded(".env"), "\n")
	run.gomod = recorded(".mod")
	return run
}

func TestBuildThroughXcaddy(t *testing.T) {
	b := loadXcaddyJSON(t)
	run := runBuild(t, "xcaddy", "0", "-version", "v1.2.3")
	if run.err != nil {
		t.Fatal(run.err)
	}
	want := []string{"build", b.CaddyVersion, "--with", xcaddyModule + "@v1.2.3=.", "--output", run.output}
	if !slices.Equal(run.args, want) {
		t.Errorf("xcaddy's arguments = %q, want %q", run.args, want)
	}
	if want := "XCADDY_GO_BUILD_FLAGS=" + b.BuildFlags; run.env[0] != want {
		t.Errorf("xcaddy's environment has %q, want %q", run.env[0], want)
	}
}

func TestBuildWithoutXcaddy(t *testing.T) {
	b := loadXcaddyJSON(t)
	run := runBuild(t, "go", "0", "-version", "v1.2.3")
	if run.err != nil {
		t.Fatal(run.err)
	}
	if want := []string{"build", "-o", run.output, "."}; !slices.Equal(run.args, want) {
		t.Errorf("go's arguments = %q, want %q", run.args, want)
	}
	if want := []string{"GOFLAGS=-buildvcs=false " + b.BuildFlags, "CGO_ENABLED=0"}; !slices.Equal(run.env[1:], want) {
		t.Errorf("go's environment has %q, want %q", run.env[1:], want)
	}
	gomod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(string(gomod), "module "+xcaddyModule, "module caddy", 1) +
		"\nrequire " + xcaddyModule + " v1.2.3\nreplace " + xcaddyModule + " => ./plugin0"
	if run.gomod != want {
		t.Errorf("go was run with this go.mod:\n%s\nwant:\n%s", run.gomod, want)
	}
}

// Whoever has no git, or only the files, gets a binary all the same.
func TestBuildOfAnUnknownVersion(t *testing.T) {
	run := runBuild(t, "xcaddy", "0")
	if with := xcaddyModule + "@v0.0.0-unknown=."; run.err != nil || !slices.Contains(run.args, with) {
		t.Errorf("xcaddy's arguments = %q (%v), want %q among them", run.args, run.err, with)
	}
	run = runBuild(t, "go", "0")
	if line := xcaddyModule + " v0.0.0-unknown\n"; run.err != nil || !strings.Contains(run.gomod, line) {
		t.Errorf("go was run with this go.mod (%v), want %q in it:\n%s", run.err, line, run.gomod)
	}
}

func TestBuildTakesNoVersionThatIsNone(t *testing.T) {
	for _, version := range []string{"1.2.3", "v1.2", "v1.2.3+meta", "v01.2.3", "v2.0.0", "main", "v1.2.3=/etc", "v1.2.3 "} {
		out, err := exec.Command("go", "run", "./internal/tools/build", "-version", version, "-output", os.DevNull).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "one is such as v1.2.3 or v1.2.3-rc.1") {
			t.Errorf("%q: %v, %s", version, err, out)
		}
	}
}

func TestBuildFailsWithItsBuilder(t *testing.T) {
	for _, stub := range []string{"xcaddy", "go"} {
		if run := runBuild(t, stub, "3", "-version", "v1.2.3"); run.err == nil {
			t.Errorf("%s failed, the build did not", stub)
		}
	}
}
