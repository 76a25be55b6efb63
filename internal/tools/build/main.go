// Command build builds Caddy with this module as xcaddy.json says: through
// xcaddy if that is on PATH, else with go build through cmd/caddy. It runs in
// the module's root.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
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

func main() {
	output := flag.String("output", "./caddy", "the binary to write")
	flag.Parse()
	if err := build(*output); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func build(output string) error {
	s, err := load("xcaddy.json")
	if err != nil {
		return err
	}
	var cmd *exec.Cmd
	if xcaddy, err := exec.LookPath("xcaddy"); err == nil {
		cmd = xcaddyBuild(xcaddy, s, output)
	} else if cmd, err = goBuild(s, output); err != nil {
		return err
	}
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
	replaced := make(map[string]string)
	for _, r := range s.Replacements {
		replaced[r.Old] = r.New
	}
	args := []string{"build", s.CaddyVersion}
	for _, p := range s.Plugins {
		with := p.ModulePath
		if p.Version != "" {
			with += "@" + p.Version
		}
		if dir, ok := replaced[p.ModulePath]; ok {
			with += "=" + dir
			delete(replaced, p.ModulePath)
		}
		args = append(args, "--with", with)
	}
	for _, r := range s.Replacements {
		if dir, ok := replaced[r.Old]; ok {
			args = append(args, "--replace", r.Old+"="+dir)
		}
	}
	cmd := exec.Command(xcaddy, append(args, "--output", output)...)
	cmd.Env = append(os.Environ(), "XCADDY_GO_BUILD_FLAGS="+s.BuildFlags)
	return cmd
}

// goBuild hands build_flags over in GOFLAGS, where the go command takes them
// apart: quotes go around a whole flag, which xcaddy reads alike.
func goBuild(s spec, output string) (*exec.Cmd, error) {
	// Not os.Getenv: setting the variable hides what go env -w has set.
	goflags, err := exec.Command("go", "env", "GOFLAGS").Output()
	if err != nil {
		return nil, fmt.Errorf("running go env GOFLAGS: %w", err)
	}
	cmd := exec.Command("go", "build", "-o", output, "./cmd/caddy")
	cmd.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(string(goflags))+" "+s.BuildFlags)
	if os.Getenv("CGO_ENABLED") == "" {
		// As xcaddy does: one static binary that runs on any libc.
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	}
	return cmd, nil
}
