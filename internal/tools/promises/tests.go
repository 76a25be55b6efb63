package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/redis-sse/caddy-redis-sse/internal/promises"
)

// runTests runs tests, and returns what became of each. It fails unless all passed.
func runTests(ctx context.Context, tests []string) (map[string]promises.Run, error) {
	named := map[string][]string{}
	for _, test := range tests {
		dir, name := promises.Split(test)
		if !slices.Contains(named[dir], name) {
			named[dir] = append(named[dir], name)
		}
	}
	found := map[string]promises.Run{}
	for _, dir := range slices.Sorted(maps.Keys(named)) {
		fmt.Fprintf(os.Stderr, "promises: %d tests of %s\n", len(named[dir]), dir)
		record, err := goTest(ctx, dir, named[dir])
		if err != nil {
			return nil, err
		}
		for _, name := range named[dir] {
			run := record.of(name)
			if !run.Passed || run.Cases == 0 {
				return nil, fmt.Errorf("%w: %s of %s\n%s", errNotHeld, name, dir, record.output)
			}
			found[promises.Join(dir, name)] = run
		}
	}
	return found, nil
}

// goTest runs tests of one package. That one of them fails is no error of it.
func goTest(ctx context.Context, dir string, names []string) (*record, error) {
	args := []string{"test", "-race", "-json", "-count", "1", "-timeout", "20m", "-run", "^(" + strings.Join(names, "|") + ")$"}
	if tag := promises.Tag(dir); tag != "" {
		args = append(args, "-tags", tag, "-parallel", "6") // they mostly wait
	}
	if dir != "." {
		dir = "./" + dir
	}
	cmd := exec.CommandContext(ctx, "go", append(args, dir)...)
	cmd.Stderr = os.Stderr
	out, runErr := cmd.Output()
	r, err := readRecord(bytes.NewReader(out))
	if err != nil {
		return nil, err
	}
	if runErr != nil && len(r.failed) == 0 {
		return nil, fmt.Errorf("testing %s: %w\n%s", dir, runErr, r.output)
	}
	return r, nil
}

// record is what "go test -json" told: by the full names of tests and subtests.
type record struct {
	passed, failed, skipped map[string]bool

	output []byte // of those that failed, and of the package
}

// readRecord reads the stream of "go doc cmd/test2json".
func readRecord(in io.Reader) (*record, error) {
	r := &record{passed: map[string]bool{}, failed: map[string]bool{}, skipped: map[string]bool{}}
	output := map[string][]byte{}
	for decoder := json.NewDecoder(in); ; {
		var event struct{ Action, Test, Output string }
		if err := decoder.Decode(&event); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading what go test says: %w", err)
		}
		switch event.Action {
		case "output", "build-output":
			output[event.Test] = append(output[event.Test], event.Output...)
		case "pass":
			r.passed[event.Test] = event.Test != ""
		case "fail":
			r.failed[event.Test] = true
		case "skip":
			r.skipped[event.Test] = true
		}
	}
	for _, test := range slices.Sorted(maps.Keys(r.failed)) {
		r.output = append(r.output, output[test]...)
	}
	return r, nil
}

// of is what became of a test. It has passed if it and all its subtests have, but for some that were skipped.
func (r *record) of(name string) (run promises.Run) {
	run.Passed = r.passed[name] && !r.failed[name]
	for test := range r.failed {
		run.Passed = run.Passed && !strings.HasPrefix(test, name+"/")
	}
	for test := range r.skipped {
		if strings.HasPrefix(test, name+"/") {
			run.Skipped++
		}
	}
	for test := range r.passed {
		if (test == name || strings.HasPrefix(test, name+"/")) && !r.hasSubtests(test) {
			run.Cases++
		}
	}
	return run
}

func (r *record) hasSubtests(name string) bool {
	for _, tests := range []map[string]bool{r.passed, r.skipped} {
		for test := range tests {
			if strings.HasPrefix(test, name+"/") {
				return true
			}
		}
	}
	return false
}
