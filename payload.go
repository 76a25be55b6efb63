package redissse

import (
	"errors"
	"io"
	"sync/atomic"
)

// The body of a message is held until Redis has it. A client can make that take a
// while, so all that one hub's publishers hold is bounded together. What is usual
// has room of its own: who sends large ones slowly is in the way of nobody else.

// usualPayload is what each body takes of the room for what is usual, in bytes: what
// max_size is by default, and one that the end shows in. The rest of a larger one
// takes other room.
const usualPayload = 64<<10 + 1

// payloadShare is the part of total_size that either room has, and leastPayloads
// what it has at least, in bytes: that of 15 usual bodies. At the limit a body that
// needs more is refused with 503, busy; but one alone may take what max_size allows.
const (
	payloadShare  = 8
	leastPayloads = 1 << 20
)

// payloadRoom returns how many bytes either room has.
func payloadRoom(totalSize int64) int64 { return max(leastPayloads, totalSize/payloadShare) }

// payloads are the bodies of one hub's messages. Safe for concurrent use.
type payloads struct {
	usual, rest allowance
}

// bytes is what all of them take.
func (p *payloads) bytes() int64 { return p.usual.held.Load() + p.rest.held.Load() }

// allowance is for parts of bodies. Safe for concurrent use.
type allowance struct {
	held atomic.Int64 // bytes
}

var errPayloadsFull = errors.New("the bodies that are being received take all their room")

// take counts bytes more for one that has own already, unless they would be over most
// and others have some.
func (a *allowance) take(bytes, own, most int64) error {
	for {
		held := a.held.Load()
		if bytes > 0 && held > own && held+bytes > most {
			return errPayloadsFull
		}
		if a.held.CompareAndSwap(held, held+bytes) {
			return nil
		}
	}
}

// payload is one body. Not safe for concurrent use.
type payload struct {
	all         *payloads
	most        int64 // of either room
	usual, rest int64 // of its own
	bytes       []byte
}

// release is for when the bytes are not needed any more.
func (p *payload) release() {
	p.all.usual.held.Add(-p.usual)
	p.all.rest.held.Add(-p.rest)
}

// grow makes room for more bytes: for twice as many, but no more than full.
func (p *payload) grow(full int64) error {
	size := min(max(2*int64(cap(p.bytes)), 512), full)
	usual := min(size, usualPayload)
	if err := p.all.usual.take(usual-p.usual, p.usual, p.most); err != nil {
		return err
	}
	p.usual = usual
	if err := p.all.rest.take(size-usual-p.rest, p.rest, p.most); err != nil {
		return err
	}
	p.rest = size - usual
	p.bytes = append(make([]byte, 0, size), p.bytes...)
	return nil
}

// readFrom reads to the end. What is announced need not come: room is made as it
// comes. size is what is announced, -1 if nothing is.
func (p *payload) readFrom(r io.Reader, size, most int64) error {
	full := most + 1
	if size >= 0 {
		full = min(full, size+1) // the end shows in a read that has room
	}
	for {
		if len(p.bytes) == cap(p.bytes) {
			if err := p.grow(full); err != nil {
				return err
			}
		}
		n, err := r.Read(p.bytes[len(p.bytes):cap(p.bytes)])
		p.bytes = p.bytes[:len(p.bytes)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
