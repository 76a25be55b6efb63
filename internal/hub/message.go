package hub

import (
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// message is one Redis message.
type message struct {
	// Never changed once the message is appended.
	home     *buffer // of its channel
	payload  string
	seq      uint64
	ms       int64         // the hub's low-water time when it was appended
	at       int64         // receipt, Redis's clock, Unix milliseconds; never decreases with seq
	received int64         // receipt, monotonic milliseconds; ages the message
	anchor   uint32        // hash of the channel and its last payloads, this one included; 0: not all of them are known
	lines    atomic.Uint32 // what isOneLine has found

	// Stored under the buffer's mu; frames is loaded without.
	cost   int64 // counted bytes, with those of frames; 0: the buffer does not hold this one, as of a message that is packed
	frames atomic.Pointer[frame]
}

// frame is a message's body in one format. The first stream that needs the body
// makes it, all others share it. Never changed once others can see it.
type frame struct {
	format   *Format
	body     []byte
	next     *frame
	headOnly bool // body is all but the data, which each stream makes for itself
	oneLine  bool // so made: the data is the payload as it is, in one line
	badUTF8  bool // so made: the data has bytes that are not UTF-8
	verdict
}

// asItIs is the frame of a message that is a plain format's, and one line: there is nothing
// to keep beside the payload.
var asItIs = frame{headOnly: true, oneLine: true}

// made is what making a body came to. It is zero if the body was there already.
type made struct {
	size int64 // counted bytes that the buffer keeps now; 0: nothing is kept
	Notes
}

// frame returns m's body in format f. It makes the body on first use, and keeps it
// for other streams if there is room. If there is none, or the body is large or
// has the payload as it is, the frame has the head only.
func (b *buffer) frame(m *message, f *Format, lim Limits) (*frame, made) {
	if f.isPlain() && m.isOneLine() {
		return &asItIs, made{}
	}
	if fr := m.cached(f); fr != nil {
		return fr, made{}
	}
	o := f.outline(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.check()
	if theirs := m.cached(f); theirs != nil {
		return theirs, made{} // another stream was faster: its body is the one to share
	}
	fr := &frame{format: f, headOnly: o.oneLine || o.size > maxKept, oneLine: o.oneLine, badUTF8: o.BadUTF8, verdict: o.verdict}
	room := o.size
	if fr.headOnly {
		room = len("event: \n") + len(o.name)
	}
	size := frameCost + int64(room)
	kept := b.makeRoom(m, size, lim)
	if fr.headOnly = fr.headOnly || !kept; fr.headOnly {
		fr.body = o.head(0)
	} else {
		fr.body = o.body()
	}
	if !kept {
		return fr, made{0, o.Notes}
	}
	m.cost += size
	b.hold(0, size)
	fr.next = m.frames.Load()
	m.frames.Store(fr)
	return fr, made{size, o.Notes}
}

// cached returns m's frame in format f, nil if none is kept.
func (m *message) cached(f *Format) *frame {
	for p := m.frames.Load(); p != nil; p = p.next {
		if p.format.same(f) {
			return p
		}
	}
	return nil
}

// makeRoom reports whether size more bytes may be kept with m:
//
//	m is evicted already         no
//	m is packed                  no: old messages are not read so often
//	there is room                yes
//	m is of the newest eighth    yes: many streams are about to read m; older
//	                             messages go, never m and what came after it
//	m is older                   no: a replay of a full buffer would evict, message
//	                             by message, what the next client comes back for
//
// (So the newest message alone may be over the limit with its frames.)
func (b *buffer) makeRoom(m *message, size int64, lim Limits) bool {
	if m.cost == 0 || m.seq <= b.floor.seq {
		return false
	}
	last := b.entries.len() - 1
	if b.bytes+size > lim.Bytes && m.seq < b.entries.seq(last-last/8) {
		return false
	}
	for b.bytes+size > lim.Bytes && b.entries.seq(0) != m.seq {
		b.drop(CauseChannelSize)
	}
	return true
}

// What isOneLine has found.
const (
	linesUnknown = iota // nobody has asked
	linesOne
	linesOther
)

// isOneLine reports whether the payload is one line of UTF-8, and so stands in an event as it is. Whoever asks first looks.
func (m *message) isOneLine() bool {
	found := m.lines.Load()
	if found == linesUnknown {
		found = linesOther
		if strings.IndexByte(m.payload, '\n') < 0 && strings.IndexByte(m.payload, '\r') < 0 && utf8.ValidString(m.payload) {
			found = linesOne
		}
		m.lines.Store(found)
	}
	return found == linesOne
}
