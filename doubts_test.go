package redissse

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// Each file is a mistake as somebody types it, and all that Caddy then says: an error, or what is logged at
// WARN where a configuration may be meant so. The form and how to write them anew: see adaptFiles.
const mistakeFiles = "testdata/mistakes/*.caddyfiletest"

func TestMistakes(t *testing.T) {
	goldenFiles(t, mistakeFiles, func(t *testing.T, file, input, want string) {
		got := complaint(t, input)
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(file, []byte(input+adaptSeparator+got+"\n"), 0o666); err != nil {
				t.Fatal(err)
			}
			return
		}
		if got == "" || got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
		}
	})
}

// complaint is what "caddy validate" says about a Caddyfile.
func complaint(t *testing.T, input string) string {
	t.Helper()
	config, err := adapt(input)
	if err != nil {
		return err.Error()
	}
	loaded := adaptLoad(t, config)
	loaded.Logging = new(caddy.Logging)
	const logging = `{"logs":{"default":{"level":"WARN","writer":{"output":"gateway_test"}}}}`
	if err := caddy.StrictUnmarshalJSON([]byte(logging), loaded.Logging); err != nil {
		t.Fatal(err)
	}
	gatewayLogs.reset()
	if err := caddy.Validate(loaded); err != nil {
		text := err.Error()
		return text[max(0, strings.LastIndex(text, "provision ")):] // by which way Caddy came to the module differs from run to run
	}
	return strings.TrimSpace(logTime.ReplaceAllString(gatewayLogs.text(), ""))
}

var logTime = regexp.MustCompile(`"ts":[0-9.e+]+,`)

// A line may be the rest of a secret, and a URL may hold one wherever it stands.
func TestComplaintsKeepSecrets(t *testing.T) {
	for _, input := range []string{
		"{\nredis_sse redis://:hunter2@localhost\n}",
		"{\nredis_sse redis://:hunter2@localhost {\nlinger 1m\n}\n}",
		"{\nredis_sse :hunter2@localhost:6379\n}",
		"{\nredis_sse main redis://:hunter2@localhost\n}",
		"{\nredis_sse {\nredis redis://:hunter2 @localhost\n}\n}",
		"{\nredis_sse {\nredis redis://:x\nhunter2@localhost\n}\n}",
		"{\nredis_sse {\nredis redis://:x\nbuffer:hunter2@localhost\n}\n}",
		":80 {\nredis_sse /e redis://:hunter2@localhost\n}",
		":80 {\nredis_sse /e news redis://:hunter2@localhost\n}",
		":80 {\nredis_sse /e news {\nhub redis://:hunter2@localhost\n}\n}",
		":80 {\nredis_sse /e news {\nhub main :hunter2@localhost\n}\n}",
		":80 {\nredis_sse /e news {\npattern rediss://:hunter2@localhost\n}\n}",
		":80 {\nredis_sse /e news {\nchannel unix://:hunter2@/run/redis.sock\n}\n}",
		":80 {\nredis_sse_publish /p redis://:hunter2@localhost\n}",
		":80 {\nredis_sse_publish /p news {\nredis redis://localhost hunter2\n}\n}",
	} {
		if got := complaint(t, input); got == "" || strings.Contains(got, "hunter2") {
			t.Errorf("%q: %s", input, got)
		}
	}
}

// inBlock is a Caddyfile with a line in a block.
func inBlock(b block, line string) string {
	switch b.place {
	case new(Hub).block().place:
		return "{\nredis_sse {\n" + line + "\n}\n}\n"
	case new(Buffer).block().place:
		return "{\nredis_sse {\nbuffer {\n" + line + "\n}\n}\n}\n"
	case new(Publisher).block().place:
		return "{\nredis_sse {\npublisher {\n" + line + "\n}\n}\n}\n"
	case new(Handler).block().place:
		return ":80 {\nredis_sse /e news {\n" + line + "\n}\n}\n"
	case new(HealthHandler).block().place:
		return ":80 {\nredis_sse_health /h {\n" + line + "\n}\n}\n"
	}
	return ":80 {\nredis_sse_publish /p {\nchannel news\n" + line + "\n}\n}\n"
}

// What errors propose is a configuration.
func TestTheExamplesOfUsagesAdapt(t *testing.T) {
	for _, b := range allBlocks() {
		for _, o := range b.options {
			line := o.String()
			if o.inner != nil {
				line += "\n}"
			}
			line += map[string]string{
				"begin": "\nfrom start", "empty": "\nfrom start", "control": "\ngap_data none", "gap_data": "\ncontrol comments", "quiet": "\nend data x",
			}[o.name]
			if o.name == "channel" && b.place == new(PublishHandler).block().place {
				continue // of which there is one: inBlock has it
			}
			if _, err := adapt(inBlock(b, line)); err != nil {
				t.Errorf("%s: %q: %v", b.place, line, err)
			}
		}
	}
}

func TestALineWithoutItsArgumentsTellsTheUsage(t *testing.T) {
	for _, b := range allBlocks() {
		for _, o := range b.options {
			_, err := adapt(inBlock(b, o.name))
			switch {
			case o.inner != nil || o.args == "":
				if err != nil {
					t.Errorf("%s: %q: %v", b.place, o.name, err)
				}
				_, err = adapt(inBlock(b, o.name+" x"))
				if err == nil || !strings.Contains(err.Error(), o.name+" takes no argument") {
					t.Errorf("%s: %q with an argument: %v", b.place, o.name, err)
				}
			case o.name == "redis":
				if err == nil || !strings.Contains(err.Error(), "redis wants a URL") || !strings.Contains(err.Error(), "{env.NAME}") {
					t.Errorf("%s: %q: %v", b.place, o.name, err)
				}
			case err == nil || !strings.Contains(err.Error(), o.name+" wants "+o.args+", as in") || !strings.Contains(err.Error(), hintUnset):
				t.Errorf("%s: %q: %v", b.place, o.name, err)
			}
		}
	}
}

func TestAnOptionInTheWrongBlockIsToldWhereItBelongs(t *testing.T) {
	for _, b := range allBlocks() {
		for _, home := range allBlocks() {
			for _, o := range home.options {
				if b.find(o.name) != nil {
					continue
				}
				_, err := adapt(inBlock(b, o.String()))
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q: it belongs in ", o.name)) || !strings.Contains(err.Error(), home.place) {
					t.Errorf("%q in %s: %v", o.name, b.place, err)
				}
			}
		}
	}
}

// One letter left out, put in or replaced: none of that makes another option of the block.
func TestAMisspelledOptionIsToldTheRightOne(t *testing.T) {
	for _, b := range allBlocks() {
		for _, o := range b.options {
			if len(o.name) < 5 {
				continue // too little is left to tell by
			}
			half := len(o.name) / 2
			for _, word := range []string{o.name[:half] + o.name[half+1:], o.name[:half] + "x" + o.name[half:], o.name[:half] + "z" + o.name[half+1:], o.name + "s"} {
				if slices.Contains(b.names(), word) {
					continue // max_streams
				}
				if near := nearest(word, b.names()); near != o.name {
					t.Errorf("%q of %s is taken for %q, not %q", word, b.place, near, o.name)
				}
			}
		}
	}
	for _, far := range []string{"foo", "ab", "reverse_proxy", "handle", "email"} {
		for _, b := range allBlocks() {
			if near := nearest(far, b.names()); near != "" {
				t.Errorf("%q is taken for %q", far, near)
			}
		}
	}
}

// writeGrammar is a block as the documentation has it.
func writeGrammar(head, indent string, b block) string {
	width := 0
	for _, name := range b.names() {
		width = max(width, len(name))
	}
	lines := []string{indent + head + " {"}
	for _, o := range b.options {
		if o.inner != nil {
			lines = append(lines, writeGrammar(o.name, indent+"    ", *o.inner))
		} else {
			lines = append(lines, strings.TrimRight(fmt.Sprintf("%s    %-*s %s", indent, width, o.name, o.args), " "))
		}
	}
	return strings.Join(append(lines, indent+"}"), "\n")
}

// docOf returns the comment of a type, which Caddy's site shows as the module's documentation.
func docOf(t *testing.T, file, name string) string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, declared := range parsed.Decls {
		if g, ok := declared.(*ast.GenDecl); ok && g.Tok == token.TYPE && g.Specs[0].(*ast.TypeSpec).Name.Name == name {
			return g.Doc.Text()
		}
	}
	t.Fatalf("%s has no type %s", file, name)
	return ""
}

// codeBlocks returns the indented blocks of a comment, without the indentation.
func codeBlocks(doc string) (blocks []string) {
	in := false
	for line := range strings.Lines(doc) {
		code, ok := strings.CutPrefix(line, "\t")
		switch {
		case ok && in:
			blocks[len(blocks)-1] += code
		case ok:
			blocks = append(blocks, code)
		}
		in = ok || in && line == "\n"
		if in && !ok {
			blocks[len(blocks)-1] += line
		}
	}
	for i := range blocks {
		blocks[i] = strings.TrimSpace(blocks[i])
	}
	return blocks
}

func TestTheModuleDocumentationHasTheGrammarAndAnExample(t *testing.T) {
	for _, c := range []struct {
		file, name, head string
		block            block
	}{
		{"module.go", "App", "redis_sse [<name>]", new(Hub).block()},
		{"handler.go", "Handler", "redis_sse [<matcher>] [<channel>...]", new(Handler).block()},
		{"publish.go", "PublishHandler", "redis_sse_publish [<matcher>] [<channel>]", new(PublishHandler).block()},
		{"healthcheck.go", "HealthHandler", "redis_sse_health [<matcher>] [<hub>...]", new(HealthHandler).block()},
	} {
		blocks := codeBlocks(docOf(t, c.file, c.name))
		if len(blocks) != 2 {
			t.Errorf("%s has %d blocks, want the grammar and an example", c.name, len(blocks))
			continue
		}
		if want := writeGrammar(c.head, "", c.block); blocks[0] != want {
			t.Errorf("the grammar of %s is\n%s\nwant\n%s", c.name, blocks[0], want)
		}
		config, err := adapt(blocks[1])
		if err != nil {
			t.Errorf("the example of %s: %v", c.name, err)
			continue
		}
		t.Setenv("REDIS_URL", adaptDead)
		adaptValidate(t, config)
	}
}

// forms are the ways in which an option may be written: with and without what is in [ ], one of what is
// between |.
func forms(args string) (all []string) {
	for form := range strings.SplitSeq(args, " | ") {
		if required, optional, ok := strings.Cut(form, " ["); ok {
			all = append(all, required, required+" "+strings.TrimSuffix(optional, "]"))
		} else {
			all = append(all, form)
		}
	}
	return all
}

func TestTheReferenceHasTheUsagesOfTheGrammar(t *testing.T) {
	scopes := allBlocks()
	short := strings.NewReplacer("<d>", "<duration>", "<n>", "<count>")
	for i, scope := range []string{hubScope, bufferScope, publisherScope, handlerScope, publishScope, healthScope} {
		for _, o := range referenceOptions(t) {
			if o.scope != scope {
				continue
			}
			is := scopes[i].find(o.name)
			usage := short.Replace(strings.Join(o.args, " "))
			switch {
			case is == nil:
				t.Errorf("%s is no option of %s", o, scopes[i].place)
			case is.inner != nil:
				if usage != "{ ... }" {
					t.Errorf("%s: want %q", o, "{ ... }")
				}
			case slices.Contains([]string{"<what>", "<how>", "<mode>", "<data>", "<match>", "<answer>", "<kind>", "<way>"}, usage): // has a table of its own
				table := strings.Replace(o.name, "begin", "end", 1) // which is that of both
				for _, row := range referenceRows(t, "### `"+table+"`", "`"+table+"`") {
					if value := short.Replace(strings.Trim(row["`"+table+"`"], "`")); !slices.Contains(forms(is.args), value) {
						t.Errorf("%s %s is none of %q", o, value, is.args)
					}
				}
			case !slices.Contains(forms(is.args), usage):
				t.Errorf("%s: want %q", o, is.args)
			}
		}
	}
}

// The same mistake in JSON is told in the same words.
func TestJSONIsToldTheSameOfAChannel(t *testing.T) {
	for channel, want := range map[string]string{
		"user:${user}":               "is a shell's",
		"user:{{user}}":              "one brace on each side",
		"user:{http.request.uri":     "has no }",
		"news{":                      "perhaps a space is missing",
		"redis://:hunter2@localhost": "goes on a redis line",
	} {
		text, err := json.Marshal(channel)
		if err != nil {
			t.Fatal(err)
		}
		for _, handler := range []string{`{"handler":"redis_sse","channels":[%s]}`, `{"handler":"redis_sse_publish","channel":%s}`} {
			err := caddy.Validate(adaptLoad(t, validateServer(fmt.Sprintf(handler, text), `{}`)))
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s in %s: %v", channel, handler, err)
			}
		}
	}
}

// A name like an address is a name, if its block says where Redis is. Braces may be meant, too.
func TestWhatLooksLikeAMistakeAndIsNone(t *testing.T) {
	for _, input := range []string{
		"{\nredis_sse eu:6379 {\nredis " + adaptDead + "\n}\n}\nexample.com {\nredis_sse /e news {\nhub eu:6379\n}\n}\n",
		"{\nredis_sse a@b {\nredis " + adaptDead + "\n}\n}\n",
		"{\nredis_sse tenant:1\n}\nexample.com {\nredis_sse /e news {\nhub tenant:1\n}\n}\n",
		"example.com {\nredis_sse /e room:\\{7\\}:x a\\{\n}\n",
		"example.com {\nredis_sse /e {\nchannel /slash @at\npattern a,b {user}:* [a,b]*\n}\n}\n",
	} {
		if got := complaint(t, input); got != "" {
			t.Errorf("%s\n%s", input, got)
		}
	}
}
