package hub

import (
	"encoding/base64"
	"encoding/binary"
)

// cursor is a place in a hub's buffers. Its text form is the event id. The zero value
// means "no place".
type cursor struct {
	ms     int64  // low-water time, Redis's clock, Unix milliseconds; 0: unknown
	seq    uint64 // everything of the stream up to seq has been written
	epoch  uint64 // which life of which hub counted seq: epochBits of it
	anchor uint32 // identifies the newest message before the cursor; 0: none
	ended  bool   // that message ended an answer. Of ids alone: a stream's cursor says nothing of it
}

// An event id is so many bits, in this order, the highest of each first, as base64 for URLs (RFC 4648, 5): letters, digits, - and _,
// which a header, a query and an event may all have as they are. They fill 28 characters to the last bit, so that each id means another place.
const (
	// kindBits say what the other bits are, so that an id of a kind that this gateway does not know, as of a newer one
	// beside it, is never taken for a place. kindPlace is this kind; 1 to 5 are free. 6 and 7 never become one: they begin
	// with w to z, a digit, - or _, as does much that is no id, and what ids were at first, <ms>-<seq>-<epoch>-<anchor>.
	kindBits  = 3
	kindPlace = 0

	endedBits = 1

	// msBits last until the year 2527.
	msBits = 44

	// seqBits are for what a hub counts in one life, from a start below 2^firstBits: 4 years of a million messages a
	// second at the least. See appendTo for what happens then.
	seqBits   = 48
	firstBits = seqBits - 1

	// epochBits have two lives of hubs share an epoch once in 10^12. An id of the one misleads the other only if it has
	// counted the id's seq as well: otherwise that is of the future or below all floors, and a gap. Of hubs that have had 10^9 messages
	// one in 10^5 has. So where 1,000 clients a second come to another life than that of their id, for ten years, the
	// chance that one of them is misled is 2 in 10^6.
	epochBits = 40

	anchorBits = 32

	idBytes  = (kindBits + endedBits + msBits + seqBits + epochBits + anchorBits) / 8
	idLength = idBytes * 8 / 6
)

const (
	maxMS  = 1<<msBits - 1
	maxSeq = 1<<seqBits - 1
)

// appendTo appends the id. A time or seq that has no room in it becomes the largest that has: the client then claims to have less
// than it has. So what it misses is still sent or told when it comes back, but it may get messages again.
func (c cursor) appendTo(dst []byte) []byte {
	first := uint64(kindPlace)<<endedBits | bit(c.ended)
	var b [idBytes]byte // each PutUint64 but the last writes two bytes too many, which the next one overwrites
	binary.BigEndian.PutUint64(b[0:], (first<<msBits|uint64(min(max(c.ms, 0), maxMS)))<<16)
	binary.BigEndian.PutUint64(b[6:], min(c.seq, maxSeq)<<16)
	binary.BigEndian.PutUint64(b[12:], c.epoch<<24|uint64(c.anchor>>8))
	b[20] = byte(c.anchor)
	return base64.RawURLEncoding.AppendEncode(dst, b[:])
}

func bit(set bool) uint64 {
	if set {
		return 1
	}
	return 0
}

func (c cursor) String() string { return string(c.appendTo(make([]byte, 0, idLength))) }

// parseCursor reads an event id. It accepts exactly what String makes, so
// that two texts never mean one place, and looks at nothing of another length.
func parseCursor(s string) (cursor, bool) {
	if len(s) != idLength {
		return cursor{}, false
	}
	var b [idBytes]byte
	// A decoder that skips line ends, as this one does, then has too few bytes.
	if n, err := base64.RawURLEncoding.Decode(b[:], []byte(s)); err != nil || n != idBytes {
		return cursor{}, false
	}
	first, last := binary.BigEndian.Uint64(b[0:]), binary.BigEndian.Uint64(b[12:])
	if first>>(64-kindBits) != kindPlace {
		return cursor{}, false
	}
	return cursor{
		ms:     int64(first >> 16 & maxMS),
		seq:    binary.BigEndian.Uint64(b[6:]) >> 16,
		epoch:  last >> 24,
		anchor: uint32(last<<8) | uint32(b[20]),
		ended:  first>>(16+msBits)&1 == 1,
	}, true
}

// ID is what an event id says, for people: to clients ids are opaque.
type ID struct {
	Time   int64  // all that was published before it had been read: Redis's clock, Unix milliseconds; 0: unknown
	Seq    uint64 // counts what the hub read, from a random start
	Life   uint64 // random, of the hub's life in one process: Seq means something only there
	Anchor uint32 // by which other nodes know the newest message before the place; 0: they go by Time
	Ended  bool   // the client has an answer up to its end
}

// ReadID reads an event id. It reports false if no hub has made the text.
func ReadID(text string) (ID, bool) {
	c, ok := parseCursor(text)
	return ID{c.ms, c.seq, c.epoch, c.anchor, c.ended}, ok
}

// anchored is where and when a message is, and what other nodes know it by.
type anchored struct {
	seq    uint64
	ms     int64
	anchor uint32
}

func (m *message) anchored() anchored { return anchored{m.seq, m.ms, m.anchor} }

// anchorFor returns the anchor for a cursor of time ms.
func (a anchored) anchorFor(ms int64) uint32 {
	if a.ms < ms-anchorAge {
		return 0
	}
	return a.anchor
}
