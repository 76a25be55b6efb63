package promises

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/faults"
)

const root = "../.."

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)

// testsOf are the names of the tests in a directory of the project.
func testsOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range testFunc.FindAllStringSubmatch(string(text), -1) {
			names = append(names, found[1])
		}
	}
	return names
}

func TestEachPromiseIsHeldByTestsThatThereAre(t *testing.T) {
	if len(All) != 10 {
		t.Errorf("%d promises, want 10", len(All))
	}
	there := map[string][]string{}
	for i, p := range All {
		if len(p.Tests) == 0 || p.Title == "" || p.Text == "" {
			t.Errorf("P%d has %d tests, title %q, text %q", i+1, len(p.Tests), p.Title, p.Text)
		}
		for n, test := range p.Tests {
			dir, name := Split(test)
			if there[dir] == nil {
				there[dir] = testsOf(t, dir)
			}
			if !slices.Contains(there[dir], name) {
				t.Errorf("P%d: there is no test %q in %q", i+1, name, dir)
			}
			if slices.Contains(p.Tests[:n], test) {
				t.Errorf("P%d names %q twice", i+1, test)
			}
			if Join(dir, name) != test {
				t.Errorf("P%d: %q is not written as %q", i+1, test, Join(dir, name))
			}
		}
	}
}

// The document is only written by a run of "make promises", which must be repeated when what it is about changes.
func TestTheDocumentIsOfTheseTestsAndFaults(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/PROMISES.md"))
	if err != nil {
		t.Fatal(err)
	}
	if err := judgeDocument(string(text)); err != nil {
		t.Errorf("%v: run `make promises`", err)
	}
}

var (
	section  = regexp.MustCompile(`(?m)^## (P\d+: .*)$`)
	testName = regexp.MustCompile("`(Test\\w+)`")
	faultRow = regexp.MustCompile(`(?m)^\| (.+) \| gateway \|`)
)

// judgeDocument tells where the document differs from the lists, but for the figures.
func judgeDocument(text string) error {
	body, comparison, _ := strings.Cut(text, comparisonHead)
	body, matrix, _ := strings.Cut(body, matrixHead)
	var sections []string
	for _, s := range section.FindAllStringSubmatchIndex(body, -1) {
		sections = append(sections, body[s[2]:s[1]])
	}
	if len(sections) != len(All) {
		return fmt.Errorf("it has %d promises, not %d", len(sections), len(All))
	}
	for i, p := range All {
		title := fmt.Sprintf("P%d: %s", i+1, p.Title)
		if sections[i] != title {
			return fmt.Errorf("it has %q, not %q", sections[i], title)
		}
		_, rest, _ := strings.Cut(body, "## "+title+"\n\n")
		rest, _, _ = strings.Cut(rest, "\n## ")
		if said, _, _ := strings.Cut(rest, "\n\n"); said != wrap(p.Text, "") {
			return fmt.Errorf("it has another text of %q", title)
		}
		var want, got []string
		for _, test := range p.Tests {
			_, name := Split(test)
			want = append(want, name)
		}
		for _, found := range testName.FindAllStringSubmatch(rest, -1) {
			got = append(got, found[1])
		}
		if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			return fmt.Errorf("it names other tests of %q", title)
		}
	}
	return errors.Join(judgeMatrix(matrix), judgeFaults(comparison))
}

func judgeFaults(comparison string) error {
	var want, got []string
	for _, f := range Faults {
		want = append(want, f.Title)
	}
	for _, row := range faultRow.FindAllStringSubmatch(comparison, -1) {
		got = append(got, row[1])
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("it has the faults %q, not %q", got, want)
	}
	return nil
}

var matrixRow = regexp.MustCompile(`(?m)^\| (.+?) \| \d+ \| \d+ \|`)

func judgeMatrix(matrix string) error {
	var want, got []string
	for _, f := range faults.List {
		want = append(want, f.Title)
	}
	for _, row := range matrixRow.FindAllStringSubmatch(matrix, -1) {
		got = append(got, row[1])
	}
	if want = append(want, "all"); !slices.Equal(got, want) {
		return fmt.Errorf("its matrix has the faults %q, not %q", got, want)
	}
	return nil
}
