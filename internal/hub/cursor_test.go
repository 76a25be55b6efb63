package hub

import (
	"math"
	"net/url"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

var evtCursors = []struct {
	name   string
	cursor cursor
	text   string
}{
	{"no place", cursor{}, "AAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	{"all set", cursor{ms: 1700000000123, seq: 42, epoch: 0xdeadbeef, anchor: 0xcafe}, "AYvP5Wh7AAAAAAAqAN6tvu8AAMr-"},
	{"time unknown", cursor{seq: 7, epoch: 1}, "AAAAAAAAAAAAAAAHAAAAAAEAAAAA"},
	{"ended", cursor{ms: 1, seq: 1, epoch: 1, anchor: 1, ended: true}, "EAAAAAABAAAAAAABAAAAAAEAAAAB"},
	{"largest", cursor{1<<44 - 1, 1<<48 - 1, 1<<40 - 1, math.MaxUint32, true}, "H___________________________"},
}

// placeOf is a cursor as tests write and read it.
func placeOf(c cursor) ssetest.Place {
	return ssetest.Place{MS: c.ms, Seq: c.seq, Epoch: c.epoch, Anchor: c.anchor, Ended: c.ended}
}

func cursorOf(p ssetest.Place) cursor { return cursor{p.MS, p.Seq, p.Epoch, p.Anchor, p.Ended} }

func TestCursorRoundTrip(t *testing.T) {
	for _, test := range evtCursors {
		t.Run(test.name, func(t *testing.T) {
			if got := test.cursor.String(); got != test.text {
				t.Errorf("String() = %q, want %q", got, test.text)
			}
			if got, ok := parseCursor(test.text); !ok || got != test.cursor {
				t.Errorf("parseCursor(%q) = %+v, %v, want %+v", test.text, got, ok, test.cursor)
			}
			if got, ok := ssetest.PlaceOf(test.text); !ok || cursorOf(got) != test.cursor {
				t.Errorf("a plain reader makes %v, %v of %q, want %+v", got, ok, test.text, test.cursor)
			}
		})
	}
}

// evtNoCursors are no ids, some of them almost.
var evtNoCursors = map[string]string{
	"empty":                      "",
	"a word":                     "hello",
	"a number":                   "17",
	"what LangGraph begins with": "-1",
	"a Redis stream's id":        "1700000000123-0",
	"a UUID":                     "01890a5d-ac96-774b-bcce-b302099a8057",
	"one too short":              "AAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"one too long":               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"four too long":              "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"padded":                     "AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	"padded twice":               "AAAAAAAAAAAAAAAAAAAAAAAAAA==",
	"plus":                       "AAAAAAAAAAAAA+AAAAAAAAAAAAAA",
	"slash":                      "AAAAAAAAAAAAA/AAAAAAAAAAAAAA",
	"dot":                        "AAAAAAAAAAAAA.AAAAAAAAAAAAAA",
	"space inside":               "AAAAAAAAAAAAA AAAAAAAAAAAAAA",
	"leading space":              " AAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"trailing space":             "AAAAAAAAAAAAAAAAAAAAAAAAAAA ",
	"LF behind":                  "AAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
	"LF as the last":             "AAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
	"CR LF inside":               "AAAAAAAAAAAAA\r\nAAAAAAAAAAAAA",
	"line ends for four":         "AAAAAAAAAAAA\n\n\n\nAAAAAAAAAAAA",
	"NUL":                        "AAAAAAAAAAAAAAAAAAAAAAAAAAA\x00",
	"letters of two bytes":       "ÄÄÄÄÄÄÄÄÄÄÄÄÄÄ",
	"the next kind":              "IAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"the last kind":              "_AAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"5,000 letters":              strings.Repeat("A", 5000),

	// What ids were at first, which a browser may have kept.
	"the first form":               "1795771533333-277960878541095-abd60f614d38bf02-2c26b46b",
	"the first form of an end":     "1795771533333-277960878541095-abd60f614d38bf02-2c26b46b-e",
	"the first form, without time": "0-277960878541095-abd60f614d38bf02-0",
	"the first form, of 28 bytes":  "1795771533333-27796-abd60f-0",
}

func TestParseCursorIsStrict(t *testing.T) {
	for name, text := range evtNoCursors {
		t.Run(name, func(t *testing.T) {
			if got, ok := parseCursor(text); ok || got != (cursor{}) {
				t.Errorf("parseCursor(%.80q) = %+v, %v, want it rejected", text, got, ok)
			}
		})
	}
}

// Two texts never mean one place: whatever one character is changed to, the id is none or of another place.
func TestEachCharacterOfAnIDCounts(t *testing.T) {
	for _, test := range evtCursors {
		for at := range len(test.text) {
			for c := range 256 {
				changed := test.text[:at] + string([]byte{byte(c)}) + test.text[at+1:]
				if got, ok := parseCursor(changed); changed != test.text && ok && (got == test.cursor || got.String() != changed) {
					t.Errorf("%q is read as %+v, as is %q", changed, got, test.text)
				}
			}
		}
	}
}

// What begins in another way is of a kind that there is not yet, or never will be.
func TestAnIDSaysWhatKindItIs(t *testing.T) {
	for c := range 256 {
		id := string([]byte{byte(c)}) + strings.Repeat("A", 27)
		if _, ok := parseCursor(id); ok != ('A' <= c && c <= 'H') {
			t.Errorf("%q is an id: %v", id, ok)
		}
	}
}

// The longest id that there can be goes with each event to each client, in headers and in queries, which are escaped by who writes them.
func TestIDsAreShortAndNeedNoEscaping(t *testing.T) {
	const most = 30
	for _, c := range []cursor{
		{}, {ended: true}, {math.MaxInt64, math.MaxUint64, math.MaxUint64, math.MaxUint32, true}, {ms: math.MinInt64}, {ms: -1},
		{ms: 1795771533333, seq: 277960878541095, epoch: 0xabd60f614d, anchor: 0x2c26b46b, ended: true},
	} {
		id := c.String()
		if len(id) > most || len(id) != idLength {
			t.Errorf("the id %q has %d bytes, at most %d are allowed, and all have %d", id, len(id), most, idLength)
		}
		if url.QueryEscape(id) != id || url.PathEscape(id) != id || strings.Trim(id, idCharacters) != "" || id[0] == '-' {
			t.Errorf("the id %q is not what may stand in a header, a query and a command line as it is", id)
		}
	}
}

const idCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func TestAHubCountsWhereIDsHaveRoom(t *testing.T) {
	firsts, epochs := uint64(0), uint64(0)
	for range 200 {
		h := New(Bounds{Limits: roomy}, func(int) {})
		if h.first >= 1<<47 || h.epoch >= 1<<40 {
			t.Fatalf("a hub counts from %d in epoch %x, which leaves too little of an id", h.first, h.epoch)
		}
		firsts, epochs = firsts|h.first, epochs|h.epoch
	}
	// All that there is room for is made use of. That a bit is 0 in each of 200 hubs happens once in 10^60.
	if firsts != 1<<47-1 || epochs != 1<<40-1 {
		t.Errorf("hubs count from numbers of the bits %x, in epochs of %x", firsts, epochs)
	}
}

// What a hub counts beyond the room in ids, after years, is sent again rather than lost: whatever the id, a client gets all behind it.
func TestAClientLosesNothingWhereIDsHaveNoMoreRoom(t *testing.T) {
	w := newWorld(t, roomy)
	w.hub.countFrom(1<<48 - 4)
	s := w.opened(cursor{}, "a")
	s.Wrote(read(s))
	for range 6 {
		w.hub.Receive("", "a", "x")
	}
	b := read(s)
	if last := b.Items[len(b.Items)-1]; len(b.Items) != 6 || last.id.seq <= 1<<48 {
		t.Fatalf("%d messages, up to %d: it is not the case that was meant", len(b.Items), last.id.seq)
	}
	for i, it := range b.Items {
		back, err := w.hub.Open(0, []string{"a"}, nil, NewWaiter())
		if err != nil {
			t.Fatal(err)
		}
		if begins := back.Begin(ResumeAt(it.id.String()), w.hub.Clock.Now()); begins != BeginsExactly {
			t.Errorf("who has %d messages begins %s", i+1, begins)
		}
		got := read(back).Items
		if missing := b.Items[i+1:]; len(got) < len(missing) {
			t.Errorf("who has %d messages of 6 gets %d", i+1, len(got))
		}
		w.hub.Close(back)
	}
}
