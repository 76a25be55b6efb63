package hub

import (
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func TestWhatAWireCannotBeIsSaidWithItsOptionAndValue(t *testing.T) {
	comments := func(w Wire) Wire {
		w.Control = "comments"
		if w.GapData == "" {
			w.GapData = "x"
		}
		return w
	}
	for name, test := range map[string]struct {
		wire Wire
		want string
	}{
		"event":                   {Wire{Event: "names"}, `event is "names"`},
		"data":                    {Wire{Data: "field"}, `data is "field"`},
		"data, another word":      {Wire{Data: "path a"}, `data is "path a"`},
		"data, empty part":        {Wire{Data: "field a..b"}, `data field: path "a..b" has an empty part`},
		"control":                 {Wire{Control: "comment"}, `control is "comment"`},
		"gap_data with events":    {Wire{GapData: "{gap}"}, `gap_data is "{gap}", which only control comments has room for`},
		"names that are the same": {Wire{Gap: "x", Cursor: "x"}, `gap_event and cursor_event are both "x"`},
		"gap_event":               {Wire{Gap: "error"}, `gap_event is "error"`},
		"cursor_event":            {Wire{Cursor: "a\nb"}, `cursor_event is "a\nb"`},

		"comments without gap_data":   {Wire{Control: "comments"}, `control comments needs gap_data`},
		"comments with a cursor":      {comments(Wire{Cursor: "c"}), `cursor_event is "c"`},
		"comments, gap without event": {comments(Wire{Gap: "g", GapData: "none"}), `gap_event is "g"`},
		"comments, gap as a message":  {comments(Wire{Gap: "message"}), `gap_event is "message"`},
		"comments, gap of two lines":  {comments(Wire{Gap: "a\nb"}), `gap_event is "a\nb"`},
		"template, empty":             {comments(Wire{GapData: " \n"}), `gap_data is " \n": it is empty`},
		"template, placeholder":       {comments(Wire{GapData: "a {gap.channel}"}), `gap_data is "a {gap.channel}": of what begins with {gap`},
		"template, large":             {comments(Wire{GapData: strings.Repeat("x", maxTemplate+1)}), "16385 bytes"},

		"match of nothing":   {Wire{End: []Match{{}}}, `end wants exactly one of data, event and field`},
		"match of two":       {Wire{Begin: []Match{{Data: []string{"a"}, Field: "b"}}}, `begin wants exactly one of data, event and field`},
		"values alone":       {Wire{End: []Match{{Data: []string{"a"}, Values: []string{"b"}}}}, `end has values ["b"] without a field`},
		"match, empty part":  {Wire{End: []Match{{Field: "a."}}}, `end field: path "a." has an empty part`},
		"event without name": {Wire{End: []Match{{Event: []string{"x"}}}}, `end event ["x"] matches nothing: with event none`},
		"reserved event":     {Wire{Event: "channel", End: []Match{{Event: []string{"a", "error"}}}}, `end event "error" matches nothing`},

		"merge, too many":      {Wire{Merge: strings.Split("a b c d e f g h i", " ")}, "merge has 9 paths, at most 8"},
		"merge, empty":         {Wire{Merge: []string{""}}, "merge: the path is empty"},
		"merge what has names": {Wire{Event: "field type", Merge: []string{"type"}}, `merge "type" joins what event field takes names from`},
	} {
		if _, err := ParseFormat(test.wire); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// parsedFormat is the format of a wire that can be.
func parsedFormat(t *testing.T, w Wire) *Format {
	t.Helper()
	f, err := ParseFormat(w)
	if err != nil {
		t.Fatal(err)
	}
	return &f
}

// A body is shared by the streams of equal formats, and of no others.
func TestFormatsAreTheSameIfAllOfThemIs(t *testing.T) {
	wires := []Wire{
		{}, {Event: "channel"}, {Event: "field a"}, {Data: "field a"}, {Gap: "g"}, {Cursor: "c"}, {Merge: []string{"a"}},
		{End: []Match{{Data: []string{"a"}}}}, {End: []Match{{Data: []string{"b"}}}}, {Begin: []Match{{Data: []string{"a"}}}},
		{End: []Match{{Field: "a", Values: []string{"b"}}}}, {End: []Match{{Field: "a"}}},
		{Control: "comments", GapData: "a"}, {Control: "comments", GapData: "b"}, {Control: "comments", GapData: "none"},
	}
	for i, w := range wires {
		for j, x := range wires {
			if got := parsedFormat(t, w).same(parsedFormat(t, x)); got != (i == j) {
				t.Errorf("%+v and %+v are the same: %v", w, x, got)
			}
		}
	}
}

func TestACursorIsACommentOfOneLine(t *testing.T) {
	f := parsedFormat(t, Wire{Control: "comments", GapData: "x"})
	c := cursor{1, 2, 3, 4, false}
	if got := string(f.appendCursor([]byte("retry: 1\n"), c)); got != "retry: 1\n: "+c.String()+"\n" {
		t.Errorf("got %q", got)
	}
	if !f.Comments() || parsedFormat(t, Wire{}).Comments() {
		t.Error("Comments says otherwise")
	}
}

func TestAGapSpeaksTheClientsWords(t *testing.T) {
	g := gap{Channel: "a\nb", Reason: gapEvicted}
	id := cursor{1, 2, 3, 4, false}
	const json = `{"channel":"a\nb","reason":"evicted","after":null,"missed":null}`
	for _, test := range []struct {
		wire Wire
		want string
	}{
		{Wire{GapData: `{"type":"data-gap","data":{gap}}`}, "id: " + id.String() + "\ndata: {\"type\":\"data-gap\",\"data\":" + json + "}\n\n"},
		{Wire{GapData: `{gap.reason}{gap.reason} {}`, Gap: "error"}, "event: error\nid: " + id.String() + "\ndata: evictedevicted {}\n\n"},
		{Wire{GapData: "a\r\n\nb"}, "id: " + id.String() + "\ndata: a\ndata: \ndata: b\n\n"},
		{Wire{GapData: "none"}, ": gap " + json + "\n"},
	} {
		test.wire.Control = "comments"
		f := parsedFormat(t, test.wire)
		if got := string(f.appendGap(nil, id, g)); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.wire, got, test.want)
		}
		if f.HidesGaps() != (test.wire.GapData == "none") {
			t.Errorf("%+v: HidesGaps says otherwise", test.wire)
		}
	}
}

// Whatever the template, a gap is one event, between others that it changes nothing of.
func FuzzGapData(f *testing.F) {
	for _, text := range []string{"{gap}", "{gap.reason}", "a\n\nevent: x\nid: 9\n", "\r", "{{gap}}", "\xff", "{\"a\":{gap}}", "\x00"} {
		f.Add(text, "c")
	}
	f.Fuzz(func(t *testing.T, text, channel string) {
		form, err := ParseFormat(Wire{Control: "comments", GapData: text, Gap: "g"})
		if err != nil || form.HidesGaps() {
			return
		}
		g := gap{Channel: channel, Reason: gapTooLarge}
		id := cursor{1, 2, 3, 4, false}
		wire := form.appendGap(form.appendCursor(nil, cursor{ms: 1}), id, g)
		wire = append(form.appendCursor(wire, cursor{ms: 2}), "id: 5\ndata: next\n\n"...)
		want := strings.NewReplacer("{gap}", string(g.json()), "{gap.reason}", string(g.Reason)).Replace(text)
		if !utf8.ValidString(want) {
			want = strings.ToValidUTF8(fixed(want), "")
		}
		got := ssetest.NewParser().Push(wire)
		if len(got) != 2 || got[0].ID != id.String() || got[0].Type != "g" || got[0].Data != fuzzText(want) || got[1].Data != "next" || got[1].Type != "message" {
			t.Errorf("%q makes %+v of %q", text, got, wire)
		}
	})
}

// fixed has U+FFFD for each byte that is not UTF-8.
func fixed(s string) string {
	out, _ := appendFixed(nil, s, len(s))
	return string(out)
}

func TestMatches(t *testing.T) {
	byType := Wire{Event: "field type", Control: "comments", GapData: "x"}
	for name, test := range map[string]struct {
		match   Match
		payload string
		want    bool
	}{
		"the text":                     {Match{Data: []string{"a", "[DONE]"}}, "[DONE]", true},
		"the text and more":            {Match{Data: []string{"[DONE]"}}, "[DONE] ", false},
		"the event":                    {Match{Event: []string{"error", "stop"}}, `{"type":"error"}`, true},
		"another event":                {Match{Event: []string{"stop"}}, `{"type":"error"}`, false},
		"no event":                     {Match{Event: []string{"stop"}}, `stop`, false},
		"any value":                    {Match{Field: "a.0"}, `{"a":[null]}`, true},
		"no such path":                 {Match{Field: "a.1"}, `{"a":[null]}`, false},
		"no JSON":                      {Match{Field: "a"}, `{"a":1`, false},
		"a string":                     {Match{Field: "a", Values: []string{"x", "ü"}}, `{"a":"\u00fc"}`, true},
		"a number":                     {Match{Field: "a", Values: []string{"1.50"}}, `{"a": 1.50 }`, true},
		"the same number":              {Match{Field: "a", Values: []string{"1.5"}}, `{"a":1.50}`, false},
		"true":                         {Match{Field: "a", Values: []string{"true"}}, `{"a":true}`, true},
		"null":                         {Match{Field: "a", Values: []string{"null"}}, `{"a":null}`, true},
		"an object is none of values":  {Match{Field: "a", Values: []string{"{}"}}, `{"a":{}}`, false},
		"an array is none of values":   {Match{Field: "a", Values: []string{"[]"}}, `{"a":[]}`, false},
		"an object is there, however":  {Match{Field: "a"}, `{"a":{}}`, true},
		"a name that looks like a key": {Match{Field: "type", Values: []string{"a"}}, `{"x":{"type":"a"}}`, false},
	} {
		wire := byType
		wire.End, wire.Begin = []Match{{Data: []string{"never"}}, test.match}, []Match{test.match}
		f := parsedFormat(t, wire)
		m := &message{home: named("c"), payload: test.payload}
		if got := f.verdictOf(m); got != (verdict{test.want, test.want}) {
			t.Errorf("%s: %+v, want %v", name, got, test.want)
		}
	}
	if f := parsedFormat(t, Wire{}); f.HasEnd() || f.HasBegin() || f.Merges() || f.verdictOf(&message{payload: "x"}) != (verdict{}) {
		t.Error("a format without rules has some")
	}
}

func TestDataIsAValueOfThePayload(t *testing.T) {
	f := parsedFormat(t, Wire{Data: "field data"})
	for payload, want := range map[string]string{
		`{"data":"a\nb"}`:          "data: a\ndata: b\n\n",
		`{"data": {"a": [1, 2]} }`: "data: {\"a\": [1, 2]}\n\n",
		`{"data":null}`:            "data: null\n\n",
		`{"date":1}`:               "data: {\"date\":1}\n\n",
		`no JSON`:                  "data: no JSON\n\n",
	} {
		o := f.outline(&message{home: named("c"), payload: payload})
		if got := string(o.body()); got != want || o.DataLeft != !strings.Contains(payload, `"data"`) {
			t.Errorf("%s: got %q, left: %v; want %q", payload, got, o.DataLeft, want)
		}
	}
	for _, size := range []int{10, maxKept, 3 * maxKept} { // shared bodies, and those that each stream makes
		w := newWorld(t, roomy)
		s := w.opened(cursor{}, "a")
		s.Wrote(read(s))
		text := strings.Repeat("ü", size/2)
		w.bring(`{"data":"` + text + `"}`)
		b := read(s)
		if got := string(wireOf(w.hub, &b.Items[0], f)); !strings.HasSuffix(got, "\ndata: "+text+"\n\n") {
			t.Errorf("of %d bytes: got %.100q", size, got)
		}
		b.Forget()
	}
}

func TestNamesOfPaths(t *testing.T) {
	f := parsedFormat(t, Wire{Event: "field a.b", Control: "comments", GapData: "x", Gap: "gone"})
	for payload, want := range map[string]string{
		`{"a":{"b":"deep"}}`:             "deep",
		`{"a.b":"whole","a":{"b":"no"}}`: "whole",
		`{"a":{"b":"error"}}`:            "error",
		`{"a":{"b":"gone"}}`:             "gone",
		`{"a":{"b":1}}`:                  "",
		`{"a":{"b":""}}`:                 "",
	} {
		name, left := f.eventName("c", &parsed{payload: payload})
		if name != want || left != (want == "") {
			t.Errorf("%s: %q, left: %v; want %q", payload, name, left, want)
		}
	}
}

// What is no message's event is as one.
func TestWordsAreWhatAMessageWouldBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newEvicting(t).open([]string{"c"}, nil)
		for _, test := range []struct {
			wire          Wire
			payload, want string
		}{
			{Wire{}, "over", "data: over\n\n"},
			{Wire{Event: "channel"}, "a\nb", "event: c\ndata: a\ndata: b\n\n"},
			{
				Wire{Event: "field event", Data: "field data", Control: "comments", GapData: "x"},
				`{"event":"error","data":{"a":1}}`, "event: error\ndata: {\"a\":1}\n\n",
			},
		} {
			if got := string(s.AppendWords(nil, parsedFormat(t, test.wire), test.payload)); got != test.want {
				t.Errorf("%+v: got %q, want %q", test.wire, got, test.want)
			}
		}
	})
}
