package ssetest

import (
	"fmt"
	"strconv"
	"strings"
)

// Place is what an event id of this project says, as docs/architecture/redis-pubsub.md has it. Tests read and forge ids with this,
// which is plain, not with what makes them. Out of its bits' range none is an id.
type Place struct {
	MS     int64  // Unix milliseconds; 44 bits
	Seq    uint64 // 48 bits
	Epoch  uint64 // 40 bits
	Anchor uint32
	Ended  bool
}

const (
	idAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	idLength   = 28
	idForm     = "000%01b%044b%048b%040b%032b" // 6 bits a character: a kind of 0, ended, ms, seq, epoch, anchor
)

// PlaceOf reads an event id. It reports false if the text is none.
func PlaceOf(id string) (p Place, ok bool) {
	if len(id) != idLength {
		return Place{}, false
	}
	var bits [6 * idLength]byte // a 0 or 1 each
	for i := range len(id) {
		digit := strings.IndexByte(idAlphabet, id[i])
		if digit < 0 {
			return Place{}, false
		}
		for j := range 6 {
			bits[6*i+j] = byte(digit >> (5 - j) & 1)
		}
	}
	next := bits[:]
	take := func(n int) (number uint64) {
		for _, bit := range next[:n] {
			number = 2*number + uint64(bit)
		}
		next = next[n:]
		return number
	}
	if take(3) != 0 {
		return Place{}, false
	}
	p.Ended = take(1) == 1
	p.MS, p.Seq, p.Epoch, p.Anchor = int64(take(44)), take(48), take(40), uint32(take(32))
	return p, true
}

// ID is the event id that says this. It panics if a field is out of range: that would be a mistake of the test.
func (p Place) ID() string {
	ended := 0
	if p.Ended {
		ended = 1
	}
	bits := fmt.Sprintf(idForm, ended, p.MS, p.Seq, p.Epoch, p.Anchor)
	if len(bits) != 6*idLength || p.MS < 0 {
		panic(fmt.Sprintf("ssetest: %s has no room in an id", p))
	}
	var id strings.Builder
	for ; bits != ""; bits = bits[6:] {
		digit, err := strconv.ParseUint(bits[:6], 2, 8)
		if err != nil {
			panic(err)
		}
		id.WriteByte(idAlphabet[digit])
	}
	return id.String()
}

// String is for people, who see nothing in an id: <ms>-<seq>-<epoch>-<anchor>, the last two hexadecimal, with -e behind them if it ended.
func (p Place) String() string {
	text := fmt.Sprintf("%d-%d-%x-%x", p.MS, p.Seq, p.Epoch, p.Anchor)
	if p.Ended {
		text += "-e"
	}
	return text
}
