package hub

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

// A squeezer writes payloads that are alike in few bytes, one behind the other. What it
// makes of a payload is steps, by turns and until the payload is complete:
//
//	n, n bytes           bytes as they are
//	n, from              n bytes that stand at from already, of an earlier payload
//
// A token of an answer mostly is a step back to the first one, the bytes that differ,
// and a step back to what follows them. Numbers are uvarints. Each payload can be read
// by itself: a library's format reads all of them, for a stream that wants some.
//
// It compares bytes and knows of no format, so that payloads of several kinds by
// turns, or with counters in them, are squeezed as well.

const (
	// leastSame bytes are the same in a step back, which takes 2 to 4. Eight are
	// compared at once, and hardly ever the same by chance.
	leastSame = 8

	// patience is after how many bytes that were not known every other one is looked
	// at, then every third and so on.
	patience = 16

	// places is how many of the bytes in a squeezer's data can be found again: of
	// some payloads of hundreds of bytes, all. What is not found costs bytes.
	places    = 1 << placeBits
	placeBits = 11

	// mostSqueezed bounds a squeezer's data, in bytes, and so its work: payloads that
	// share nothing end there after some 60 microseconds. It fits a place.
	mostSqueezed = 16 << 10
)

// squeezer is ready after reset. Not safe for concurrent use.
type squeezer struct {
	data    []byte
	payload []byte         // that is being squeezed
	known   [places]uint16 // by hash: where in data leastSame bytes stand, plus 1; 0: nowhere
}

func (s *squeezer) reset() {
	s.data = s.data[:0]
	clear(s.known[:])
}

// add squeezes one more payload. It reports false if there is too much data, which is
// then of no use.
//
// A payload of which less than a quarter was known is written as it is: it may be the first of
// its kind, of which all others are to be found in one piece.
func (s *squeezer) add(payload string) bool {
	s.payload = append(s.payload[:0], payload...)
	begin := len(s.data)
	longest := s.steps()
	if len(s.data)-begin > len(payload)*3/4 {
		s.data = s.data[:begin]
		s.literal(0, len(payload))
		begin, longest = len(s.data)-len(payload), len(payload)
	}
	if longest >= leastSame {
		s.learn(begin)
	}
	return len(s.data) <= mostSqueezed
}

// steps writes the steps of the payload. It returns how many bytes in a row, at most,
// are as they were.
func (s *squeezer) steps() (longest int) {
	old, p := s.data, s.payload
	done := 0
	for at := 0; at+leastSame <= len(p); {
		from := int(s.known[hash(p[at:])]) - 1
		n := same(old, from, p[at:])
		if n < leastSame {
			at += 1 + (at-done)/patience
			continue
		}
		longest = max(longest, at-done)
		s.literal(done, at)
		s.data = binary.AppendUvarint(s.data, uint64(n))
		s.data = binary.AppendUvarint(s.data, uint64(from))
		at += n
		done = at
	}
	if done < len(p) {
		longest = max(longest, len(p)-done)
		s.literal(done, len(p))
	}
	return longest
}

func (s *squeezer) literal(from, to int) {
	s.data = binary.AppendUvarint(s.data, uint64(to-from))
	s.data = append(s.data, s.payload[from:to]...)
}

// learn makes what stands in data from begin on known, at every other byte: what is the
// same is found one byte later at most. What is known already stays where it was: the
// first of a kind is what the others go back to.
func (s *squeezer) learn(begin int) {
	for at := begin; at+leastSame <= len(s.data) && at < mostSqueezed; at += 2 {
		if known := &s.known[hash(s.data[at:])]; *known == 0 {
			*known = uint16(at + 1)
		}
	}
}

// hash returns a place for the first leastSame bytes of b (the factor is that of
// Fibonacci hashing, of which the upper bits are good).
func hash(b []byte) uint64 {
	return binary.LittleEndian.Uint64(b) * 0x9E3779B97F4A7C15 >> (64 - placeBits)
}

// same returns how many bytes are the same in data, from a place on, and in p; 0 if
// the place is before the data.
func same(data []byte, from int, p []byte) (n int) {
	if from < 0 {
		return 0
	}
	data = data[from:]
	const stride = 64 // the runtime compares that many in some instructions
	for n+stride <= len(data) && n+stride <= len(p) && string(data[n:n+stride]) == string(p[n:n+stride]) {
		n += stride
	}
	for n+8 <= len(data) && n+8 <= len(p) {
		if differ := binary.LittleEndian.Uint64(data[n:]) ^ binary.LittleEndian.Uint64(p[n:]); differ != 0 {
			return n + bits.TrailingZeros64(differ)/8
		}
		n += 8
	}
	for n < len(data) && n < len(p) && data[n] == p[n] {
		n++
	}
	return n
}

// unsqueeze writes the payload of so many bytes whose steps begin at from.
func unsqueeze(payload *strings.Builder, data []byte, from, size int) {
	size += payload.Len()
	next := func() int {
		v, n := binary.Uvarint(data[from:])
		from += n
		return int(v)
	}
	for payload.Len() < size {
		n := next()
		payload.Write(data[from : from+n])
		from += n
		if payload.Len() < size {
			n := next()
			at := next()
			payload.Write(data[at : at+n])
		}
	}
}
