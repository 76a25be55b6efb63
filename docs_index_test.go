package redissse

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// indexFile names all other documents below docs.
const indexFile = "docs/README.md"

// What is below docs is in the index, and in what language models are given.
func TestEachDocumentIsInTheIndex(t *testing.T) {
	fsys := os.DirFS(".")
	files, err := documents(fsys)
	if err != nil {
		t.Fatal(err)
	}
	for _, index := range []string{indexFile, llmsFile} {
		links, err := linksOf(fsys, index)
		if err != nil {
			t.Fatal(err)
		}
		for i := range links {
			links[i] = path.Join(path.Dir(index), links[i])
		}
		for _, file := range files {
			if strings.HasPrefix(file, "docs/") && file != index && !slices.Contains(links, file) {
				t.Errorf("%s does not link to %s", index, file)
			}
		}
	}
}

func TestTheIndexHasItsOrder(t *testing.T) {
	text, err := prose(os.DirFS("."), indexFile)
	if err != nil {
		t.Fatal(err)
	}
	var titles []string
	for _, heading := range headingLine.FindAllStringSubmatch(text, -1) {
		titles = append(titles, heading[1])
	}
	want := []string{"Documentation", "Quickstart", "Guides", "Reference", "Operations", "Architecture"}
	if !slices.Equal(titles, want) {
		t.Errorf("%s has %q, want %q", indexFile, titles, want)
	}
}

// The form is that of https://llmstxt.org: a title, a summary, and sections of links with a note each.
func TestLlmsHasItsForm(t *testing.T) {
	text, err := os.ReadFile(llmsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`\A# \S.*\n\n(> \S.*\n)+\n`).Match(text) {
		t.Errorf("%s does not begin with a title and a summary", llmsFile)
	}
	_, sections, _ := strings.Cut(string(text), "\n## ")
	entry := regexp.MustCompile(`^- \[[^\]]+\]\([^)]+\): \S.*$`)
	for line := range strings.Lines("## " + sections) {
		line = strings.TrimSuffix(line, "\n")
		if line != "" && !strings.HasPrefix(line, "## ") && !entry.MatchString(line) {
			t.Errorf("%s: %q is neither a section's title nor a link with a note", llmsFile, line)
		}
	}
}
