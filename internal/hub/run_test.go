package hub

import (
	"fmt"
	"math/rand"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// pack has the hub pack messages that are hardly old, one to three at a time, whatever that saves. Nothing else changes.
func (w *world) pack(seed int64) {
	w.hub.usage.packer.packing = packing{length: 1 + int(seed%3), newest: int(seed / 3 % 3), always: true}
}

// TestRandomHistoriesOfPackedMessages plays the histories with runs of one to three messages, and everything older than the newest
// few packed: so they are cut, evicted, expired, resumed and searched inside runs all the time. Nothing that
// happens may differ from what happens without, down to each id. Only limits in bytes may: what is packed takes less.
// Histories with such limits are held to the rules alone.
func TestRandomHistoriesOfPackedMessages(t *testing.T) {
	t.Parallel()
	all := histories(t, fewerIfChecked(3000))
	var unpacked [2]atomic.Int64
	play := func(t *testing.T, seed int64, boundless, packs bool) string {
		c := newChronicle(t, seed, boundless)
		if packs {
			c.pack(seed)
		}
		c.play()
		for i, n := range c.unpacked {
			unpacked[i].Add(int64(n))
		}
		return fmt.Sprintf("%s\nids %v", c.trace.text(), c.ids)
	}
	playAll(t, "with limits in bytes", all, func(t *testing.T, seed int64) { play(t, seed, false, true) })
	plain := make([]string, all.end-all.first)
	playAll(t, "not packed", all, func(t *testing.T, seed int64) { plain[seed-all.first] = play(t, seed, true, false) })
	playAll(t, "packed", all, func(t *testing.T, seed int64) {
		if packed, plain := play(t, seed, true, true), plain[seed-all.first]; packed != plain {
			t.Errorf("seed %d plays differently; packed:\n%s\nnot packed:\n%s", seed, packed, plain)
		}
	})
	channels, patterns := unpacked[0].Load(), unpacked[1].Load()
	t.Logf("streams read %d packed messages of channels, %d of patterns", channels, patterns)
	if os.Getenv("REDIS_SSE_SEED") == "" && min(channels, patterns) < all.end-all.first {
		t.Error("streams hardly read any packed messages: nothing was tested of them")
	}
}

// All that is packed is read as it was published, from any place on, through channels, patterns and both.
func TestPackedMessagesAreReadAsTheyWerePublished(t *testing.T) {
	h := budgetHub("ui:*")
	open := func(at Start, channels, patterns []string) *Stream {
		s, err := h.Open(0, channels, patterns, NewWaiter())
		if err != nil {
			t.Fatal(err)
		}
		s.Begin(at, 1)
		return s
	}
	channels := []string{"ui:a", "ui:b", "ui:c"}
	r := rand.New(rand.NewSource(1))
	var published []string
	for i := range 8 * runLength {
		form := answerForms[r.Intn(len(answerForms))]
		payload := fmt.Sprintf(form.token, fmt.Sprint(i))
		published = append(published, payload)
		h.Receive("ui:*", channels[r.Intn(2)], payload)
	}
	for range 8 * runLength {
		payload := strings.Repeat("z", r.Intn(300))
		published = append(published, payload)
		h.Receive("ui:*", channels[r.Intn(3)], payload)
	}
	for _, sources := range [][2][]string{{channels, nil}, {nil, {"ui:*"}}, {channels[:2], {"ui:*"}}} {
		all := readAll(open(FromStart(), sources[0], sources[1]))
		if len(all) != len(published) {
			t.Fatalf("%v: %d messages are read of %d", sources, len(all), len(published))
		}
		packed := 0
		for i, it := range all {
			if it.msg.payload != published[i] {
				t.Fatalf("%v: message %d is %q, want %q", sources, i, it.msg.payload, published[i])
			}
			if it.msg.cost == 0 {
				packed++
			}
			if i%50 != 0 {
				continue
			}
			rest := readAll(open(ResumeAt(it.id.String()), sources[0], sources[1]))
			if len(rest) != len(all)-i-1 || rest[0].id != all[i+1].id || rest[0].msg.payload != published[i+1] {
				t.Fatalf("%v: after %s come %d messages, the first with the id %s", sources, it.id, len(rest), rest[0].id)
			}
		}
		if least := len(published) - 3*(newestMessages+2*runLength); packed < least {
			t.Errorf("%v: %d of %d messages are packed, want %d", sources, packed, len(published), least)
		}
	}
}

func readAll(s *Stream) (all []Item) {
	for {
		b := read(s)
		all = append(all, b.Items...)
		s.Wrote(b)
		if !b.More {
			return all
		}
	}
}

// A stream may hold a message as it was before it was packed, and everybody else has it unpacked: of neither does the
// buffer keep a body.
func TestNoBodyOfAPackedMessageIsKept(t *testing.T) {
	w := newWorld(t, roomy)
	w.hub.usage.packer.packing = packing{length: 2, newest: 1, always: true}
	s := w.opened(cursor{}, "a")
	w.say("a", "1")
	w.settle()
	before := read(s)
	for _, payload := range []string{"2", "3", "4"} {
		w.say("a", payload)
	}
	w.settle()
	format := &Format{event: eventChannel, gap: "gap", cursor: "cursor"}
	for _, b := range []*Batch{before, read(s)} {
		m := b.Items[0].msg
		if m.payload != "1" || m.cost != 0 {
			t.Fatalf("%q is not packed", m.payload)
		}
		var e Encoder
		w.hub.Encode(&e, &b.Items[0], format)
		if event, _ := e.Append(nil, 1<<10); !strings.HasSuffix(string(event), "event: a\ndata: 1\n\n") {
			t.Errorf("its event is %q", event)
		}
		if m.cached(format) != nil {
			t.Error("its body is kept")
		}
	}
	w.weigh()
}

// What does not fit in a row is not packed, rather than changed.
func TestRowsAreWhatTheyWereMadeOf(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	around := func(n int64) int64 {
		return n + []int64{0, 1, -1, 1 << 15, 1<<16 - 1, 1 << 16, 1 << 32, r.Int63n(1 << 40)}[r.Intn(8)]
	}
	fits := 0
	for range 100_000 {
		first := stamp{seq: 1 << 41, ms: 1 << 41, at: 1 << 41, received: 1 << 20}
		s := stamp{uint64(around(1 << 41)), around(1 << 41), around(1 << 41), around(1 << 20), r.Uint32()}
		if r.Intn(4) == 0 {
			s.ms = 0
		}
		if row, ok := newRow(s, first); ok {
			fits++
			if got := row.stamp(first); got != s {
				t.Fatalf("%+v became %+v", s, got)
			}
		}
	}
	if fits == 0 {
		t.Error("nothing fits: nothing was tested")
	}
}

func TestWhatIsNotWorthWhileIsNotPacked(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	random := func(n int) string {
		b := make([]byte, n)
		r.Read(b)
		return string(b)
	}
	part := random(maxKept / 4)
	for _, test := range []struct {
		name    string
		payload func(i int) string
		packed  bool
	}{
		{"small and alike", func(i int) string { return fmt.Sprint("the same ", i) }, true},
		{"small and random", func(int) string { return random(20) }, true}, // a message takes more than a row
		{"random", func(int) string { return random(100) }, false},
		{"large and random", func(int) string { return random(1000) }, false},
		{"alike", func(i int) string { return part[:1000] + fmt.Sprint(i) }, true},
		{"alike, and much to read", func(i int) string { return part[:2000] + fmt.Sprint(i) }, false},
		{"one so large that streams pin it", func(i int) string {
			return map[int]string{0: part, 1: strings.Repeat(part, 5)}[i]
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := budgetHub("*")
			for i := range newestMessages + runLength {
				h.Receive("*", "a", test.payload(i))
			}
			b := h.buffers.get("a")
			if packed := b.entries.find(0).own == nil; packed != test.packed || b.entries.older != runLength {
				t.Errorf("packed is %v, %d of %d messages are old", packed, b.entries.older, b.entries.len())
			}
		})
	}
}

// TestStreamsReadWhileMessagesArePacked is for the race detector: streams begin again and again while the reader packs, and
// gives up, what they read.
func TestStreamsReadWhileMessagesArePacked(t *testing.T) {
	h := budgetHub("ui:*")
	h.usage.packer.packing = packing{length: 8, newest: 8, always: true}
	h.bound(func(b *Bounds) { b.Limits.Messages = 200 })
	done := make(chan struct{})
	var readers sync.WaitGroup
	for _, sources := range [][2][]string{{{"ui:0"}, nil}, {nil, {"ui:*"}}, {{"ui:0", "ui:1"}, {"ui:*"}}} {
		readers.Go(func() {
			for again := true; again; {
				select {
				case <-done:
					again = false // once more, of all that there is
				default:
				}
				readAnswers(t, h, sources[0], sources[1])
			}
		})
	}
	for i := range 5000 {
		h.Receive("ui:*", fmt.Sprint("ui:", i%2), fmt.Sprintf(`{"type":"text-delta","delta":"%d"}`, i/2))
	}
	close(done)
	readers.Wait()
}

// readAnswers reads what there is, from the start, of channels that count up.
func readAnswers(t *testing.T, h *Hub, channels, patterns []string) {
	s, err := h.Open(0, channels, patterns, NewWaiter())
	if err != nil {
		t.Error(err)
		return
	}
	defer h.Close(s)
	s.Begin(FromStart(), 0)
	next, f := map[string]int{}, &Format{event: eventField, field: "type", gap: "gap", cursor: "cursor"}
	for _, it := range readAll(s) {
		if it.msg == nil {
			clear(next)
			continue
		}
		var e Encoder
		h.Encode(&e, &it, f)
		event, _ := e.Append(nil, 1<<10)
		n, channel := -1, it.msg.home.name
		_, rest, _ := strings.Cut(string(event), "event: text-delta\ndata: ")
		if _, err := fmt.Sscanf(rest, `{"type":"text-delta","delta":"%d"}`, &n); err != nil || next[channel] > 0 && n != next[channel] {
			t.Errorf("%s: %q comes where %d is to: %v", channel, event, next[channel], err)
		}
		next[channel] = n + 1
	}
}
