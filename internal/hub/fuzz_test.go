package hub

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// "go test" runs these on their seeds, "make fuzz" on what it makes of them.
// What they want is written from the documentation, not from the code.

func FuzzParseCursor(f *testing.F) {
	for _, seed := range evtCursors {
		f.Add(seed.text, seed.cursor.ms, seed.cursor.seq, seed.cursor.epoch, seed.cursor.anchor)
	}
	for _, text := range evtNoCursors {
		f.Add(text, int64(-1), uint64(1)<<48, uint64(1)<<40, uint32(1)<<31)
	}
	f.Fuzz(func(t *testing.T, text string, ms int64, seq, epoch uint64, anchor uint32) {
		c, ok := parseCursor(text)
		if read, valid := ssetest.PlaceOf(text); ok != valid || ok && c != cursorOf(read) {
			t.Errorf("parseCursor(%q) = %+v, %v, a plain reader makes %v, %v of it", text, c, ok, read, valid)
		}
		if ok && c.String() != text {
			t.Errorf("parseCursor(%q) accepts a text that String writes %q", text, c)
		}
		if !ok && c != (cursor{}) {
			t.Errorf("parseCursor(%q) rejects, and returns %+v", text, c)
		}
		c = cursor{ms, seq, epoch % (1 << 40), anchor, seq%2 == 1}
		want := c // what there is room for
		want.ms, want.seq = min(max(c.ms, 0), 1<<44-1), min(c.seq, 1<<48-1)
		if got, ok := parseCursor(c.String()); !ok || got != want || c.String() != placeOf(want).ID() {
			t.Errorf("parseCursor(%q) = %+v, %v, want %+v, whose id is %s", c, got, ok, want, placeOf(want).ID())
		}
	})
}

// fuzzEvents are the ways to name an event, as they are configured; a field's
// name follows the last one.
var fuzzEvents = []string{"", eventNone, eventChannel, eventField + " "}

func FuzzEncodeBody(f *testing.F) {
	for i, payload := range []string{
		"", "a\r\nb", "\n", " x", "\r\r\n\n\r", "data: x\n\nevent: gap", "\nid: 9-9-9-9\nretry: 1\n\n", "a\x00b", "\uFEFFa", "\xff\r\xe2\x82\n",
		`{"type":"gap"}`, `{"type":"a\nb"}`, `{"type":null}`, `{"type":1e999,"type":"done"}`, `{"type":"g\u0061p"}`, `[{"type":"x"}]`, "null",
	} {
		f.Add(payload, "job:1", "type", "", "", byte(i))
		f.Add(payload, "gap", "type", "lost", "mark", byte(2))
		f.Add(payload, "a\nb", "type", "mark", "gap", byte(3))
		f.Add(payload, "cursor", "", "message", "", byte(7))
		f.Add(payload, strings.Repeat("ü", 33), "a b", strings.Repeat("g", 64), "ü", byte(7))
	}
	f.Fuzz(func(t *testing.T, payload, name, field, gapEvent, cursorEvent string, by byte) {
		event := fuzzEvents[by%4]
		if strings.HasSuffix(event, " ") {
			event += field
		}
		form, err := ParseFormat(Wire{Event: event, Gap: gapEvent, Cursor: cursorEvent})
		if err != nil {
			return
		}
		if by&4 != 0 { // JSON with the name in it: mutation alone would rarely make one
			object, err := json.Marshal(map[string]string{field: name, "text" + field: payload})
			if err != nil {
				t.Fatal(err)
			}
			payload = string(object)
		}
		fuzzFrame(t, &form, &message{home: named(name), payload: payload})
	})
}

// fuzzFrame wants a message to be one event, whatever stands around it: a
// frame that ends early or late would change its neighbours.
func fuzzFrame(t *testing.T, form *Format, m *message) {
	t.Helper()
	before, id, after := cursor{ms: 1}, cursor{1, 2, 3, 4, false}, cursor{ms: 2}
	body, nameLeft, badUTF8 := encodeBody(form, m)
	if size := form.outline(m).size; cap(body) < len(body) || size < len(body) {
		t.Errorf("a body of %d bytes was said to have %d", len(body), size)
	}
	for _, most := range []int{1, 7, 40} {
		whole, piece := []byte(nil), text{rest: m.payload, fix: badUTF8}
		o := form.outline(m)
		for whole = o.head(0); ; {
			next, more := piece.append(nil, most)
			if whole = append(whole, next...); !more {
				break
			}
		}
		if string(whole) != string(body) {
			t.Errorf("in pieces of %d bytes %q makes %q, want %q", most, m.payload, whole, body)
		}
	}
	wire := form.appendCursor(AppendRetry(nil, 2500), before)
	wire = append(appendIDLine(wire, id), body...)
	wire = form.appendGap(wire, after, gap{Channel: m.home.name, Reason: gapEvicted})

	name, wantLeft := fuzzName(form, m)
	want := []ssetest.Event{
		{ID: before.String(), Type: form.cursor, Data: "{}"},
		{ID: id.String(), Type: name, Data: fuzzText(m.payload)},
		{ID: after.String(), Type: form.gap},
	}
	p := ssetest.NewParser()
	got := p.Push(wire)
	if len(got) == len(want) {
		fuzzGap(t, got[2].Data, m.home.name)
		want[2].Data = got[2].Data
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q makes\n%q, want\n%q", wire, got, want)
	}
	if p.Retry != 2500*time.Millisecond || p.LastEventID != after.String() || len(p.Comments) > 0 {
		t.Errorf("%q changes retry to %v, the id to %q, has comments %q", wire, p.Retry, p.LastEventID, p.Comments)
	}
	if nameLeft != wantLeft || badUTF8 == utf8.ValidString(m.payload) {
		t.Errorf("%q: name left out: %v, want %v; UTF-8 replaced: %v", wire, nameLeft, wantLeft, badUTF8)
	}
}

// fuzzName returns the type under which a page gets a message, and whether
// that is for want of a name that may stand there.
func fuzzName(form *Format, m *message) (name string, left bool) {
	name = m.home.name
	switch form.event {
	case eventNone:
		return "message", false
	case eventField:
		d := json.NewDecoder(strings.NewReader(m.payload))
		d.UseNumber() // a number that is too large elsewhere in the object is no reason to leave the name out
		var object map[string]any
		if d.Decode(&object) != nil || d.More() {
			return "message", true
		}
		name, _ = object[form.field].(string)
	}
	switch {
	case name == "", len(name) > 64, strings.ContainsAny(name, "\r\n\x00"), !utf8.ValidString(name),
		slices.Contains([]string{"open", "error", form.gap, form.cursor}, name):
		return "message", true
	}
	return name, false
}

// fuzzText is a payload as the page must see it.
func fuzzText(payload string) string {
	var text strings.Builder
	for _, r := range payload {
		text.WriteRune(r) // U+FFFD for a byte that is not UTF-8
	}
	return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text.String())
}

func fuzzGap(t *testing.T, data, channel string) {
	t.Helper()
	var got gap
	if err := json.Unmarshal([]byte(data), &got); err != nil {
		t.Fatalf("data %q: %v", data, err)
	}
	if want := string([]rune(channel)); got.Channel != want || got.Reason != gapEvicted {
		t.Errorf("data = %q, want channel %q", data, want)
	}
}
