package redissse

import (
	"errors"
	"io"
	"sync/atomic"
)

// The body of a message is held until Redis has it. A client can make that take a
// while, so all that one hub's publishers hold is bounded together, but not what
// usual messages take: who sends large ones slowly is in the way of nobody else.

// freePayload is what each body may take without being counted, in bytes: what
// max_size is by default.
const freePayload = 64 << 10

// payloadShare is the part of total_size that bodies may take in all, beyond what is
// free. At the limit a body that needs more is refused with 503, busy; but one
// alone may take what max_size allows.
const payloadShare = 8

// payloads are the bodies of one hub's messages. Safe for concurrent use.
type payloads struct {
	held atomic.Int64 // bytes beyond what is free
}

var errPayloadsFull = errors.New("the bodies that are being received take all their room")

// take counts bytes more for one that has own already, unless they would be over most
// and others have some.
func (p *payloads) take(bytes, own, most int64) error {
	for {
		held := p.held.Load()
		if held > own && held+bytes > most {
			return errPayloadsFull
		}
		if p.held.CompareAndSwap(held, held+bytes) {
			return nil
		}
	}
}

// payload is one body. Not safe for concurrent use.
type payload struct {
	all   *payloads
	most  int64 // of all
	held  int64
	bytes []byte
}

// release is for when the bytes are not needed any more.
func (p *payload) release() { p.all.held.Add(-p.held) }

// grow makes room for more bytes: for twice as many, but no more than full.
func (p *payload) grow(full int64) error {
	size := min(max(2*int64(cap(p.bytes)), 512), full)
	if more := size - freePayload - p.held; more > 0 {
		if err := p.all.take(more, p.held, p.most); err != nil {
			return err
		}
		p.held += more
	}
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
