package redissse

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// A program that writes JSON can say what no Caddyfile can. Each error names the option and what it was given.
func TestTheOptionsOfAnswersAreCheckedInJSON(t *testing.T) {
	const channel = `"channels":["a"]`
	template := func(n int) string {
		return channel + `,"from":"start","control":"comments","gap_data":"` + strings.Repeat("x", n) + `"`
	}
	for _, test := range []struct {
		config string
		want   []string // none: it is valid
	}{
		{channel + `,"end":[{"data":["[DONE]"]},{"field":"type","values":["done"]}],"from":"unfinished"`, nil},
		{channel + `,"end":[{"data":[""]}]`, nil}, // an empty payload is one, too
		{channel + `,"end":[{"data":["x"],"event":["y"]}],"event":"channel"`, []string{"end", "exactly one of data, event and field"}},
		{channel + `,"end":[{"data":["x"],"field":"y"}]`, []string{"end", "exactly one"}},
		{channel + `,"end":[{"event":["x"],"field":"y"}],"event":"channel"`, []string{"end", "exactly one"}},
		{channel + `,"end":[{}]`, []string{"end", "exactly one"}},
		{channel + `,"end":[{"data":["x"]},{"data":[]}]`, []string{"end", "exactly one"}},
		{channel + `,"end":[{"values":["x"]}]`, []string{"end", "exactly one"}},
		{channel + `,"end":[{"data":["x"],"values":["y"]}]`, []string{"end", "values", `"y"`, "field"}},
		{channel + `,"from":"start","begin":[{"event":["x"],"values":["y"]}],"event":"channel"`, []string{"begin", "values", `"y"`, "field"}},
		{channel + `,"from":"start","begin":[{"data":["x"],"field":"y"}]`, []string{"begin", "exactly one"}},
		{channel + `,"end":[{"field":"a..b"}]`, []string{"end field", `"a..b"`, "empty part"}},
		{channel + `,"end":[{"event":["a\nb"]}],"event":"channel"`, []string{"end event", `"a\nb"`}},
		{channel + `,"end":[{"event":[""]}],"event":"channel"`, []string{"end event", `""`}},
		{channel + `,"patterns":["*"],"end":[{"data":["x"]}]`, []string{"end", `"a"`, `"*"`, "one channel"}},
		{channel + `,"from":"unfinished"`, []string{"from", `"unfinished"`, "needs end"}},
		{channel + `,"from":"unfinished","begin":[{"data":["x"]}]`, []string{"from", `"unfinished"`, "needs end"}},
		{channel + `,"begin":[{"data":["x"]}]`, []string{"begin", "from", `"live"`}},
		{channel + `,"begin":[{"data":["x"]}],"client_from":true`, nil}, // a client may ask for the start
		{channel + `,"merge":[""]`, []string{"merge", "empty"}},
		{channel + `,"merge":["a."]`, []string{"merge", `"a."`}},
		{channel + `,"merge":["a","b","c","d","e","f","g","h"]`, nil},
		{channel + `,"merge":["a","b","c","d","e","f","g","h","i"]`, []string{"merge", "9", "8"}},
		{channel + `,"merge":["a"],"event":"field a"`, []string{"merge", `"a"`, "event field"}},
		{channel + `,"data":"field "`, []string{"data", `"field "`}},
		{channel + `,"data":"fields a"`, []string{"data", `"fields a"`}},
		{channel + `,"empty":"404","from":"start"`, []string{"empty", `"404"`}},
		{channel + `,"empty":"204"`, []string{"empty", `"204"`, "from", `"live"`}},
		{channel + `,"empty":"204","from":"live"`, []string{"empty", `"204"`, "from", `"live"`}},
		{channel + `,"empty":"204","client_from":true`, nil},
		{channel + `,"empty":"204","from":"last 1"`, nil},
		{channel + `,"control":"none"`, []string{"control", `"none"`}},
		{channel + `,"control":"comments","gap_data":"none","gap_event":"x"`, []string{"gap_event", `"x"`, "none"}},
		{channel + `,"control":"comments","gap_data":"{gap}","gap_event":"a\nb"`, []string{"gap_event", `"a\nb"`}},
		{channel + `,"control":"comments","gap_data":"{gap}","cursor_event":"x"`, []string{"cursor_event", `"x"`, "comments"}},
		{channel + `,"control":"comments","gap_data":"{gap"`, []string{"gap_data", `"{gap"`}},
		{channel + `,"control":"comments","gap_data":"{gap.reasons}"`, []string{"gap_data", `{gap.reasons}`}},
		{template(16 << 10), nil},
		{template(16<<10 + 1), []string{"gap_data", "16385", "16384"}},
	} {
		h := new(Handler)
		if err := caddy.StrictUnmarshalJSON([]byte("{"+test.config+"}"), h); err != nil {
			t.Fatalf("%s: %v", test.config, err)
		}
		err := h.resolve()
		if (err == nil) != (test.want == nil) {
			t.Errorf("%.200s: %v", test.config, err)
			continue
		}
		if text := fmt.Sprint(err); len(text) > 1000 {
			t.Errorf("an error of %d bytes, which nobody reads", len(text))
		}
		for _, part := range test.want {
			if !strings.Contains(fmt.Sprint(err), part) {
				t.Errorf("%.200s: the error does not say %q: %.300v", test.config, part, err)
			}
		}
	}
}

// What a Caddyfile says is what its JSON says.
func TestMatchesAreTheSameInBothForms(t *testing.T) {
	config, err := adapt(inSite("redis_sse /e a {\nfrom start\nend data x \"\\n\"\nend field t\nend field t v\nbegin field a.b\n}"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `"end":[{"data":["x","\\n"]},{"field":"t"},{"field":"t","values":["v"]}]`
	if !strings.Contains(string(config), want) || !strings.Contains(string(config), `"begin":[{"field":"a.b"}]`) || !json.Valid(config) {
		t.Errorf("it adapts to %s, want %s", config, want)
	}
}

// wireLastComment matches what stands behind the last message of a stream with control comments that did not come to its end.
var wireLastComment = regexp.MustCompile(`\n\nretry: [0-9]+\n: [0-9a-f-]+\n$`)
