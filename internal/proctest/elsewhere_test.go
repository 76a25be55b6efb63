//go:build unix

package proctest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestElsewhereIsAnotherProcess(t *testing.T) {
	parent := os.Getenv("PROCTEST_PARENT")
	if parent == "" {
		t.Skip("for the test below")
	}
	for name, test := range map[string]func(*testing.T){
		"passes": func(t *testing.T) { t.Log("it passes there") },
		"fails":  func(t *testing.T) { t.Error("it fails there") },
		"skips":  func(t *testing.T) { t.Skip("it skips there") },
		"panics": func(*testing.T) { panic("it panics there") },
		"leaks":  func(*testing.T) { go func() { select {} }() },
		"exits":  func(*testing.T) { os.Exit(0) },
		"has subtests": func(t *testing.T) {
			t.Run("one", func(*testing.T) {})
			t.Run("two", func(t *testing.T) { t.Error("the second fails there") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			if Elsewhere(t) {
				t.Log("it ran elsewhere")
				return
			}
			if os.Getenv(elsewhereTest) != t.Name() {
				t.Error("it runs in the first process")
			}
			test(t)
		})
	}
}

func TestElsewhereTellsWhatCameOfATest(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		text  []string
		other string // must not be there
	}{
		"passes":           {[]string{"--- PASS: TestElsewhereIsAnotherProcess/passes ", "it ran elsewhere", "it passes there"}, "FAIL"},
		"fails":            {[]string{"--- FAIL: TestElsewhereIsAnotherProcess/fails ", "it fails there", "exit status 1"}, "it ran elsewhere"},
		"skips":            {[]string{"--- SKIP: TestElsewhereIsAnotherProcess/skips ", "it skips there"}, "it ran elsewhere"},
		"panics":           {[]string{"--- FAIL: TestElsewhereIsAnotherProcess/panics ", "it panics there", "exit status 2"}, "it ran elsewhere"},
		"leaks":            {[]string{"--- FAIL: TestElsewhereIsAnotherProcess/leaks ", "found unexpected goroutines", "exit status 1"}, "it ran elsewhere"},
		"exits":            {[]string{"--- FAIL: TestElsewhereIsAnotherProcess/exits "}, "it ran elsewhere"},
		"has_subtests":     {[]string{"--- FAIL: TestElsewhereIsAnotherProcess/has_subtests ", "--- PASS: TestElsewhereIsAnotherProcess/has_subtests/one ", "the second fails there"}, "it ran elsewhere"},
		"has_subtests/one": {[]string{"--- PASS: TestElsewhereIsAnotherProcess/has_subtests ", "it ran elsewhere"}, "the second"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v=true", "-test.timeout=1m", "-test.run=^TestElsewhereIsAnotherProcess$/^"+strings.ReplaceAll(name, "/", "$/^")+"$")
			cmd.Env = append(os.Environ(), "PROCTEST_PARENT=1")
			out, err := cmd.CombinedOutput()
			for _, text := range want.text {
				if !strings.Contains(string(out), text) {
					t.Errorf("no %q", text)
				}
			}
			if strings.Contains(string(out), want.other) {
				t.Errorf("there is %q", want.other)
			}
			if fails := strings.Contains(want.text[0], "FAIL"); fails != (err != nil) {
				t.Errorf("it ended with %v", err)
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}
