package redissse

import (
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// What LangGraph's server makes of an envelope: its event, and its data, bytes as they are.
func TestTheDataOfAnEventIsWhatItsPathSays(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", `
		redis_sse /inner {
			channel a
			from start
			control comments
			gap_data {gap}
			event field meta.kind
			data field meta.data.0
			end event end error
			end field stop
			drain 0s 0s
		}
		redis_sse /whole a {
			event field meta.kind
			drain 0s 0s
		}
		metrics /metrics
	`)
	before, large := g.scrape(), strings.Repeat("large ", 20_000)
	inner, whole := g.open("/inner"), g.opened("/whole")
	server.WaitNumSub("a", 1)
	for _, test := range []struct{ payload, name, data string }{
		{`{"meta":{"kind":"text","data":["a\nb\u00e9\ud83d\ude00"]}}`, "text", "a\nbé😀"},
		{`{"meta":{"kind":"object","data":[{"a": [1, 2.50e3],"b":"<&>"}]}}`, "object", `{"a": [1, 2.50e3],"b":"<&>"}`},
		{`{"meta":{"kind":"number","data":[1.0,2]}}`, "number", "1.0"},
		{`{"meta":{"kind":"null","data":[null]}}`, "null", "null"},
		{`{"meta":{"kind":"","data":[true]}}`, "message", "true"},
		{`{"meta":{"kind":"empty","data":[""]}}`, "empty", ""},
		{`{"meta.kind":"dotted","meta.data.0":"a key with dots"}`, "dotted", "a key with dots"},
		{`{"meta":{"kind":"last","data":["first"],"data":["the last of two"]}}`, "last", "the last of two"},
		{`{"meta":{"kind":"none","data":[]}}`, "none", `{"meta":{"kind":"none","data":[]}}`},
		{`{"meta":{"kind":"large","data":["` + large + `\n"]}}`, "large", large + "\n"}, // each stream makes it for itself
		{`no json`, "message", "no json"},
		{`{"meta":{"kind":"broken","data":["a"]}`, "message", `{"meta":{"kind":"broken","data":["a"]}`},
		{`{"stop":{"in":"the payload"},"meta":{"kind":"x","data":["bye"]}}`, "x", "bye"},
	} {
		server.Publish("a", test.payload)
		if e := inner.NextAfterCursors(); e.Type != test.name || e.Data != test.data {
			t.Errorf("of %s: got %+q, want %q %q", test.payload, e, test.name, test.data)
		}
		if e := whole.NextAfterCursors(); e.Data != test.payload {
			t.Errorf("the payload %s as it is: %+q", test.payload, e)
		}
	}
	awaitEnd(t, inner)
	g.scrape().since(before).want(t, series{
		`payloads_left_total{hub="default",route="a"}`: 3, `event_names_omitted_total{hub="default"}`: 2 + 2 + 1 + 1,
	})
	const told = "payloads have no value where data says, and are sent as they are"
	if log := gatewayLogs.text(); strings.Count(log, told) != 1 || !strings.Contains(log, `"route":"a"`) {
		t.Errorf("want one line of it:\n%s", log)
	}
}

// Deep, wide and broken JSON comes from whoever may publish; a stream goes on.
func TestPayloadsThatAreHardToReadEndNothing(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "buffer {\nmax_message 8MiB\nchannel_size 64MiB\n}", `
		redis_sse /a a {
			event field a.b
			data field a.b.c
			end field a.0.b
			merge a.x
			drain 0s 0s
		}
	`)
	s := g.opened("/a")
	const deep = 200_000
	for _, payload := range []string{
		strings.Repeat("[", deep), strings.Repeat("[", deep) + strings.Repeat("]", deep),
		strings.Repeat(`{"a":`, deep) + "1" + strings.Repeat("}", deep), strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000),
		`{"a":[` + strings.Repeat(`{},`, deep) + `{}]}`, `{` + strings.Repeat(`"a":{},`, deep) + `"b":1}`,
		`{"a":{"x":"` + strings.Repeat(`\u0000`, deep) + `"}}`, `"` + strings.Repeat("\xff", deep) + `"`, `{"a":"\ud800"}`, "\x00", `{"a":{"b":"x\u0000"}}`,
	} {
		server.Publish("a", payload)
		if e := s.NextAfterCursors(); e.Type != "message" || len(e.Data) == 0 {
			t.Errorf("of %.40q the event is %.100q", payload, e)
		}
	}
	server.Publish("a", `{"a":[{"b":null}]}`)
	s.NextAfterCursors()
	awaitEnd(t, s)
}
