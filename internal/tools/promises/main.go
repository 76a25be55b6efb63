// Command promises runs the tests that hold the project's promises, measures the gateway beside a plain endpoint in the same
// faults, and writes docs/PROMISES.md. It writes nothing unless all is as promised.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/promises"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "promises:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("promises", flag.ContinueOnError)
	doc := flags.String("doc", "docs/PROMISES.md", "the Markdown `file` to write")
	quick := flags.Bool("quick", false, "few tests and faults, to see that everything runs; the page goes to standard output")
	if err := flags.Parse(args); err != nil {
		return err
	}
	faults, tests := promises.Faults, allTests()
	if *quick {
		faults, tests = promises.QuickFaults(), quickTests
	}
	runs, err := runTests(ctx, tests)
	if err != nil {
		return err
	}
	results, err := measure(ctx, *quick)
	if err != nil {
		return err
	}
	if err := results.Check(promises.Keys(faults)); err != nil {
		return err
	}
	report := promises.Report{Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Runs: runs, Results: *results}
	if *quick {
		_, err = os.Stdout.WriteString("(A quick run: most tests have not run, and the figures mean little.)\n\n" + report.Markdown(faults))
		return err
	}
	return os.WriteFile(*doc, []byte(report.Markdown(faults)), 0o644)
}

// allTests are the tests of all promises. One may hold several.
func allTests() (tests []string) {
	for _, p := range promises.All {
		tests = append(tests, p.Tests...)
	}
	return tests
}

// quickTests are some that take no time.
var quickTests = []string{"TestCursorRoundTrip", "TestParseCursorIsStrict", "TestGlob"}

// measure runs the test that is the measurement.
func measure(ctx context.Context, quick bool) (*promises.Results, error) {
	dir, err := os.MkdirTemp("", "promises-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "figures.json")
	args := []string{
		"test", "-tags", "faults", "-count", "1", "-parallel", "4", "-timeout", "10m", "-v", "-run", "^TestFaults$",
		"./internal/promises", "-args", "-figures", file,
	}
	if quick {
		args = append(args, "-quick")
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("measuring: %w", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("measuring: it found nothing: %w", err)
	}
	results := new(promises.Results)
	return results, json.Unmarshal(text, results)
}

// machine says where the figures are from.
func machine() string {
	model := "unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name\t: "); ok {
			model, _, _ = strings.Cut(rest, "\n")
		}
	}
	return fmt.Sprintf("%s, %d cores, %s", model, runtime.NumCPU(), runtime.Version())
}

var errNotHeld = errors.New("not all tests passed")
