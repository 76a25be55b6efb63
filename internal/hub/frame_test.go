package hub

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

var evtPlain = Format{event: eventNone, gap: defaultGapEvent, cursor: defaultCursorEvent}

// encodeBody returns all of a message's frame but the id line.
func encodeBody(f *Format, m *message) (body []byte, nameLeft, badUTF8 bool) {
	o := f.outline(m)
	return o.body(), o.NameLeft, o.BadUTF8
}

// evtOne returns what a browser would read, which must be one event.
func evtOne(t *testing.T, wire []byte) ssetest.Event {
	t.Helper()
	events := ssetest.NewParser().Push(wire)
	if len(events) != 1 {
		t.Fatalf("%.200q makes %d events, want one: %.200q", wire, len(events), events)
	}
	return events[0]
}

func TestEncodeBodyData(t *testing.T) {
	large := strings.Repeat("0123456789abcde\n", 1<<16)
	for _, test := range []struct {
		name, payload, want string
		badUTF8             bool
	}{
		{name: "one line", payload: "hello", want: "hello"},
		{name: "empty"},
		{name: "LF", payload: "a\nb", want: "a\nb"},
		{name: "CR", payload: "a\rb", want: "a\nb"},
		{name: "CRLF", payload: "a\r\nb", want: "a\nb"},
		{name: "LF CR is two line ends", payload: "a\n\rb", want: "a\n\nb"},
		{name: "mixed", payload: "a\r\r\nb\n\nc\r", want: "a\n\nb\n\nc\n"},
		{name: "trailing LF", payload: "a\n", want: "a\n"},
		{name: "only one newline", payload: "\n", want: "\n"},
		{name: "only newlines", payload: "\r\n\n\r", want: "\n\n\n"},
		{name: "NUL", payload: "a\x00b", want: "a\x00b"},
		{name: "leading spaces", payload: "  a\n b", want: "  a\n b"},
		{name: "only a space", payload: " ", want: " "},
		{name: "leading colon", payload: ":a\n:b", want: ":a\n:b"},
		{name: "byte order mark", payload: "\uFEFFa\n\uFEFFb", want: "\uFEFFa\n\uFEFFb"},
		{name: "line separators of Unicode", payload: "a\u2028b\u0085c", want: "a\u2028b\u0085c"},
		{name: "an event stream", payload: "data: x\n\nevent: gap", want: "data: x\n\nevent: gap"},
		{name: "fields of an event", payload: "\nid: 9-9-9-9\nretry: 1\nevent: gap\n\n", want: "\nid: 9-9-9-9\nretry: 1\nevent: gap\n\n"},
		{name: "1 MiB", payload: large, want: large},
		{name: "1 MiB in one line", payload: strings.Repeat("x", 1<<20), want: strings.Repeat("x", 1<<20)},
		{name: "invalid UTF-8", payload: "a\xff\xfeb", want: "a\uFFFD\uFFFDb", badUTF8: true},
		{name: "cut-off UTF-8 before a line end", payload: "\xe2\x82\n\xe2", want: "\uFFFD\uFFFD\n\uFFFD", badUTF8: true},
		{name: "U+FFFD itself is valid", payload: "\uFFFD", want: "\uFFFD"},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := cursor{ms: 1, seq: 2, epoch: 3, anchor: 4}
			body, nameLeft, badUTF8 := encodeBody(&evtPlain, &message{home: named("c"), payload: test.payload})
			got := evtOne(t, append(appendIDLine(nil, id), body...))
			if got.Data != test.want {
				t.Errorf("data = %.200q, want %.200q", got.Data, test.want)
			}
			if got.ID != id.String() || got.Type != "message" {
				t.Errorf("id, type = %q, %q, want %q, message", got.ID, got.Type, id)
			}
			if nameLeft || badUTF8 != test.badUTF8 {
				t.Errorf("name left out: %v, UTF-8 replaced: %v, want false, %v", nameLeft, badUTF8, test.badUTF8)
			}
		})
	}
}

func TestEncodeBodyEventName(t *testing.T) {
	byChannel := Format{event: eventChannel, gap: defaultGapEvent, cursor: defaultCursorEvent}
	byField := Format{event: eventField, field: "type", gap: defaultGapEvent, cursor: defaultCursorEvent}
	renamed := Format{event: eventChannel, gap: "lost", cursor: "mark"}
	name64, name65 := strings.Repeat("n", 64), strings.Repeat("n", 65)
	wide := strings.Repeat("ü", 33) // 33 characters, 66 bytes
	for _, test := range []struct {
		name             string
		format           Format
		channel, payload string
		want             string // empty: no name
		left             bool
	}{
		{"none", evtPlain, "job:1", `{"type":"done"}`, "", false},
		{"channel", byChannel, "job:1", "x", "job:1", false},
		{"channel with spaces around", byChannel, " job ", "x", " job ", false},
		{"channel of 64 bytes", byChannel, name64, "x", name64, false},
		{"channel of 65 bytes", byChannel, name65, "x", "", true},
		{"bytes count, not characters", byChannel, wide, "x", "", true},
		{"channel with LF", byChannel, "a\nevent: gap", "x", "", true},
		{"channel with CR", byChannel, "a\rb", "x", "", true},
		{"channel with NUL", byChannel, "a\x00b", "x", "", true},
		{"channel that is not UTF-8", byChannel, "a\xff", "x", "", true},
		{"channel open", byChannel, "open", "x", "", true},
		{"channel error", byChannel, "error", "x", "", true},
		{"channel gap", byChannel, "gap", "x", "", true},
		{"channel cursor", byChannel, "cursor", "x", "", true},
		{"names count as they are configured", renamed, "gap", "x", "gap", false},
		{"renamed gap", renamed, "lost", "x", "", true},
		{"renamed cursor", renamed, "mark", "x", "", true},
		{"case matters", byChannel, "Open", "x", "Open", false},

		{"field", byField, "c", `{"a":1,"type":"done"}`, "done", false},
		{"field of 64 bytes", byField, "c", `{"type":"` + name64 + `"}`, name64, false},
		{"field of 65 bytes", byField, "c", `{"type":"` + name65 + `"}`, "", true},
		{"field with an escaped LF", byField, "c", `{"type":"a\nb"}`, "", true},
		{"field with an escaped CR", byField, "c", `{"type":"a\rb"}`, "", true},
		{"field with an escaped NUL", byField, "c", `{"type":"a\u0000b"}`, "", true},
		{"field with an escaped letter", byField, "c", `{"type":"\u0064one"}`, "done", false},
		{"field open", byField, "c", `{"type":"open"}`, "", true},
		{"field error", byField, "c", `{"type":"error"}`, "", true},
		{"field gap", byField, "c", `{"type":"gap"}`, "", true},
		{"field gap, escaped", byField, "c", `{"type":"g\u0061p"}`, "", true},
		{"field cursor", byField, "c", `{"type":"cursor"}`, "", true},
		{"empty string", byField, "c", `{"type":""}`, "", true},
		{"number", byField, "c", `{"type":1}`, "", true},
		{"null", byField, "c", `{"type":null}`, "", true},
		{"object", byField, "c", `{"type":{"type":"done"}}`, "", true},
		{"no such key", byField, "c", `{"kind":"done"}`, "", true},
		{"case of the key matters", byField, "c", `{"Type":"done"}`, "", true},
		{"nested key", byField, "c", `{"data":{"type":"done"}}`, "", true},
		{"not JSON", byField, "c", `type: done`, "", true},
		{"cut-off JSON", byField, "c", `{"type":"done"`, "", true},
		{"more after the JSON", byField, "c", `{"type":"done"} x`, "", true},
		{"an array", byField, "c", `[{"type":"done"}]`, "", true},
		{"empty payload", byField, "c", "", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			body, left, _ := encodeBody(&test.format, &message{home: named(test.channel), payload: test.payload})
			got := evtOne(t, body)
			want := test.want
			if want == "" {
				want = "message" // what EventSource makes of no name
			}
			if got.Type != want || left != test.left {
				t.Errorf("type = %q, left out: %v, want %q, %v", got.Type, left, want, test.left)
			}
			if got.Data != test.payload {
				t.Errorf("data = %q, want %q", got.Data, test.payload)
			}
			if test.want == "" && strings.Contains(string(body), "event:") {
				t.Errorf("the frame has an event line: %q", body)
			}
		})
	}
}

func TestControlEvents(t *testing.T) {
	id := cursor{ms: 10, seq: 11, epoch: 12, anchor: 13}
	after, missed := "A4", uint64(5)
	renamed := Format{event: eventNone, gap: "lost", cursor: "mark"}

	t.Run("cursor", func(t *testing.T) {
		for f, want := range map[*Format]string{&evtPlain: "cursor", &renamed: "mark"} {
			got := evtOne(t, f.appendCursor(nil, id))
			if got != (ssetest.Event{ID: id.String(), Type: want, Data: "{}"}) {
				t.Errorf("got %+v, want a %s of %s", got, want, id)
			}
		}
	})
	t.Run("retry", func(t *testing.T) {
		p := ssetest.NewParser()
		if events := p.Push(AppendRetry(nil, 2500)); len(events) != 0 || p.Retry != 2500*time.Millisecond {
			t.Errorf("events %v, retry %v, want none and 2.5s", events, p.Retry)
		}
	})
	for _, test := range []struct {
		name   string
		format *Format
		gap    gap
		typ    string
		want   string
	}{
		{"all known", &evtPlain, gap{"job:1", "", gapEvicted, &after, &missed}, "gap",
			`{"channel":"job:1","reason":"evicted","after":"A4","missed":5}`},
		{"nothing known", &evtPlain, gap{"job:1", "", gapUnknownID, nil, nil}, "gap",
			`{"channel":"job:1","reason":"unknown_id","after":null,"missed":null}`},
		{"renamed", &renamed, gap{"job:1", "", gapDisconnected, nil, nil}, "lost",
			`{"channel":"job:1","reason":"redis_disconnected","after":null,"missed":null}`},
		{"channel with line ends", &evtPlain, gap{"a\n\nevent: x\r\"", "", gapExpired, nil, nil}, "gap",
			`{"channel":"a\n\nevent: x\r\"","reason":"expired","after":null,"missed":null}`},
		{"channel that is not UTF-8", &evtPlain, gap{"a\xff", "", gapExpired, nil, nil}, "gap",
			`{"channel":"a\ufffd","reason":"expired","after":null,"missed":null}`},
	} {
		t.Run("gap: "+test.name, func(t *testing.T) {
			got := evtOne(t, test.format.appendGap(nil, id, test.gap))
			if got.Type != test.typ || got.ID != id.String() {
				t.Errorf("type, id = %q, %q, want %q, %q", got.Type, got.ID, test.typ, id)
			}
			var have, want map[string]any
			if err := json.Unmarshal([]byte(got.Data), &have); err != nil {
				t.Fatalf("data %q: %v", got.Data, err)
			}
			if err := json.Unmarshal([]byte(test.want), &want); err != nil {
				t.Fatal(err)
			}
			if len(have) != len(want) {
				t.Errorf("data = %s, want %s", got.Data, test.want)
			}
			for key := range want {
				if value, ok := have[key]; !ok || value != want[key] {
					t.Errorf("data = %s, want %s", got.Data, test.want)
				}
			}
		})
	}
}

func named(channel string) *buffer {
	return &buffer{timeline: timeline{name: channel, usage: new(usage)}}
}

// evtBuffer returns a buffer with one message.
func evtBuffer(payload string) (*buffer, *message) {
	b, m := named("job:1"), &message{payload: payload, seq: 2}
	m.home = b
	b.confirm(1, 0)
	b.append(m, roomy)
	return b, m
}

func TestFramesAreMadeOncePerFormat(t *testing.T) {
	b, m := evtBuffer("x\ny")
	first := evtPlain
	byChannel := Format{event: eventChannel, gap: defaultGapEvent, cursor: defaultCursorEvent}

	one, cost := b.frame(m, &first, roomy)
	body := one.body
	if cost.size < int64(len(body)) {
		t.Errorf("a new frame of %d bytes costs %d", len(body), cost.size)
	}
	equal := first // another handler's, configured the same
	for _, f := range []*Format{&first, &equal} {
		again, cost := b.frame(m, f, roomy)
		if &again.body[0] != &body[0] || cost.size != 0 {
			t.Errorf("an equal format makes a frame of its own, which costs %d", cost.size)
		}
	}
	named, cost := b.frame(m, &byChannel, roomy)
	if string(named.body) == string(body) || cost.size == 0 {
		t.Errorf("another format gets %q, which costs %d", named.body, cost.size)
	}
	if again, cost := b.frame(m, &first, roomy); &again.body[0] != &body[0] || cost.size != 0 {
		t.Error("a second format drives out the first one's frame")
	}
	if n := b.usage.bytes.Load(); n != m.cost || n <= messageCost+2*frameCost {
		t.Errorf("the hub counts %d bytes for a message of %d with two frames", n, m.cost)
	}
}

func TestFramesOfConcurrentStreams(t *testing.T) {
	const streams = 8
	b, m := evtBuffer(strings.Repeat("x", 500) + "\n" + strings.Repeat("y", 500))
	formats := []Format{evtPlain, {event: eventChannel, gap: defaultGapEvent, cursor: defaultCursorEvent}}
	var charged atomic.Int64
	var bodies [streams][]byte
	var done sync.WaitGroup
	for i := range streams {
		done.Go(func() {
			f := formats[i%2]
			fr, cost := b.frame(m, &f, roomy)
			bodies[i] = fr.body
			if cost.size > 0 {
				charged.Add(1)
			}
		})
	}
	done.Wait()
	if charged.Load() != 2 {
		t.Errorf("%d frames are charged for two formats", charged.Load())
	}
	for i := range streams {
		if &bodies[i][0] != &bodies[i%2][0] {
			t.Errorf("stream %d has a frame of its own", i)
		}
	}
}

// What stands in an event as it is need not be there twice: of a message of one line is kept what stands before it, if anything.
func TestAPayloadOfOneLineIsNotKeptTwice(t *testing.T) {
	ends, err := ParseFormat(Wire{End: []Match{{Data: []string{"x"}}}})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 1000)
	for _, test := range []struct {
		name    string
		format  Format
		payload string
		kept    int64 // bytes
	}{
		{"nothing but the payload", evtPlain, long, 0},
		{"an empty payload", evtPlain, "", 0},
		{"a name", Format{event: eventChannel}, long, frameCost + int64(len("event: job:1\n"))},
		{"what the rules say", ends, long, frameCost + int64(len("event: \n"))},
		{"two lines", evtPlain, long + "\n", frameCost + int64(len(long)+len("\n"+"data: \ndata: \n\n"))},
		{"a CR", evtPlain, long + "\r", frameCost + int64(len(long)+len("\r"+"data: \ndata: \n\n"))},
		{"not UTF-8", evtPlain, long + "\xff", frameCost + int64(len(long)+len("data: \uFFFD\n\n"))},
		{"a part of the payload", Format{event: eventNone, data: "a"}, `{"a":"` + long + `"}`, frameCost + int64(len(long)+len("data: \n\n"))},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, m := evtBuffer(test.payload)
			before := b.usage.bytes.Load()
			for range 2 {
				b.frame(m, &test.format, roomy)
			}
			if kept := b.usage.bytes.Load() - before; kept != test.kept {
				t.Errorf("%d bytes are kept, want %d", kept, test.kept)
			}
		})
	}
}
