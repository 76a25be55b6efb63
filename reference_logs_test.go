package redissse

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logged is a line that the code logs.
type logged struct {
	at     token.Position
	level  string
	text   string // or its beginning
	fields []string
}

// matches reports whether a documented line, which may end in dots, is this one.
func (l *logged) matches(line string) bool {
	beginning, more := strings.CutSuffix(line, " ...")
	return l.text == line || more && strings.HasPrefix(l.text, beginning)
}

// loggedLines are the lines that the root's files log with a text of their own.
func loggedLines(t *testing.T) (lines []*logged) {
	t.Helper()
	inspectRoot(t, func(positions *token.FileSet, n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok {
			if line := loggedBy(call); line != nil {
				line.at = positions.Position(call.Pos())
				lines = append(lines, line)
			}
		}
	})
	return lines
}

// inspectRoot calls with for each node of the root's files that are no tests.
func inspectRoot(t *testing.T, with func(*token.FileSet, ast.Node)) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		positions := token.NewFileSet()
		file, err := parser.ParseFile(positions, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			with(positions, n)
			return true
		})
	}
}

// loggedBy returns what a call logs: log.Warn("..."), of.changed(zap.WarnLevel, "...") or seldom.warn(log, "..."); nil if it logs nothing.
func loggedBy(call *ast.CallExpr) *logged {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	l := &logged{level: strings.ToLower(method.Sel.Name)}
	args := call.Args
	switch method.Sel.Name {
	case "Debug", "Info", "Warn", "Error":
	case "changed":
		l.level = strings.ToLower(strings.TrimSuffix(args[0].(*ast.SelectorExpr).Sel.Name, "Level"))
		args = args[1:]
	case "warn":
		args = args[1:]
	default:
		return nil
	}
	if len(args) == 0 {
		return nil
	}
	if l.text = literalOf(args[0]); l.text == "" {
		return nil
	}
	for _, arg := range args[1:] {
		ast.Inspect(arg, func(n ast.Node) bool {
			if field, ok := n.(*ast.CallExpr); ok && len(field.Args) == 2 {
				l.fields = append(l.fields, literalOf(field.Args[0]))
			}
			return true
		})
	}
	return l
}

// literalOf returns the text that an expression begins with.
func literalOf(e ast.Expr) string {
	for {
		sum, ok := e.(*ast.BinaryExpr)
		if !ok {
			break
		}
		e = sum.X
	}
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	text, _ := strconv.Unquote(lit.Value)
	return text
}

func TestTheReferenceHasEachLineOfTheLog(t *testing.T) {
	rows := referenceRows(t, "## Logs", "line")
	lines := loggedLines(t)
	if len(lines) < 20 {
		t.Fatalf("of the lines are seen only %d", len(lines))
	}
	for _, l := range lines {
		at := slices.IndexFunc(rows, func(row referenceRow) bool { return l.matches(strings.Trim(row["line"], "`")) })
		if at < 0 {
			t.Errorf("%s: %q is not in the reference", l.at, l.text)
			continue
		}
		if !strings.Contains(rows[at]["level"], l.level) {
			t.Errorf("%s: %q is logged as %s", l.at, l.text, l.level)
		}
		for _, field := range l.fields {
			if field != "" && !slices.Contains(code(rows[at]["fields"]), field) {
				t.Errorf("%s: %q has no field %s in the reference", l.at, l.text, field)
			}
		}
	}
	for _, row := range rows {
		if line := strings.Trim(row["line"], "`"); !slices.ContainsFunc(lines, func(l *logged) bool { return l.matches(line) }) {
			t.Errorf("nothing logs %q", line)
		}
	}
}

// TestTheReferenceHasTheNumbersOfTheLog: how many, and how often.
func TestTheReferenceHasTheNumbersOfTheLog(t *testing.T) {
	text := strings.Join(strings.Fields(strings.Join(markdownSection(t, referenceFile, "## Logs"), " ")), " ")
	for _, said := range []string{
		"every " + strconv.Itoa(int(remindEvery.Minutes())) + " minutes", strconv.Itoa(maxCauses) + " at most",
		strconv.Itoa(maxEvents) + " of a hub wait", "in " + strconv.Itoa(int(deniedLogEvery.Seconds())) + " s",
	} {
		if !strings.Contains(text, said) {
			t.Errorf("it does not say %q", said)
		}
	}
}

// The names and data of events are what the code emits, by its literals.
func TestTheReferenceHasCaddysEvents(t *testing.T) {
	var documented []string
	for _, row := range referenceRows(t, "### Caddy's events", "event") {
		name := code(row["event"])[0]
		documented = append(documented, name)
		emitted := emittedData(t)[name]
		for _, key := range append(emitted, "hub", "redis") {
			if !slices.Contains(code(row["data"]), key) {
				t.Errorf("%s has no %s in the reference", name, key)
			}
		}
		if len(emitted) == 0 {
			t.Errorf("nothing emits %s", name)
		}
	}
	sameWords(t, "event", documented, []string{eventHubLost, eventHubRecovered, eventBreakerOpened, eventBreakerClosed})
}

// emittedData are the keys of each event's data: those that stand in the function that emits it.
func emittedData(t *testing.T) map[string][]string {
	t.Helper()
	names := map[string]string{
		"eventHubLost": eventHubLost, "eventHubRecovered": eventHubRecovered, "eventBreakerOpened": eventBreakerOpened, "eventBreakerClosed": eventBreakerClosed,
	}
	key := regexp.MustCompile(`"([a-z_]+)"(?:: |\] ?=|\], )`)
	keys := map[string][]string{}
	for _, name := range []string{"outage.go", "breaker.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for function := range strings.SplitSeq(string(text), "\nfunc ") {
			for constant, event := range names {
				if !strings.Contains(function, "emit("+constant) {
					continue
				}
				for _, found := range key.FindAllStringSubmatch(function, -1) {
					keys[event] = append(keys[event], found[1])
				}
			}
		}
	}
	return keys
}

// literalsOf are the texts of a file.
func literalsOf(t *testing.T, name string) (texts []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			texts = append(texts, literalOf(lit))
		}
		return true
	})
	return texts
}
