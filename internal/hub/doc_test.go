package hub

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	moduleRoot = "../.."
	page       = moduleRoot + "/docs/architecture/redis-pubsub.md"
)

// pagePart returns the page from a heading to the next one.
func pagePart(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("the page has no heading %q", heading)
	}
	part, _, _ = strings.Cut(part, "\n## ")
	return part
}

var fileInTable = regexp.MustCompile(`\[([^]]+\.go)\]\(([^)]+)\)`)

// TestThePageHasEachFileOnce holds the page's table of files to the tree.
func TestThePageHasEachFileOnce(t *testing.T) {
	table := map[string]int{}
	for line := range strings.Lines(pagePart(t, "The way of a message")) {
		if !strings.HasPrefix(line, "| [") {
			continue
		}
		for _, link := range fileInTable.FindAllStringSubmatch(line, -1) {
			table[link[1]]++
			if link[2] != "../../"+link[1] {
				t.Errorf("%s links to %s", link[1], link[2])
			}
		}
	}
	for _, dir := range []string{".", "internal/hub", "internal/glob", "internal/resp", "internal/jsonpath", "internal/outlet"} {
		files, err := filepath.Glob(filepath.Join(moduleRoot, dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%d files in %s: %v", len(files), dir, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			name := filepath.ToSlash(filepath.Join(dir, filepath.Base(file)))
			if table[name] != 1 {
				t.Errorf("%s stands %d times in the table, want once", name, table[name])
			}
			delete(table, name)
		}
	}
	for name := range table {
		t.Errorf("the table has %s, which there is not", name)
	}
}

// shown matches a block of the page that shows a transcript.
var shown = regexp.MustCompile("(?s)<!-- internal/hub/(testdata/[a-z_]+\\.txt) -->\n```text\n(.*?)```\n")

// scenariosOnThePage holds the transcripts that the page shows to their files,
// and the page to have each, shown or linked. With -rewrite it shows what the
// files have.
func scenariosOnThePage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	after := shown.ReplaceAllStringFunc(string(text), func(block string) string {
		m := shown.FindStringSubmatch(block)
		seen = append(seen, m[1])
		transcript, err := os.ReadFile(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if m[2] != string(transcript) && !*rewrite {
			t.Errorf("the page shows another %s (-rewrite shows this one)", m[1])
		}
		return fmt.Sprintf("<!-- internal/hub/%s -->\n```text\n%s```\n", m[1], transcript)
	})
	if n := strings.Count(after, "<!-- internal/hub/"); len(seen) != n {
		t.Errorf("of %d transcripts that the page means to show, %d are blocks: a line <!-- file -->, then ```text", n, len(seen))
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.Contains(seen, file) && !strings.Contains(after, "(../../internal/hub/"+file+")") {
			t.Errorf("the page neither shows %s nor links to it", file)
		}
	}
	if *rewrite && !t.Failed() {
		if err := os.WriteFile(page, []byte(after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
