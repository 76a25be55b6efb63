package redissse

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
	"go.uber.org/zap"
)

// referenceRange is what a cell "<least> to <most>" means: in nanoseconds, bytes of a size, a count, or the length of a text.
type referenceRange struct {
	least, most int64
	write       func(int64) string // as a Caddyfile has it
}

func writeLength(n int64) string { return `"` + strings.Repeat("x", int(n)) + `"` }

var rangeCell = regexp.MustCompile(`^(.+) to (under )?(.+?)( bytes(?: each)?)?$`)

// limitsRange reads the limits of an option. Not ok: the cell is no range.
func limitsRange(t *testing.T, options []*referenceOption, o *referenceOption) (r referenceRange, ok bool) {
	t.Helper()
	cell := strings.NewReplacer(" and more", " to 106751d", "above 0", "1ns to 106751d").Replace(o.limits)
	m := rangeCell.FindStringSubmatch(cell)
	if m == nil {
		return r, false
	}
	read := func(s string) int64 { return readDuration(t, options, o, s) }
	r.write = func(n int64) string { return strconv.FormatInt(n, 10) + "ns" }
	last := o.args[len(o.args)-1]
	switch {
	case m[4] != "":
		read, r.write = func(s string) int64 { return readCount(t, s) }, writeLength
	case last == "<n>":
		read, r.write = func(s string) int64 { return readCount(t, s) }, func(n int64) string { return strconv.FormatInt(n, 10) }
	case last == "<size>":
		read, r.write = func(s string) int64 {
			n, err := humanize.ParseBytes(s)
			if err != nil {
				t.Fatalf("%s: %v", o, err)
			}
			return int64(n)
		}, func(n int64) string { return strconv.FormatInt(n, 10) }
	}
	r.least, r.most = read(m[1]), read(m[3])
	if m[2] != "" {
		r.most--
	}
	return r, true
}

// readDuration reads a duration, or the default of another option of the same scope, or twice that.
func readDuration(t *testing.T, options []*referenceOption, o *referenceOption, s string) int64 {
	t.Helper()
	factor := int64(1)
	if rest, ok := strings.CutPrefix(s, "twice "); ok {
		factor, s = 2, rest
	}
	if names := code(s); len(names) == 1 {
		i := slices.IndexFunc(options, func(other *referenceOption) bool { return other.scope == o.scope && other.name == names[0] })
		if i < 0 {
			t.Fatalf("%s: limits with unknown option %s", o, s)
		}
		s = options[i].standard
	}
	d, err := caddy.ParseDuration(s)
	if err != nil {
		t.Fatalf("%s: %v", o, err)
	}
	return factor * int64(d)
}

func readCount(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.ReplaceAll(s, ",", ""), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// line is the option with this value for its last argument. Those before have their defaults.
func (o *referenceOption) line(options []*referenceOption, value string) string {
	words := []string{o.name}
	for i, arg := range o.args {
		if i == len(o.args)-1 {
			arg = value
		}
		if o.name == "quiet" && i < len(o.args)-1 {
			arg = "2m"
		}
		if arg == "<key>" {
			arg = map[string]string{"max_streams_per": "{client_ip}", "presence": "listening:{channel}"}[o.name]
		}
		for _, other := range options {
			if i < len(o.args)-1 && strings.HasPrefix(arg, "<") && other.name == o.name && len(other.args) == i+1 {
				arg = other.standard
			}
		}
		words = append(words, arg)
	}
	if o.name == "quiet" {
		words = append([]string{"end data x\n"}, words...)
	}
	return strings.Join(words, " ")
}

// sample is the option with some value that is not the default.
func (o *referenceOption) sample(t *testing.T, options []*referenceOption) string {
	t.Helper()
	if r, ok := limitsRange(t, options, o); ok {
		return o.line(options, r.write(max(r.least, 1)))
	}
	if len(o.args) == 0 {
		return o.name
	}
	switch last := o.args[len(o.args)-1]; last {
	case "<url>":
		return o.line(options, "unix:///run/redis.sock")
	case "<name>", "<name>...":
		return o.line(options, "other")
	case "<mode>":
		return o.line(options, "strict")
	case "<way>":
		return o.line(options, "on")
	case "<what>":
		return o.line(options, "start")
	case "<how>":
		return o.line(options, "channel")
	case "<data>":
		return o.line(options, "field x")
	case "<text>":
		return o.line(options, "over")
	case "<answer>":
		return "from start\n" + o.line(options, "204")
	case "<kind>":
		return "gap_data x\n" + o.line(options, "comments")
	case "<template>":
		return "control comments\n" + o.line(options, "x")
	case "<match>":
		return "from start\n" + o.line(options, "data x")
	case "<path>...":
		return o.line(options, "x")
	case "}":
		return map[string]string{"buffer": "buffer {\nmessages 1\n}", "publisher": "publisher {\nattempts 1\n}"}[o.name]
	case "<origin>...":
		return o.line(options, "https://other.example")
	default:
		t.Fatalf("%s: no value is known for %s", o, last)
		return ""
	}
}

func TestEachOptionSetsTheFieldThatTheReferenceSays(t *testing.T) {
	options := referenceOptions(t)
	without, err := adaptOption(t, "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		line := o.sample(t, options)
		with, err := adaptOption(t, o.scope, line)
		if err != nil {
			t.Errorf("%s: %q does not adapt: %v", o, line, err)
			continue
		}
		if is := with.field(o.scope, o.json); is == nil || reflect.DeepEqual(is, without.field(o.scope, o.json)) {
			t.Errorf("%s: %q makes the field %s %v", o, line, o.json, is)
		}
	}
}

func TestListsThatAreGivenTwiceAdd(t *testing.T) {
	for _, o := range referenceOptions(t) {
		if len(o.args) == 0 || !strings.HasSuffix(o.args[len(o.args)-1], "...") {
			continue
		}
		a, b, c := "a", "b", "c"
		if o.args[0] == "<origin>..." {
			a, b, c = "https://a", "https://b", "https://c"
		}
		with, err := adaptOption(t, o.scope, fmt.Sprintf("%s %s %s\n%[1]s %[4]s", o.name, a, b, c))
		if err != nil {
			t.Errorf("%s: %v", o, err)
		} else if is := with.field(o.scope, o.json); !reflect.DeepEqual(is, []any{a, b, c}) {
			t.Errorf("%s: given twice, the field %s is %v", o, o.json, is)
		}
	}
}

// unlimited are the fields in which a handler keeps what its options without a default are resolved to.
var unlimited = map[string]string{"max_stream_age": "maxAge"}

func TestTheDefaultsOfTheReferenceAreThoseOfTheCode(t *testing.T) {
	options := referenceOptions(t)
	without, err := adaptOption(t, "", "")
	if err != nil {
		t.Fatal(err)
	}
	resolved := without.resolved(t)
	for _, o := range options {
		switch {
		case o.name == "hub":
			continue // what resolves it is the app: below
		case o.name == "channel":
			err, want := new(Handler).resolve(), errNoChannel
			if o.scope == publishScope {
				err, want = new(PublishHandler).resolve(), errNoPublishChannel
			}
			if err != want || o.standard != "" {
				t.Errorf("%s: none at all: %v", o, err)
			}
			continue
		case o.standard == "":
			if is := without.field(o.scope, o.json); is != nil {
				t.Errorf("%s: the default is %v", o, is)
			}
			if field, ok := unlimited[o.name]; ok && !reflect.ValueOf(without.handler).Elem().FieldByName(field).IsZero() {
				t.Errorf("%s: the default is none, but %s is set", o, field)
			}
			continue
		}
		with, err := adaptOption(t, o.scope, o.line(options, o.standard))
		if err != nil {
			t.Errorf("%s: the default %s does not adapt: %v", o, o.standard, err)
			continue
		}
		if is := with.resolved(t); is != resolved {
			t.Errorf("%s: %s is not the default:\n%s\nwithout it:\n%s", o, o.standard, is, resolved)
		}
		other, err := adaptOption(t, o.scope, o.sample(t, options))
		if err != nil {
			t.Errorf("%s: %v", o, err)
		} else if other.resolved(t) == resolved {
			t.Errorf("%s: %q makes no difference", o, o.sample(t, options))
		}
	}
}

func TestTheDefaultHubOfTheReferenceIsThatOfTheCode(t *testing.T) {
	for _, o := range referenceOptions(t) {
		if o.name != "hub" {
			continue
		}
		app := &App{log: zap.NewNop(), claims: map[hubKey]*claim{}}
		t.Cleanup(func() {
			if err := app.Cleanup(); err != nil {
				t.Error(err)
			}
		})
		unnamed, err := app.acquire("", "")
		if err != nil {
			t.Fatal(err)
		}
		defer unnamed.release()
		named, err := app.acquire(o.standard, "")
		if err != nil {
			t.Fatal(err)
		}
		defer named.release()
		if unnamed.hub != named.hub {
			t.Errorf("%s is not the default hub", o.standard)
		}
	}
}

// judgeLimits tries an option at its limits and just outside of them.
func judgeLimits(t *testing.T, o *referenceOption, r referenceRange, try func(value string) error) {
	t.Helper()
	for _, n := range []int64{r.least, r.most} {
		if err := try(r.write(n)); err != nil {
			t.Errorf("%s: %.40s is within %s and does not adapt: %v", o, r.write(n), o.limits, err)
		}
	}
	outside := []int64{r.least - 1, r.most + 1}
	if o.limits == "0 and more" || o.limits == "above 0" {
		outside = outside[:1]
	}
	for _, n := range outside {
		if try(r.write(n)) == nil {
			t.Errorf("%s: %.40s is not within %s and adapts", o, r.write(n), o.limits)
		}
	}
}

func TestTheLimitsOfTheReferenceAreThoseOfTheCode(t *testing.T) {
	options := referenceOptions(t)
	ranges := slices.Clone(options)
	for _, row := range referenceRows(t, "### `from`", "`from`") {
		words := strings.Fields("from " + strings.Trim(row["`from`"], "`"))
		ranges = append(ranges, &referenceOption{scope: handlerScope, name: "from", args: words[1:], limits: row["limits"], isValue: true})
	}
	for _, row := range referenceRows(t, "### `event`", "`event`") {
		words := strings.Fields("event " + strings.Trim(row["`event`"], "`"))
		ranges = append(ranges, &referenceOption{scope: handlerScope, name: "event", args: words[1:], isValue: true})
	}
	for _, o := range ranges {
		try := func(value string) error {
			line := o.line(options, value)
			if value == "unfinished" {
				line = "end data x\n" + line
			}
			_, err := adaptOption(t, o.scope, line)
			return err
		}
		r, ok := limitsRange(t, options, o)
		switch schemes := code(o.limits); {
		case ok:
			judgeLimits(t, o, r, try)
		case len(schemes) > 0:
			for _, scheme := range schemes {
				if err := try(scheme + map[bool]string{true: "/run/redis.sock", false: "127.0.0.1:1"}[scheme == "unix://"]); err != nil {
					t.Errorf("%s: %s: %v", o, scheme, err)
				}
			}
			if try("http://127.0.0.1:1") == nil {
				t.Errorf("%s: another scheme adapts", o)
			}
		case o.isValue:
			if err := try(o.args[len(o.args)-1]); err != nil {
				t.Errorf("%s: %v", o, err)
			}
		case o.limits == "" || strings.HasPrefix(o.limits, "see [") || o.limits == "as in the global option":
		default:
			t.Errorf("%s: limits that no test can read: %q", o, o.limits)
		}
	}
}

func TestTheQueriesOfTheReferenceAreThoseOfTheCode(t *testing.T) {
	h := reqHandler(t, &Handler{ClientFrom: true, End: []Match{{Data: []string{"x"}}}}, "news")
	try := func(query string) error {
		_, err := startOf(h, httptest.NewRequest("GET", "/?"+query, nil))
		return err
	}
	for _, row := range referenceRows(t, "### Query", "query") {
		o := &referenceOption{name: strings.TrimPrefix(strings.Trim(row["query"], "`"), "?"), limits: row["limits"]}
		key, value, _ := strings.Cut(o.name, "=")
		o.args = []string{value}
		examples := code(o.limits)
		if r, ok := limitsRange(t, nil, o); ok {
			judgeLimits(t, o, r, func(value string) error { return try(key + "=" + value) })
			continue
		}
		if len(examples) == 0 {
			examples = []string{value}
		}
		for _, example := range examples {
			if err := try(key + "=" + url.QueryEscape(example)); err != nil {
				t.Errorf("?%s=%s: %v", key, example, err)
			}
		}
		if try(key+"=never") == nil {
			t.Errorf("?%s=never is taken", key)
		}
	}
}

func TestTheReferenceHasTheFieldsAndReasonsOfGaps(t *testing.T) {
	var fields, reasons, tags []string
	for _, row := range referenceRows(t, "## Events", "field") {
		name := strings.Trim(row["field"], "`")
		fields = append(fields, name)
		if name == "reason" {
			reasons = code(row[""])
		}
	}
	var constants []string
	files, err := filepath.Glob("internal/hub/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch spec := n.(type) {
			case *ast.TypeSpec:
				if st, ok := spec.Type.(*ast.StructType); ok && spec.Name.Name == "gap" {
					for _, field := range st.Fields.List {
						name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json"), ",")
						tags = append(tags, name)
					}
				}
			case *ast.ValueSpec:
				if fmt.Sprint(spec.Type) == "GapReason" {
					reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
					if err != nil {
						t.Fatal(err)
					}
					constants = append(constants, reason)
				}
			}
			return true
		})
	}
	sameWords(t, "field", fields, tags)
	sameWords(t, "reason", reasons, constants)
}

func TestTheOptionsOfTheReadmeAreInTheReference(t *testing.T) {
	var known []string
	for _, o := range referenceOptions(t) {
		known = append(known, o.name)
	}
	for _, line := range markdownSection(t, "README.md", "## Options") {
		if item, ok := strings.CutPrefix(line, "- "); ok && !slices.Contains(known, strings.Fields(code(item)[0])[0]) {
			t.Errorf("no such option: %s", line)
		}
	}
}
