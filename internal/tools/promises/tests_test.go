package main

import (
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/promises"
)

// told makes what "go test -json" tells from lines of an action and a test.
func told(t *testing.T, lines ...string) *record {
	t.Helper()
	var in strings.Builder
	for _, line := range lines {
		action, test, _ := strings.Cut(line, " ")
		in.WriteString(`{"Action":"output","Test":"` + test + `","Output":"said by ` + test + `\n"}` + "\n")
		in.WriteString(`{"Action":"` + action + `","Test":"` + test + `"}` + "\n")
	}
	r, err := readRecord(strings.NewReader(in.String()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRecord(t *testing.T) {
	for name, test := range map[string]struct {
		told []string
		want promises.Run
	}{
		"passed":                    {[]string{"run TestA", "pass TestA", "pass"}, promises.Run{Passed: true, Cases: 1}},
		"passed with subtests":      {[]string{"pass TestA/one", "pass TestA/two", "pass TestA"}, promises.Run{Passed: true, Cases: 2}},
		"with subtests of subtests": {[]string{"pass TestA/one/x", "pass TestA/one/y", "pass TestA/one", "pass TestA/two", "pass TestA"}, promises.Run{Passed: true, Cases: 3}},
		"another one's subtests":    {[]string{"pass TestAB/one", "pass TestAB", "pass TestA"}, promises.Run{Passed: true, Cases: 1}},
		"another one failed":        {[]string{"fail TestAB", "pass TestA", "fail"}, promises.Run{Passed: true, Cases: 1}},
		"failed":                    {[]string{"run TestA", "fail TestA", "fail"}, promises.Run{}},
		"a subtest failed":          {[]string{"pass TestA/one", "fail TestA/two", "fail TestA"}, promises.Run{Cases: 1}},
		"skipped":                   {[]string{"skip TestA", "pass"}, promises.Run{}},
		"a subtest skipped":         {[]string{"skip TestA/one", "pass TestA/two", "pass TestA"}, promises.Run{Passed: true, Cases: 1, Skipped: 1}},
		"all subtests skipped":      {[]string{"skip TestA/one", "pass TestA"}, promises.Run{Passed: true, Skipped: 1}},
		"never ran":                 {[]string{"pass"}, promises.Run{}},
		"did not end":               {[]string{"run TestA", "pass TestA/one", "fail"}, promises.Run{Cases: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := told(t, test.told...).of("TestA"); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestRecordKeepsWhatAFailedTestSaid(t *testing.T) {
	r := told(t, "fail TestA/one", "fail TestA", "pass TestB")
	if got := string(r.output); got != "said by TestA\nsaid by TestA/one\n" {
		t.Errorf("got %q", got)
	}
	if _, err := readRecord(strings.NewReader("no JSON")); err == nil {
		t.Error("text that is no JSON was read")
	}
}

// This very package has tests to run, and one that it does not have.
func TestRunTests(t *testing.T) {
	t.Chdir("../../..")
	const dir = "internal/tools/promises"
	runs, err := runTests(t.Context(), []string{dir + ".TestRecord", dir + ".TestRecordKeepsWhatAFailedTestSaid", dir + ".TestRecord"})
	if err != nil {
		t.Fatal(err)
	}
	if run := runs[dir+".TestRecord"]; len(runs) != 2 || !run.Passed || run.Cases < 5 {
		t.Errorf("got %+v", runs)
	}
	if _, err := runTests(t.Context(), []string{dir + ".TestThatThereIsNot"}); err == nil {
		t.Error("a test that there is not has passed")
	}
}
