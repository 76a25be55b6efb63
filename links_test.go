package redissse

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// llmsFile is what language models are given: Markdown, too.
const llmsFile = "llms.txt"

var (
	fencedBlock = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	codeSpan    = regexp.MustCompile("`[^`\n]*`")
	inlineLink  = regexp.MustCompile(`\]\(([^)]*)\)`)
	namedLink   = regexp.MustCompile(`(?m)^\[[^\]]+\]: *(\S+)$`)
	autoLink    = regexp.MustCompile(`<((?:https?|mailto):[^>]*)>`)
	headingLine = regexp.MustCompile(`(?m)^#{1,6} +(.*)$`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// documents returns the paths of all Markdown of the repository, and of llms.txt.
func documents(fsys fs.FS) (files []string, err error) {
	err = fs.WalkDir(fsys, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(entry.Name(), ".") && file != "."
		if entry.IsDir() && (hidden || entry.Name() == "node_modules") {
			return fs.SkipDir
		}
		if path.Ext(file) == ".md" || file == llmsFile {
			files = append(files, file)
		}
		return nil
	})
	return files, err
}

// prose returns a document without its blocks of code, in which neither headings nor links are any.
func prose(fsys fs.FS, file string) (string, error) {
	text, err := fs.ReadFile(fsys, file)
	return fencedBlock.ReplaceAllString(string(text), ""), err
}

// anchorsOf returns what links to a document may point at: its headings, as GitHub names them.
func anchorsOf(fsys fs.FS, file string) ([]string, error) {
	text, err := prose(fsys, file)
	var anchors []string
	times := map[string]int{}
	for _, heading := range headingLine.FindAllStringSubmatch(text, -1) {
		title := inlineLink.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading[1])), "")
		anchor := strings.ReplaceAll(notInAnchor.ReplaceAllString(title, ""), " ", "-")
		if n := times[anchor]; n > 0 {
			anchors = append(anchors, fmt.Sprintf("%s-%d", anchor, n))
		} else {
			anchors = append(anchors, anchor)
		}
		times[anchor]++
	}
	return anchors, err
}

// linksOf returns what a document links to, as it is written there.
func linksOf(fsys fs.FS, file string) (links []string, err error) {
	text, err := prose(fsys, file)
	text = codeSpan.ReplaceAllString(text, "")
	for _, kind := range []*regexp.Regexp{inlineLink, namedLink, autoLink} {
		for _, link := range kind.FindAllStringSubmatch(text, -1) {
			links = append(links, link[1])
		}
	}
	return links, err
}

// checkLink says what is wrong with a link of a document. What is elsewhere is not asked for.
func checkLink(fsys fs.FS, file, link string) error {
	to, err := url.Parse(link)
	if err != nil {
		return err
	}
	switch {
	case strings.ContainsAny(link, " \t\n"):
		return fmt.Errorf("white space in a link")
	case to.Scheme == "mailto" && strings.Contains(to.Opaque, "@"):
		return nil
	case to.Scheme == "https" && to.Host != "", to.Scheme == "http" && to.Hostname() == "localhost":
		return nil
	case to.Scheme != "" || to.Host != "" || strings.HasPrefix(to.Path, "/"):
		return fmt.Errorf("neither https nor relative")
	case link == "":
		return fmt.Errorf("a link to nothing")
	}
	return checkFile(fsys, file, to)
}

// checkFile says whether a relative link leads to a file or a directory, and to one of its headings.
func checkFile(fsys fs.FS, file string, to *url.URL) error {
	target := file
	if to.Path != "" {
		target = path.Join(path.Dir(file), to.Path) // one that leads out of the repository is not valid to fs.Stat
	}
	if _, err := fs.Stat(fsys, target); err != nil || to.Fragment == "" {
		return err
	}
	anchors, err := anchorsOf(fsys, target)
	if err == nil && !slices.Contains(anchors, to.Fragment) {
		return fmt.Errorf("no #%s among %q", to.Fragment, anchors)
	}
	return err
}

// brokenLinks returns what is wrong with the links of all documents.
func brokenLinks(fsys fs.FS) (broken []string, err error) {
	files, err := documents(fsys)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		links, err := linksOf(fsys, file)
		if err != nil {
			return nil, err
		}
		for _, link := range links {
			if err := checkLink(fsys, file, link); err != nil {
				broken = append(broken, fmt.Sprintf("%s links to %s: %v", file, link, err))
			}
		}
	}
	return broken, nil
}

func TestLinksInTheDocumentsLeadSomewhere(t *testing.T) {
	broken, err := brokenLinks(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

func TestABrokenLinkIsFound(t *testing.T) {
	const target = "# One `x`: two\n```sh\n# no heading\n```\n## Same\n## Same\n"
	for link, good := range map[string]bool{
		"[a](b.md)": true, "[a](d/b.md#same)": true, "[a](b.md#one-x-two)": true, "[a\nb](b.md#same-1)": true, "[`a`](#here)": true,
		"[a](d)": true, "[a](https://example.com/x#y)": true, "<mailto:a@example.com>": true, "<http://localhost:8088>": true,
		"`[a](none.md)`": true, "```\n[a](none.md)\n```": true, "[a][b]\n\n[b]: b.md": true, "[a](node_modules/x.md)": true,

		"[a](none.md)": false, "[a\nb](b.md#no-heading)": false, "[a](b.md#same-2)": false, "[a](#there)": false, "[a](B.md)": false,
		"[a](../b.md)": false, "[a](/b.md)": false, "[a](http://example.com)": false, "[a](https://)": false, "[a](https:/x)": false,
		"[a](ftp://example.com)": false, "[a](%zz)": false, "[a]()": false, "[a](b c.md)": false, "[a][b]\n\n[b]: none.md": false,
		"<mailto:nobody>": false, "[![a](none.png)](b.md)": false,
	} {
		fsys := fstest.MapFS{
			"page.md": {Data: []byte("# Here\n" + link + "\n")}, "b.md": {Data: []byte(target)}, "d/b.md": {Data: []byte(target)},
			"node_modules/x.md": {Data: []byte("[a](none.md)")}, ".hidden/x.md": {Data: []byte("[a](none.md)")},
		}
		broken, err := brokenLinks(fsys)
		if err != nil || (len(broken) == 0) != good {
			t.Errorf("of %q: %q, %v; good: %t", link, broken, err, good)
		}
	}
}
