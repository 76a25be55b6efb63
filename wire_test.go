package redissse

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
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
var wireLastComment = regexp.MustCompile(`\n\nretry: [0-9]+\n: [\w-]{28}\n$`)

// wireRoutes serve channels in each way a stream may look.
const wireRoutes = `
	redis_sse /plain/* {http.request.uri.path.1} {
		from start
		event field type
		heartbeat 59s
		drain 0s 0s
	}
	redis_sse /comments/* {http.request.uri.path.1} {
		from start
		event field type
		heartbeat 20ms
		control comments
		gap_data <<JSON
			{"type":"gap",
			"gap":{gap}, "reason": "{gap.reason}", "{ gaps }": "{ gap }"}
			JSON
		drain 0s 0s
	}
	redis_sse /named/* {http.request.uri.path.1} {
		from start
		event field type
		heartbeat 20ms
		control comments
		gap_event error
		gap_data {gap.reason}
		drain 0s 0s
	}
	redis_sse /hidden/* {http.request.uri.path.1} {
		from start
		heartbeat 20ms
		control comments
		gap_data none
		drain 0s 0s
	}
	redis_sse /live/* {http.request.uri.path.1} {
		control comments
		gap_data {gap.reason}
		drain 0s 0s
	}
`

var (
	wireID    = regexp.MustCompile(`\b[A-H][\w-]{27}`)
	wireRetry = regexp.MustCompile(`retry: [0-9]+`)
	wireBeats = regexp.MustCompile(`(: <id>\n)+`)
)

// wireOf is a stream's bytes, but for what is by chance: ids, the last retry, and how many comments stand in a row.
func wireOf(raw []byte) string {
	text := wireID.ReplaceAllString(string(raw), "<id>")
	return wireBeats.ReplaceAllString(wireRetry.ReplaceAllString(text, "retry: <n>"), ": <id>\n")
}

// wirePlayed opens a stream of a path, plays messages and an outage, has the configuration go, and returns the stream's bytes.
func wirePlayed(t *testing.T, proto, path string) []byte {
	t.Helper()
	server := redistest.Start(t)
	g := newGatewayOver(t, proto)
	g.load(server.URL(), quickHub, wireRoutes)
	s := g.open(path)
	server.WaitNumSub("a", 1)
	for _, payload := range []string{"one\r\ntwo", `{"type":"error"}`, `{"type":"open"}`, `{"type":"gap"}`, `{"type":"cursor"}`, `{"type":"token"}`} {
		server.Publish("a", payload)
	}
	has := func(text string) {
		t.Helper()
		g.wait(text, func() bool { return strings.Contains(string(s.Raw()), text) })
	}
	has(`{"type":"token"}`)
	server.KillPubSub()
	has("redis_disconnected")
	server.WaitNumSub("a", 1)
	server.Publish("a", "the last")
	has("data: the last\n\n")
	if strings.Contains(wireRoutesOf(path), "20ms") {
		g.wait("a beat behind the last message", func() bool { return strings.HasSuffix(wireOf(s.Raw()), "\n: <id>\n") })
	}
	g.load(server.URL(), quickHub, "respond hello")
	awaitEnd(t, s)
	return s.Raw()
}

// wireRoutesOf is the directive that serves a path.
func wireRoutesOf(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	_, rest, _ := strings.Cut(wireRoutes, "/"+first+"/")
	own, _, _ := strings.Cut(rest, "\n\t}\n")
	return own
}

// What was there before there were options for answers.
const wirePlain = `retry: <n>
event: cursor
id: <id>
data: {}

id: <id>
data: one
data: two

id: <id>
data: {"type":"error"}

id: <id>
data: {"type":"open"}

id: <id>
data: {"type":"gap"}

id: <id>
data: {"type":"cursor"}

id: <id>
event: token
data: {"type":"token"}

event: gap
id: <id>
data: {"channel":"a","reason":"redis_disconnected","after":"<id>","missed":null}

id: <id>
data: the last

retry: <n>
event: cursor
id: <id>
data: {}

`

func TestWithoutOptionsTheWireIsAsItWas(t *testing.T) {
	overEachProtocol(t, func(t *testing.T, proto string) {
		if got := wireOf(wirePlayed(t, proto, "/plain/a")); got != wirePlain {
			t.Errorf("got %s\nwant %s", got, wirePlain)
		}
	})
}

// To the SDKs of OpenAI a blank line ends an event, with data or without: behind a comment stands none, wherever it is.
func TestControlCommentsAreEndedByOneLineFeed(t *testing.T) {
	const tokens = `id: <id>
data: one
data: two

id: <id>
event: error
data: {"type":"error"}

id: <id>
event: open
data: {"type":"open"}

id: <id>
event: gap
data: {"type":"gap"}

id: <id>
event: cursor
data: {"type":"cursor"}

id: <id>
event: token
data: {"type":"token"}

`
	unnamed := regexp.MustCompile("(?m)^event: .*\n").ReplaceAllString(tokens, "")
	const last = "id: <id>\ndata: the last\n\n: <id>\nretry: <n>\n: <id>\n"
	const gapJSON = `{"channel":"a","reason":"redis_disconnected","after":"<id>","missed":null}`
	for path, want := range map[string]string{
		"/comments/a": tokens + "id: <id>\ndata: {\"type\":\"gap\",\ndata: \"gap\":" + gapJSON + `, "reason": "redis_disconnected", "{ gaps }": "{ gap }"}` + "\n\n" + last,
		"/named/a":    tokens + "event: error\nid: <id>\ndata: redis_disconnected\n\n" + last,
		"/hidden/a":   unnamed + ": gap " + gapJSON + "\n" + last,
	} {
		t.Run(path, func(t *testing.T) {
			overEachProtocol(t, func(t *testing.T, proto string) {
				raw := wirePlayed(t, proto, path)
				if behind := regexp.MustCompile(`(?m)^:[^\n]*\n\n`).Find(raw); behind != nil {
					t.Errorf("a blank line stands behind the comment %q", behind)
				}
				// Where the beats came is by chance: those between events are left out.
				got := strings.TrimPrefix(wireOf(raw), "retry: <n>\n: <id>\n")
				got = strings.ReplaceAll(got, "\n\n: <id>\n", "\n\n")
				got = strings.ReplaceAll(strings.ReplaceAll(got, "}\n: <id>\nid", "}\nid"), "the last\n\n", "the last\n\n: <id>\n")
				if got != want {
					t.Errorf("got %s\nwant %s", got, want)
				}
			})
		})
	}
}

// LangGraph's client says -1 for the beginning. To one that would get all anyway, nothing can be missing.
func TestACursorThatCannotBeReadIsNoneWithControlComments(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "keep *", wireRoutes)
	g.wait("the pattern", func() bool { return server.Do("PUBSUB", "NUMPAT").(int64) == 1 })
	sent := resumePublish(t, server, "a", "m", 3)
	g.wait("the messages", func() bool { return heldMessages(g.hub()) == 3 })
	for _, id := range []string{"-1", "0", "x-e"} {
		resumeMessages(t, g.open("/comments/a", ssetest.WithLastEventID(id)), sent...)
		resumeMustGap(t, g.open("/plain/a", ssetest.WithLastEventID(id)), "a", gapUnknownID)
		if e := g.open("/live/a", ssetest.WithLastEventID(id)).Next(); e.Data != gapUnknownID { // not all that there is
			t.Errorf("%q: a stream from elsewhere begins with %+q", id, e)
		}
	}
	resumeMessages(t, g.open("/comments/a?last_event_id=-1"), sent...)
}

// A template may put anything behind a gap's name.
func TestTheDataOfAGapIsATemplate(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), quickHub, `
		redis_sse /lines/* {http.request.uri.path.1} {
			from start
			control comments
			gap_data "a{gap.reason}{gap.reason}b
c{{gap.reason}}"
			drain 0s 0s
		}
	`)
	s := g.open("/lines/a", ssetest.WithLastEventID(place{MS: 1, Seq: 1, Epoch: 1, Anchor: 1}.ID()))
	if e := s.Next(); e.Type != "message" || e.Data != "anot_bufferednot_bufferedb\nc{not_buffered}" {
		t.Errorf("the gap is %+q", e)
	}
}
