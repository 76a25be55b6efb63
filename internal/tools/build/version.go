package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// unknownVersion is that of a module which no git knows, such as one from an archive.
const unknownVersion = "v0.0.0-unknown"

// semanticVersion is what go.mod takes for this module: no build metadata, and
// no v2, which the module's path would have to end in.
var semanticVersion = regexp.MustCompile(`^v[01]\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

// pluginVersion is the version that is asked for, else the one that git has.
func pluginVersion(asked string) (string, error) {
	if asked == "" {
		found, err := gitVersion()
		if err != nil {
			fmt.Fprintln(os.Stderr, "build: the module's version is unknown (-version says it):", err)
			return unknownVersion, nil
		}
		return found, nil
	}
	if !semanticVersion.MatchString(asked) {
		return "", fmt.Errorf("reading the version %q: one is such as v1.2.3 or v1.2.3-rc.1", asked)
	}
	return asked, nil
}

// gitVersion is what the go command makes of git's tags and of whether
// something is not committed: it writes that into the main module of a binary,
// here of this program.
func gitVersion() (version string, err error) {
	dir, err := os.MkdirTemp("", "caddy-redis-sse-version-")
	if err != nil {
		return "", fmt.Errorf("making a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "stamped")
	cmd := exec.Command("go", "build", "-buildvcs=true", "-o", file, "./internal/tools/build")
	// What is built here runs nowhere: no flags and no other platform of the build.
	cmd.Env = append(os.Environ(), "GOOS=", "GOARCH=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("running %s: %w: %s", cmd, err, strings.TrimSpace(string(out)))
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the version: %w", err)
	}
	// go.mod takes no build metadata.
	version = strings.Replace(info.Main.Version, "+dirty", "-dirty", 1)
	if !semanticVersion.MatchString(version) {
		return "", fmt.Errorf("reading the version %q that go gives the module", version)
	}
	return version, nil
}
