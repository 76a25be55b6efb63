package redissse

import (
	"encoding/json"
	"fmt"
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
		return err.Error()
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
	for i, scope := range []string{hubScope, bufferScope, publisherScope, handlerScope, publishScope} {
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
			case usage == "<what>" || usage == "<how>": // has a table of its own
				for _, row := range referenceRows(t, "### `"+o.name+"`", "`"+o.name+"`") {
					if value := short.Replace(strings.Trim(row["`"+o.name+"`"], "`")); !slices.Contains(forms(is.args), value) {
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
