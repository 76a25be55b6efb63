package hub

import (
	"bytes"
	"math"
	"slices"
	"strings"
)

// run is some messages of one buffer in a row, packed. Whoever has the run can read
// the messages: it never changes. (The buffer gives up one after the other, and the
// run itself with the last of them.)
type run struct {
	home  *buffer
	first stamp
	rows  []row
	data  []byte // of a squeezer
	cost  int64  // counted bytes
}

// row is a message of a run: what it has more than the first one, and where it ends.
// Times are milliseconds.
type row struct {
	seq    uint32
	at     uint32
	anchor uint32 // its own
	size   uint16 // of the payload, in bytes
	begin  uint16 // of its steps in data
	lag    uint16 // at less ms, its own: a second or so after the last PING; noLag: ms is 0
	skew   int16  // received less at: Redis's clock has been measured again
}

const noLag = math.MaxUint16

// runLength messages are packed at once, when there are newestMessages newer ones. It
// bounds what the reader does for one message, some 10 to 30 microseconds for tokens
// of an answer and 110 at the most, and what stays in memory until the last of a run
// is given up.
//
// Those newestMessages are what streams of clients that keep up, or were cut for a moment, read.
const (
	runLength      = 128
	newestMessages = 256
)

// packing is when messages are packed. Never changed once a hub has buffers.
type packing struct {
	length int  // of runs and blocks; 0: nothing is packed
	newest int  // how many of the newest messages of a buffer are not
	always bool // for tests: whatever it saves
}

// newestOfPattern is how many of a pattern are not in blocks, at least: they are among the newest of their buffers, see mayHaveNew.
func (p packing) newestOfPattern() int { return max(0, p.newest-p.length) }

// packer packs for the reader goroutine.
type packer struct {
	packing
	squeezer *squeezer
	rows     []row
}

const (
	runCost = 216 // run 112, block 96, its slot 8
	rowCost = 21  // 20, rounded up by the allocator
)

// mostInRun bounds the payloads of a run, in bytes: it is read through once.
const mostInRun = 128 << 10

// packOld moves the oldest of the newest messages into a block if there are enough,
// and packs them if that saves half of what they take. The reader calls it for each
// message. The caller holds mu.
func (b *buffer) packOld() {
	p := &b.usage.packer
	if p.length == 0 || b.entries.newest.len() < p.newest+p.length {
		return
	}
	first, last := b.entries.newest.at(0), b.entries.newest.at(p.length-1)
	for _, pat := range b.patterns {
		if pat.mayHaveNew(first.seq, last.seq) {
			return // it goes on with one of the next messages
		}
	}
	old := b.entries.age(p.length)
	r, was := p.pack(old.messages)
	if r == nil {
		return
	}
	for _, m := range old.messages {
		m.cost = 0
	}
	*old = block{whole: r}
	b.hold(0, r.cost-was)
	for _, pat := range b.patterns {
		pat.replace(r)
	}
}

// ageOld moves the oldest of a pattern's newest messages into a block if there are
// enough. The caller holds mu.
func (p *pattern) ageOld() {
	by := &p.usage.packer.packing
	if by.length > 0 && p.entries.newest.len() >= by.newestOfPattern()+by.length {
		p.entries.age(by.length)
	}
}

// mayHaveNew reports whether the pattern may have messages of this stretch among its
// newest, where none can be replaced. It has not, but for one that has been away: what is
// among the newest of a pattern is among those of its buffer.
func (p *pattern) mayHaveNew(first, last uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.entries.newest.len()
	return n > 0 && p.entries.newest.at(0).seq <= last && p.entries.newest.at(n-1).seq >= first
}

// replace has the messages of r stand for those in the index that are packed there.
func (p *pattern) replace(r *run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.check()
	p.entries.replace(r)
}

// pack returns messages of one buffer as a run, nil if they do not fit in one or it would not
// be worth while, and the counted bytes that they have taken.
func (p *packer) pack(messages []*message) (r *run, was int64) {
	first, size := messages[0].stamp(), 0
	if p.squeezer == nil {
		p.squeezer = new(squeezer)
	}
	p.squeezer.reset()
	p.rows = p.rows[:0]
	for _, m := range messages {
		row, ok := newRow(m.stamp(), first)
		row.size, row.begin = uint16(len(m.payload)), uint16(len(p.squeezer.data))
		size += len(m.payload)
		if !ok || m.isLarge() || size > mostInRun || !p.squeezer.add(m.payload) {
			return nil, 0
		}
		p.rows = append(p.rows, row)
		was += m.cost
	}
	cost := runCost + rowCost*int64(len(messages)) + int64(len(p.squeezer.data))
	if cost > was/2 && !p.always {
		return nil, 0
	}
	return &run{messages[0].home, first, slices.Clone(p.rows), bytes.Clone(p.squeezer.data), cost}, was
}

// newRow makes the row of a message but for its payload. It reports whether what the message has more
// than the first of its run fits.
func newRow(s, first stamp) (r row, ok bool) {
	seq, at := s.seq-first.seq, s.at-first.at
	lag, skew := s.at-s.ms, s.received-first.received-at
	if s.ms == 0 {
		lag = noLag
	}
	r = row{seq: uint32(seq), at: uint32(at), anchor: s.anchor, lag: uint16(lag), skew: int16(skew)}
	return r, r.stamp(first) == s
}

func (r *row) stamp(first stamp) stamp {
	s := stamp{seq: first.seq + uint64(r.seq), at: first.at + int64(r.at), anchor: r.anchor}
	s.received = first.received + int64(r.at) + int64(r.skew)
	if r.lag != noLag {
		s.ms = s.at - int64(r.lag)
	}
	return s
}

func (r *run) len() int { return len(r.rows) }

func (r *run) seq(i int) uint64 { return r.first.seq + uint64(r.rows[i].seq) }

func (r *run) anchor(i int) uint32 { return r.rows[i].anchor }

func (r *run) stamp(i int) stamp { return r.rows[i].stamp(r.first) }

// share returns the counted bytes that go with the i-th message. The last one has what
// is left.
func (r *run) share(i int) int64 {
	share := r.cost / int64(len(r.rows))
	if i == len(r.rows)-1 {
		return r.cost - int64(i)*share
	}
	return share
}

func (r *run) size(i int) int { return int(r.rows[i].size) }

// unpack makes m the i-th message, which no buffer holds as m. The payload is put behind those that
// are there.
func (r *run) unpack(m *message, payloads *strings.Builder, i int) {
	begin := payloads.Len()
	unsqueeze(payloads, r.data, int(r.rows[i].begin), r.size(i))
	s := r.stamp(i)
	m.home, m.payload = r.home, payloads.String()[begin:]
	m.seq, m.ms, m.at, m.received, m.anchor = s.seq, s.ms, s.at, s.received, s.anchor
}

// unpacked returns messages, those that are packed unpacked for the caller alone. That takes a fraction of a microsecond
// for each, so that it is better called under no lock. One that is kept keeps the others in memory.
func unpacked(some []found) []*message {
	n, size := 0, 0
	for _, m := range some {
		if m.own == nil {
			n, size = n+1, size+m.run.size(m.at)
		}
	}
	all, made := make([]*message, len(some)), make([]message, n)
	var payloads strings.Builder
	payloads.Grow(size)
	for i, m := range some {
		if all[i] = m.own; m.own == nil {
			all[i], made = &made[0], made[1:]
			m.run.unpack(all[i], &payloads, m.at)
		}
	}
	return all
}
