// Command build builds Caddy with this module as xcaddy.json says: through
// xcaddy if that is on PATH, else with go build, from a main module like the one
// that xcaddy makes. It runs in the module's root.
//
// Either way the module is a dependency of the binary and has a version there:
// caddy list-modules --versions, caddy upgrade and the metric build_info look
// for it among the dependencies.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// spec holds the fields of xcaddy.Builder that both ways of building honour.
// Any other one is an error: the xcaddy command has no flag for most of them,
// and a field that does nothing would mislead.
type spec struct {
	CaddyVersion string `json:"caddy_version"`
	Plugins      []struct {
		ModulePath string `json:"module_path"`
		Version    string `json:"version"`
	} `json:"plugins"`
	Replacements []struct {
		Old string `json:"old"`
		New string `json:"new"`
	} `json:"replacements"`
	BuildFlags string `json:"build_flags"`
}

// setVersion gives the plugins that are built from a directory a version, which
// xcaddy.json cannot know.
func (s *spec) setVersion(version string) {
	for i, p := range s.Plugins {
		if p.Version == "" && s.directory(p.ModulePath) != "" {
			s.Plugins[i].Version = version
		}
	}
}

// directory is what stands in place of a module, if anything does.
func (s *spec) directory(module string) string {
	for _, r := range s.Replacements {
		if r.Old == module {
			return r.New
		}
	}
	return ""
}

func main() {
	output := flag.String("output", "./caddy", "the binary to write")
	version := flag.String("version", "", "the version that the binary says this module has, such as v1.2.3 (default: as git has it)")
	flag.Parse()
	if err := build(*output, *version); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func build(output, version string) error {
	s, err := load("xcaddy.json")
	if err != nil {
		return err
	}
	if version, err = pluginVersion(version); err != nil {
		return err
	}
	s.setVersion(version)
	if output, err = filepath.Abs(output); err != nil {
		return fmt.Errorf("finding where to write the binary: %w", err)
	}
	xcaddy, err := exec.LookPath("xcaddy")
	if err != nil {
		return goBuild(s, output)
	}
	return run(xcaddyBuild(xcaddy, s, output))
}

// run says what it runs.
func run(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	fmt.Println(cmd)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w", cmd.Path, err)
	}
	return nil
}

func load(file string) (s spec, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return s, fmt.Errorf("reading the build's description (run this in the module's root): %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return s, fmt.Errorf("decoding %s: %w", file, err)
	}
	return s, nil
}

func xcaddyBuild(xcaddy string, s spec, output string) *exec.Cmd {
	args := []string{"build", s.CaddyVersion}
	plugins := make(map[string]bool)
	for _, p := range s.Plugins {
		plugins[p.ModulePath] = true
		with := p.ModulePath
		if p.Version != "" {
			with += "@" + p.Version
		}
		if dir := s.directory(p.ModulePath); dir != "" {
			with += "=" + dir
		}
		args = append(args, "--with", with)
	}
	for _, r := range s.Replacements {
		if !plugins[r.Old] {
			args = append(args, "--replace", r.Old+"="+r.New)
		}
	}
	cmd := exec.Command(xcaddy, append(args, "--output", output)...)
	cmd.Env = append(os.Environ(), "XCADDY_GO_BUILD_FLAGS="+s.BuildFlags)
	return cmd
}
