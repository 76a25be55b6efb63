package redissse

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayImport says what a package of the house may import beside the standard library.
var mayImport = map[string][]string{
	"internal/glob":        nil,
	"internal/jsonpath":    {"github.com/tidwall/gjson"},
	"internal/resp":        nil,
	"internal/outlet":      {"golang.org/x/sys/unix"},
	"internal/hub":         {"github.com/cespare/xxhash/v2", module + "/internal/glob", module + "/internal/jsonpath"},
	"internal/hub/hubtest": {module + "/internal/glob"},
}

const module = "github.com/redis-sse/caddy-redis-sse"

// notForTheHub are packages of the standard library that what a hub remembers has no business with.
var notForTheHub = []string{"net", "net/http", "os", "log", "log/slog"}

func TestInnerPackagesImportNothingButWhatTheyMay(t *testing.T) {
	for dir, allowed := range mayImport {
		found, err := build.ImportDir(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range found.Imports {
			first, _, _ := strings.Cut(imported, "/")
			standard := !strings.Contains(first, ".")
			if !standard && !slices.Contains(allowed, imported) || dir == "internal/hub" && slices.Contains(notForTheHub, imported) {
				t.Errorf("%s imports %s", dir, imported)
			}
		}
	}
}

// mostInACycle is how many files of the root may use each other in a circle: the subscriber, one connection's life, and whether
// that connection is any good, belong together.
const mostInACycle = 4

func TestCallsBetweenFilesGoOneWay(t *testing.T) {
	edges := uses(t)
	if !slices.Contains(edges["opening.go"], "delivery.go") || !slices.Contains(edges["generation.go"], "subscriber.go") {
		t.Fatalf("of the calls are seen only %v", edges)
	}
	for _, cycle := range cycles(edges) {
		t.Log(cycle)
		if len(cycle) > mostInACycle {
			t.Errorf("%d files use each other in a circle, at most %d may: %v", len(cycle), mostInACycle, cycle)
		}
	}
}

// TestCyclesAreSeen is the negative control of the test above.
func TestCyclesAreSeen(t *testing.T) {
	got := cycles(map[string][]string{"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"d"}, "f": {"a"}})
	for _, c := range got {
		slices.Sort(c)
	}
	slices.SortFunc(got, slices.Compare)
	if want := [][]string{{"a", "b", "c"}, {"d", "e"}, {"f"}}; !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// uses are the files of the root, each with those that define what it uses.
func uses(t *testing.T) map[string][]string {
	t.Helper()
	found, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	positions := token.NewFileSet()
	var files []*ast.File
	for _, name := range found.GoFiles {
		file, err := parser.ParseFile(positions, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	// What other packages have is not of interest. Without it there are errors, which are no reason to stop.
	config := types.Config{Importer: nothing{}, Error: func(error) {}}
	pkg, _ := config.Check(module, positions, files, info)
	edges := map[string][]string{}
	for _, name := range found.GoFiles {
		edges[name] = nil
	}
	of := func(pos token.Pos) string { return filepath.Base(positions.Position(pos).Filename) }
	for id, object := range info.Uses {
		if object.Pkg() != pkg {
			continue
		}
		if from, to := of(id.Pos()), of(object.Pos()); from != to && !slices.Contains(edges[from], to) {
			edges[from] = append(edges[from], to)
		}
	}
	return edges
}

// nothing imports packages that have nothing.
type nothing struct{}

func (nothing) Import(importPath string) (*types.Package, error) {
	pkg := types.NewPackage(importPath, path.Base(importPath))
	pkg.MarkComplete()
	return pkg, nil
}

// cycles are the strongly connected components of a graph (Tarjan's algorithm).
func cycles(edges map[string][]string) (all [][]string) {
	index, low, onStack := map[string]int{}, map[string]int{}, map[string]bool{}
	var stack []string
	var visit func(string)
	visit = func(name string) {
		index[name] = len(index) + 1
		low[name] = index[name]
		stack, onStack[name] = append(stack, name), true
		for _, next := range edges[name] {
			if index[next] == 0 {
				visit(next)
				low[name] = min(low[name], low[next])
			} else if onStack[next] {
				low[name] = min(low[name], index[next])
			}
		}
		if low[name] != index[name] {
			return
		}
		from := slices.Index(stack, name)
		for _, member := range stack[from:] {
			onStack[member] = false
		}
		all = append(all, slices.Clone(stack[from:]))
		stack = stack[:from]
	}
	for name := range edges {
		if index[name] == 0 {
			visit(name)
		}
	}
	return all
}
