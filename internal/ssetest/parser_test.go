package ssetest

import (
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// sample has every line ending, a byte order mark, characters of two, three and four bytes, invalid bytes, comments, an id
// without data, and an event that is never completed.
const sample = "\uFEFF: hello\r\nretry: 1500\r\rid: 1\r\ndata: é\rdata:  € \n\n" +
	"event: gap\ndata: 😀\xF0\x9F\r\n\r\nid: 2\n\n:\ndata\n\nid: 3\ndata: lost"

var parserTests = []struct {
	name     string
	in       string
	want     []Event
	lastID   string
	retry    time.Duration // 0 for unset
	comments []string
}{
	{name: "nothing"},
	// The examples of the standard.
	{
		name: "standard: messages of one and two lines",
		in: "data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\n" +
			"data: This is the third message.\n\n",
		want: []Event{
			{Type: "message", Data: "This is the first message."},
			{Type: "message", Data: "This is the second message, it\nhas two lines."},
			{Type: "message", Data: "This is the third message."},
		},
	},
	{
		name: "standard: types",
		in:   "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
		want: []Event{{Type: "add", Data: "73857293"}, {Type: "remove", Data: "2153"}, {Type: "add", Data: "113411"}},
	},
	{
		name: "standard: stock ticker",
		in:   "data: YHOO\ndata: +2\ndata: 10\n\n",
		want: []Event{{Type: "message", Data: "YHOO\n+2\n10"}},
	},
	{
		name: "standard: four blocks",
		in:   ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
		want: []Event{
			{ID: "1", Type: "message", Data: "first event"},
			{Type: "message", Data: "second event"},
			{Type: "message", Data: " third event"},
		},
		comments: []string{" test stream"},
	},
	{
		name: "standard: empty data, and a block without its blank line",
		in:   "data\n\ndata\ndata\n\ndata:",
		want: []Event{{Type: "message", Data: ""}, {Type: "message", Data: "\n"}},
	},
	{
		name: "standard: the space after the colon",
		in:   "data:test\n\ndata: test\n\n",
		want: []Event{{Type: "message", Data: "test"}, {Type: "message", Data: "test"}},
	},
	// Its rules.
	{
		name: "line endings",
		in:   "data: a\r\n\r\ndata: b\r\rdata: c\n\ndata: d\n\r\n",
		want: []Event{
			{Type: "message", Data: "a"}, {Type: "message", Data: "b"}, {Type: "message", Data: "c"}, {Type: "message", Data: "d"},
		},
	},
	{
		name: "a last CR needs no LF",
		in:   "data: a\r\n\r",
		want: []Event{{Type: "message", Data: "a"}},
	},
	{
		name: "one byte order mark",
		in:   "\uFEFFdata: a\n\n\uFEFFdata: b\n\n",
		want: []Event{{Type: "message", Data: "a"}},
	},
	{name: "two byte order marks", in: "\uFEFF\uFEFFdata: a\n\n"},
	{
		name:   "no data: no event, the type is forgotten, the id is not",
		in:     "event: a\nid: 1\n\ndata: b\n\n",
		want:   []Event{{ID: "1", Type: "message", Data: "b"}},
		lastID: "1",
	},
	{name: "the id counts from the blank line", in: "id: 1\n\nid: 2\n", lastID: "1"},
	{
		name: "the id stays, and an empty one clears it",
		in:   "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
		want: []Event{
			{ID: "1", Type: "message", Data: "a"}, {ID: "1", Type: "message", Data: "b"}, {Type: "message", Data: "c"},
		},
	},
	{
		name:   "an id with NUL is ignored",
		in:     "id: 1\nid: 2\x003\ndata: a\n\n",
		want:   []Event{{ID: "1", Type: "message", Data: "a"}},
		lastID: "1",
	},
	{
		name: "an empty type is message",
		in:   "event: a\nevent:\ndata: x\n\n",
		want: []Event{{Type: "message", Data: "x"}},
	},
	{
		name: "fields of other names, cases and spaces are ignored",
		in:   "Data: a\ndata : b\n data: c\ndatax: d\n\ndata: e\n\n",
		want: []Event{{Type: "message", Data: "e"}},
	},
	{
		name: "only the first colon and one space count",
		in:   "data:  a: b \n\n",
		want: []Event{{Type: "message", Data: " a: b "}},
	},
	{name: "retry", in: "retry: 1\nretry: 0250\n", retry: 250 * time.Millisecond},
	{name: "retry: digits only", in: "retry: 7\nretry: -1\nretry: 1.5\nretry:  2\nretry: ٣\nretry:\nretry: 2s\n", retry: 7 * time.Millisecond},
	{name: "retry: beyond a Duration", in: "retry: 99999999999999999999\n", retry: math.MaxInt64},
	{name: "retry: just beyond a Duration", in: "retry: 9223372036855\n", retry: math.MaxInt64},
	{
		name:     "comments inside an event",
		in:       "data: a\n: one\n:two\n:\ndata: b\n\n",
		want:     []Event{{Type: "message", Data: "a\nb"}},
		comments: []string{" one", "two", ""},
	},
	{
		name: "invalid UTF-8",
		in:   "data: \xFFa\xE2\x82\ndata: \xC3\n\n",
		want: []Event{{Type: "message", Data: "\uFFFDa\uFFFD\n\uFFFD"}},
	},
	{
		name: "the sample",
		in:   sample,
		want: []Event{
			{ID: "1", Type: "message", Data: "é\n € "}, {ID: "1", Type: "gap", Data: "😀\uFFFD"}, {ID: "2", Type: "message"},
		},
		lastID: "2", retry: 1500 * time.Millisecond, comments: []string{" hello", ""},
	},
}

func TestParser(t *testing.T) {
	for _, test := range parserTests {
		t.Run(test.name, func(t *testing.T) {
			want := result{test.want, test.lastID, test.retry, test.comments}
			if want.Retry == 0 {
				want.Retry = -1
			}
			mustEqual(t, parse(test.in), want)
			mustEqual(t, reference(test.in), want)
		})
	}
}

func TestParserAtEveryCut(t *testing.T) {
	want := parse(sample)
	for i := range len(sample) + 1 {
		for j := i; j <= len(sample); j++ {
			mustEqual(t, parse(sample[:i], sample[i:j], sample[j:]), want)
		}
	}
}

func TestParserDispatchesAtOnce(t *testing.T) {
	for _, in := range []string{"data: a\n\n", "data: a\r\r", "data: a\r\n\r"} {
		p := NewParser()
		for i := range len(in) - 1 {
			if got := p.Push([]byte{in[i]}); len(got) != 0 {
				t.Errorf("%q: an event after %d bytes", in, i+1)
			}
		}
		if got := p.Push([]byte{in[len(in)-1]}); len(got) != 1 {
			t.Errorf("%q: %d events at its end", in, len(got))
		}
	}
}

func TestParserManyLines(t *testing.T) {
	const lines = 1 << 18 // seconds, were the data copied for each line
	got := parse(strings.Repeat("data\n", lines) + "\n")
	if len(got.Events) != 1 || len(got.Events[0].Data) != lines-1 {
		t.Errorf("%d events", len(got.Events))
	}
}

func TestDecodeUTF8(t *testing.T) {
	for in, want := range map[string]string{
		"plain é € 😀":       "plain é € 😀",
		"\xC0\xAF":          "\uFFFD\uFFFD",             // overlong: no part is a beginning
		"\xE0\x80\x80":      "\uFFFD\uFFFD\uFFFD",       // overlong
		"\xED\xA0\x80":      "\uFFFD\uFFFD\uFFFD",       // surrogate
		"\xF4\x90\x80\x80":  "\uFFFD\uFFFD\uFFFD\uFFFD", // beyond Unicode
		"\xF0\x9F\x98":      "\uFFFD",                   // truncated: one beginning
		"\xF0\x9F\x98\xE2A": "\uFFFD\uFFFDA",
		"\xF5\x80":          "\uFFFD\uFFFD",
		"\uFFFD\x80":        "\uFFFD\uFFFD",
		// The example of the Unicode standard, table 3-11.
		"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64": "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd",
	} {
		if got := decodeUTF8([]byte(in)); got != want {
			t.Errorf("%q decodes to %q, want %q", in, got, want)
		}
	}
}

func FuzzParser(f *testing.F) {
	for _, test := range parserTests {
		f.Add(test.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		whole := parse(in)
		mustEqual(t, parse(strings.Split(in, "")...), whole) // by character
		var single []string
		for i := range len(in) {
			single = append(single, in[i:i+1])
		}
		mustEqual(t, parse(single...), whole)
		mustEqual(t, reference(in), whole)
	})
}

// result is all that a parser tells of a stream.
type result struct {
	Events      []Event
	LastEventID string
	Retry       time.Duration
	Comments    []string
}

func parse(pieces ...string) result {
	p := NewParser()
	var events []Event
	for _, piece := range pieces {
		events = append(events, p.Push([]byte(piece))...)
	}
	return result{events, p.LastEventID, p.Retry, p.Comments}
}

func mustEqual(t *testing.T, got, want result) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+q\nwant %+q", got, want)
	}
}

var (
	lineEnd     = regexp.MustCompile("\r\n|\n|\r")
	asciiDigits = regexp.MustCompile(`\A[0-9]+\z`)
)

// reference interprets a whole stream the slow and obvious way: all is decoded first, then cut into lines.
func reference(in string) result {
	r := result{Retry: -1}
	text := strings.TrimPrefix(decodeUTF8([]byte(in)), "\uFEFF")
	lines := lineEnd.Split(text, -1)
	var data []string
	var eventType, id string
	for _, line := range lines[:len(lines)-1] {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			r.LastEventID = id
			if eventType == "" {
				eventType = "message"
			}
			if data != nil {
				r.Events = append(r.Events, Event{id, eventType, strings.Join(data, "\n")})
			}
			data, eventType = nil, ""
		case line[0] == ':':
			r.Comments = append(r.Comments, line[1:])
		case name == "data":
			data = append(data, value)
		case name == "event":
			eventType = value
		case name == "id" && !strings.ContainsRune(value, 0):
			id = value
		case name == "retry" && asciiDigits.MatchString(value):
			r.Retry, _ = parseRetry(value)
		}
	}
	return r
}
