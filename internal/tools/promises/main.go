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
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/faults"
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
	compared, listed, tests := promises.Faults, faults.List, allTests()
	if *quick {
		compared, listed, tests = promises.QuickFaults(), quickMatrix(), quickTests
	}
	runs, err := runTests(ctx, tests)
	if err != nil {
		return err
	}
	results := new(promises.Results)
	if err := measure(ctx, results, comparison(*quick)...); err != nil {
		return err
	}
	if err := results.Check(promises.Keys(compared)); err != nil {
		return err
	}
	matrix, times := map[string]faults.Row{}, matrixRuns
	if *quick {
		times = 1
	}
	if err := measure(ctx, &matrix, matrixOf(listed, times)...); err != nil {
		return err
	}
	if err := promises.CheckMatrix(matrix, listed, times); err != nil {
		return err
	}
	report := promises.Report{
		Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Runs: runs, Results: *results, Matrix: matrix,
	}
	if *quick {
		_, err = os.Stdout.WriteString("(A quick run: most tests have not run, and the figures mean little.)\n\n" + report.Markdown(compared, listed))
		return err
	}
	return os.WriteFile(*doc, []byte(report.Markdown(compared, listed)), 0o644)
}

// allTests are the tests of all promises. One may hold several.
func allTests() (tests []string) {
	for _, p := range promises.All {
		tests = append(tests, p.Tests...)
	}
	return tests
}

// quickTests are some that take no time.
var quickTests = []string{"internal/hub.TestCursorRoundTrip", "internal/hub.TestParseCursorIsStrict", "internal/glob.TestMatch"}

// matrixRuns is how often each fault of the matrix is tried. Most happen several times in each run.
const matrixRuns = 5

// quickMatrix are faults that take little time: one that breaks the connection, and one that does not.
func quickMatrix() (few []faults.Named) {
	for _, f := range faults.List {
		if f.Key == "client kill" || f.Key == "frozen 1.5 s" {
			few = append(few, f)
		}
	}
	return few
}

// comparison is what to tell go test for the comparison with a plain endpoint.
func comparison(quick bool) []string {
	args := []string{"-tags", "promises", "-count", "1", "-parallel", "4", "-timeout", "10m", "-run", "^TestFaults$", "./internal/promises", "-args"}
	if quick {
		args = append(args, "-quick")
	}
	return args
}

// matrixOf is what to tell go test for so many runs of faults of the matrix.
func matrixOf(list []faults.Named, times int) []string {
	var names []string
	for _, f := range list {
		names = append(names, regexp.QuoteMeta(strings.ReplaceAll(f.Key, " ", "_")))
	}
	return []string{
		"-race", "-count", strconv.Itoa(times), "-timeout", "90m", "-run", "^TestFaults$/^(" + strings.Join(names, "|") + "),_steady$",
		"./internal/faults", "-args",
	}
}

// measure runs a test that is a measurement, and reads the figures that it writes. The last of args are for the test itself.
func measure(ctx context.Context, figures any, args ...string) error {
	dir, err := os.MkdirTemp("", "promises-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "figures.json")
	args = append(append([]string{"test", "-v"}, args...), "-figures", file)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("measuring: %w", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("measuring: it found nothing: %w", err)
	}
	return json.Unmarshal(text, figures)
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
