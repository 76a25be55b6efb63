package hub

import (
	"math"
	"strings"
	"testing"
)

// wireOf returns all bytes of an item.
func wireOf(h *Hub, it *Item, f *Format) []byte {
	var e Encoder
	h.Encode(&e, it, f)
	out, _ := e.Append(nil, math.MaxInt)
	return out
}

// A stream that stalls holds a piece of an event, whatever its payload is.
func TestNoPieceOfAnEventIsLarge(t *testing.T) {
	const most = 4096
	for name, payload := range map[string]string{
		"small":          strings.Repeat("x", 100),
		"right below":    strings.Repeat("x", maxKept-8),
		"one line":       strings.Repeat("x", 1<<20),
		"a line, and on": strings.Repeat("x", most+most/2),
		"line ends":      strings.Repeat("\n", 1<<18),
		"CR LF":          strings.Repeat("\r\n", 1<<18),
		"not UTF-8":      strings.Repeat("\xff", 1<<18),
		"broken runes":   strings.Repeat("ü\xe2\x82", 1<<16),
		"three bytes":    strings.Repeat("€", 1<<18),
		"long lines, CR": strings.Repeat(strings.Repeat("x", 100)+"\r", 1<<12),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, roomy)
			s := w.opened(cursor{}, "a")
			s.Wrote(read(s))
			w.hub.Receive("", "a", payload)
			b := read(s)
			defer b.Forget()
			body, _, _ := encodeBody(&evtPlain, b.Items[0].msg)
			want := string(appendIDLine(nil, b.Items[0].id)) + string(body)

			var e Encoder
			badUTF8 := w.hub.Encode(&e, &b.Items[0], &evtPlain).BadUTF8
			out, got := []byte("x"), []byte(nil)
			for more := true; more; out = out[:0] {
				if out, more = e.Append(out, most); len(out) > most+idLength+len("id: \n") {
					t.Fatalf("a piece has %d bytes, %d were asked for", len(out), most)
				}
				got = append(got, out...)
			}
			if got := strings.TrimPrefix(string(got), "x"); got != want {
				t.Errorf("the pieces make %d bytes, want %d: %.200q, want %.200q", len(got), len(want), got, want)
			}
			if badUTF8 != strings.Contains(want, "\uFFFD") {
				t.Errorf("UTF-8 replaced: %v", badUTF8)
			}
			if kept := b.Items[0].msg.cost - messageCost - int64(len(payload)); kept > frameCost+maxKept {
				t.Errorf("%d bytes are kept of a body of %d", kept, len(body))
			}
			w.weigh()
		})
	}
}

// Streams that are slow, each in the middle of another message that the buffer has given up, hold a part of the budget at most.
func TestMessagesThatOnlyStreamsHoldAreCounted(t *testing.T) {
	const size = 100 << 10
	w := newWorld(t, Limits{Messages: 2, Bytes: 1 << 40})
	budget := roomyBudget
	budget.Bytes = pinShare * 2 * (size + messageCost)
	w.hub.bound(func(b *Bounds) { b.Budget = budget })
	holds := func() int64 { return w.hub.usage.bytes.Load() - channelCost("a") }
	var batches [5]Batch
	var events [5]Encoder
	streams := []*Stream{}
	for range batches {
		streams = append(streams, w.opened(cursor{}, "a"))
	}
	for i, s := range streams {
		s.Wrote(read(s))
		w.hub.Receive("", "a", strings.Repeat("x", size))
		s.Read(&batches[i])
		w.hub.Encode(&events[i], &batches[i].Items[0], &evtPlain)
		events[i].Append(nil, 1000)
		for _, other := range streams[i+1:] {
			b := read(other)
			b.Forget()
			other.Wrote(b)
		}
	}
	// The newest two are the buffer's, which only frames are kept of.
	if n := holds() - holdsOf(w, "a"); n != 3*(size+messageCost) {
		t.Errorf("%d bytes are counted of what only streams hold, want three messages", n)
	}
	for i := range events {
		if got, want := events[i].Overtaken(), i < 3; got != want {
			t.Errorf("stream %d is overtaken: %v", i, got)
		}
	}
	batches[0].Forget() // its client has gone
	for i := range events[1:] {
		if events[1+i].Overtaken() {
			t.Errorf("stream %d is overtaken, though there is room for two", 1+i)
		}
	}
	for i, s := range streams {
		batches[i].Forget()
		w.hub.Close(s)
	}
	if n := len(w.hub.usage.pins.all); n != 0 {
		t.Errorf("%d messages are held by nobody", n)
	}
	w.weigh()
}

// The same of a buffer that is given up whole.
func TestMessagesOfADroppedBufferAreCounted(t *testing.T) {
	w := newWorld(t, roomy)
	s := w.opening(nil, []string{"*"})
	w.settle()
	w.publish("a", 100<<10)
	var b Batch
	s.Read(&b)
	before := w.hub.usage.bytes.Load()
	w.hub.mu.Lock()
	w.hub.dropQuietestLocked()
	w.hub.mu.Unlock()
	if n := before - w.hub.usage.bytes.Load(); n > 1<<10 {
		t.Errorf("%d bytes fewer are counted, though a stream holds the message", n)
	}
	b.Forget()
	w.weigh()
}

// holdsOf returns the counted bytes of a channel's messages.
func holdsOf(w *world, channel string) (bytes int64) {
	b := w.hub.buffers.get(channel)
	for i := range b.entries.len() {
		bytes += b.entries.at(i).cost
	}
	return bytes
}
