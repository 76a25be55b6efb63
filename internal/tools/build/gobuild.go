package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// goBuild builds from a main module of its own, in a temporary directory, as
// xcaddy does. What it requires is what this module's go.mod does, in the same
// versions, so that nothing is looked up.
func goBuild(s spec, output string) (err error) {
	dir, err := os.MkdirTemp("", "caddy-redis-sse-build-")
	if err != nil {
		return fmt.Errorf("making a directory to build in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := mainModule(s, dir); err != nil {
		return err
	}
	env, err := goEnv(s)
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-o", output, ".")
	cmd.Dir, cmd.Env = dir, env
	return run(cmd)
}

var moduleLine = regexp.MustCompile(`(?m)^module \S+$`)

// mainModule writes cmd/caddy into dir as a module that requires the plugins in their versions.
func mainModule(s spec, dir string) error {
	gomod, err := os.ReadFile("go.mod")
	if err != nil {
		return fmt.Errorf("reading what the build requires: %w", err)
	}
	text := moduleLine.ReplaceAllString(string(gomod), "module caddy")
	for i, p := range s.Plugins {
		replacement := s.directory(p.ModulePath)
		if replacement == "" {
			continue // then go.mod requires it already
		}
		// The binary records what it was built from. A link keeps the builder's directories out of it.
		link := fmt.Sprintf("plugin%d", i)
		if replacement, err = filepath.Abs(replacement); err != nil {
			return fmt.Errorf("finding %s: %w", p.ModulePath, err)
		}
		if err := os.Symlink(replacement, filepath.Join(dir, link)); err != nil {
			return fmt.Errorf("linking to %s: %w", p.ModulePath, err)
		}
		text += fmt.Sprintf("\nrequire %s %s\nreplace %s => ./%s\n", p.ModulePath, p.Version, p.ModulePath, link)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing what the build requires: %w", err)
	}
	return copyInto(dir, "go.sum", filepath.Join("cmd", "caddy", "main.go"))
}

func copyInto(dir string, files ...string) error {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading a part of the build: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600); err != nil {
			return fmt.Errorf("writing a part of the build: %w", err)
		}
	}
	return nil
}

// goEnv hands build_flags over in GOFLAGS, where the go command takes them
// apart: quotes go around a whole flag, which xcaddy reads alike.
func goEnv(s spec) ([]string, error) {
	// Not os.Getenv: setting the variable hides what go env -w has set.
	goflags, err := exec.Command("go", "env", "GOFLAGS").Output()
	if err != nil {
		return nil, fmt.Errorf("running go env GOFLAGS: %w", err)
	}
	env := append(os.Environ(), "GOFLAGS="+strings.TrimSpace(string(goflags))+" "+s.BuildFlags,
		"GOWORK=off") // a workspace does not have the module in the temporary directory
	if os.Getenv("CGO_ENABLED") == "" {
		// As xcaddy does: one static binary that runs on any libc.
		env = append(env, "CGO_ENABLED=0")
	}
	return env, nil
}
