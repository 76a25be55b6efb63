//go:build unix

package proctest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// elsewhereTest has the name of the test that a process was started for.
const elsewhereTest = "REDIS_SSE_ELSEWHERE"

// lanes bounds how many processes there are for tests at a time. They mostly wait.
var lanes = make(chan struct{}, 6)

// Elsewhere is for a test that waits a lot and has to be alone in its process: it runs in another one, beside all others. The first
// line of such a test is
//
//	if proctest.Elsewhere(t) { return }
//
// It reports whether the test has run elsewhere, with what came of it. What was covered there counts here. A run that is to be
// looked into, by a profile or a trace, has its tests here. With -short it is skipped.
func Elsewhere(t *testing.T) bool {
	t.Helper()
	if testing.Short() {
		t.Skip("it waits for long")
	}
	if os.Getenv(elsewhereTest) == t.Name() || set("test.cpuprofile", "test.memprofile", "test.blockprofile", "test.mutexprofile", "test.trace") {
		return false
	}
	logFile := filepath.Join(Dir(), fmt.Sprintf("elsewhere-%s.log", strings.ReplaceAll(t.Name(), "/", "-")))
	ended := make(chan error, 1)
	deadline, _ := t.Deadline()
	go func() { ended <- runElsewhere(t.Name(), logFile, deadline) }()
	t.Parallel()
	err := <-ended
	log, readErr := os.ReadFile(logFile)
	if err = errors.Join(err, readErr); err != nil {
		t.Fatalf("in a process of its own: %v\n%s", err, log)
	}
	switch name := regexp.QuoteMeta(t.Name()); {
	case regexp.MustCompile(`(?m)^ *--- SKIP: ` + name + ` `).Match(log):
		t.Skipf("in a process of its own:\n%s", log)
	case !regexp.MustCompile(`(?m)^ *--- PASS: ` + name + ` `).Match(log):
		t.Fatalf("in a process of its own it did not run:\n%s", log)
	case testing.Verbose():
		t.Logf("in a process of its own:\n%s", log)
	}
	return true
}

// runElsewhere runs a test in a process of its own, whose output goes to a file: nothing of it is in this one.
func runElsewhere(name, logFile string, deadline time.Time) error {
	lanes <- struct{}{}
	defer func() { <-lanes }()
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	bin, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the test binary: %w", err)
	}
	cmd := exec.Command(bin, elsewhereArgs(name, deadline)...)
	cmd.Env = append(os.Environ(), elsewhereTest+"="+name, binDir+"="+Dir())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ChildAttr(syscall.SIGKILL)
	return cmd.Run()
}

// elsewhereArgs are this run's flags, as far as they are about how a test runs, and those that choose this one.
func elsewhereArgs(name string, deadline time.Time) []string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		parts = append(parts, "^"+regexp.QuoteMeta(part)+"$")
	}
	if asked := strings.Split(flag.Lookup("test.run").Value.String(), "/"); len(asked) > len(parts) {
		parts = append(parts, asked[len(parts):]...)
	}
	args := []string{"-test.run=" + strings.Join(parts, "/"), "-test.v=true"}
	if !deadline.IsZero() {
		const sooner = 5 * time.Second // so that it says what it waits for
		args = append(args, "-test.timeout="+max(time.Second, time.Until(deadline)-sooner).String())
	}
	flag.Visit(func(f *flag.Flag) {
		kept := []string{"test.skip", "test.gocoverdir", "test.paniconexit0", "test.parallel", "test.artifacts", "test.outputdir", "test.fullpath"}
		if !strings.HasPrefix(f.Name, "test.") || slices.Contains(kept, f.Name) {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	return append(args, flag.Args()...)
}

// set tells whether one of these flags was given.
func set(names ...string) (given bool) {
	flag.Visit(func(f *flag.Flag) { given = given || slices.Contains(names, f.Name) })
	return given
}

// Parallel is for Run: so many tests run side by side, unless -parallel says how many. It is for tests that mostly wait.
func Parallel(n int) func() error {
	return func() error {
		flag.Parse()
		if set("test.parallel") {
			return nil
		}
		return flag.Set("test.parallel", fmt.Sprint(n))
	}
}
