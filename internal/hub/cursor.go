package hub

import (
	"strconv"
	"strings"
)

// cursor is a place in a hub's buffers; its text form is the event id,
// <ms>-<seq>-<epoch>-<anchor>, with -e behind it if the client that has it has all of an
// answer. The zero value means "no place".
type cursor struct {
	ms     int64  // low-water time, Redis's clock, Unix milliseconds; 0: unknown
	seq    uint64 // everything of the stream up to seq has been written
	epoch  uint64 // which life of which hub counted seq
	anchor uint32 // identifies the newest message before the cursor; 0: none
	ended  bool   // that message ended an answer. Of ids alone: a stream's cursor says nothing of it
}

// endFlag is the last part of an id whose message ended an answer.
const endFlag = "-e"

// maxID is the length of the longest id that String can make: 19 digits of
// ms, 20 of seq, 16 of epoch, 8 of anchor, three dashes and the flag. parseCursor rejects
// anything longer before it looks at it.
const maxID = 19 + 1 + 20 + 1 + 16 + 1 + 8 + len(endFlag)

func (c cursor) String() string { return string(c.appendTo(make([]byte, 0, maxID))) }

func (c cursor) appendTo(dst []byte) []byte {
	dst = strconv.AppendInt(dst, c.ms, 10)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, c.seq, 10)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, c.epoch, 16)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, uint64(c.anchor), 16)
	if c.ended {
		dst = append(dst, endFlag...)
	}
	return dst
}

// parseCursor reads an event id. It accepts exactly what String makes, so
// that two texts never mean one place.
func parseCursor(s string) (cursor, bool) {
	if len(s) > maxID {
		return cursor{}, false
	}
	ms, rest, _ := strings.Cut(s, "-")
	seq, rest, _ := strings.Cut(rest, "-")
	epoch, rest, _ := strings.Cut(rest, "-")
	anchor, ended := strings.CutSuffix(rest, endFlag) // an anchor of 14 is an e without a dash
	c := cursor{ended: ended}
	var err [4]error
	var a uint64
	c.ms, err[0] = strconv.ParseInt(ms, 10, 64)
	c.seq, err[1] = strconv.ParseUint(seq, 10, 64)
	c.epoch, err[2] = strconv.ParseUint(epoch, 16, 64)
	a, err[3] = strconv.ParseUint(anchor, 16, 32)
	c.anchor = uint32(a)
	if err != [4]error{} || c.ms < 0 || c.String() != s {
		return cursor{}, false
	}
	return c, true
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
