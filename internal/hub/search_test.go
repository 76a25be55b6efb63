package hub

import (
	"math/rand"
	"slices"
	"testing"
)

// numbered returns a live timeline with these messages, each received at its seq.
func numbered(seqs []uint64, anchor func(seq uint64) uint32) *timeline {
	t := &timeline{name: "a", usage: new(usage)}
	t.confirm(1, 1)
	for _, seq := range seqs {
		t.entries.push(&message{seq: seq, at: int64(seq), anchor: anchor(seq)})
		t.count++
	}
	return t
}

func upTo(n uint64) (seqs []uint64) {
	for seq := uint64(2); seq <= n; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

func TestAnAnchorIsFoundAmongMany(t *testing.T) {
	const n = 3 * searchStep
	of := func(seq uint64) uint32 { return uint32(seq) }
	for _, test := range []struct {
		name    string
		line    *timeline
		anchor  uint32
		from    int64
		seq     uint64
		n       int
		vouches bool
	}{
		{"first", numbered(upTo(n), of), 2, 2, 2, 1, true},
		{"last of a step", numbered(upTo(n), of), searchStep + 1, 2, searchStep + 1, 1, true},
		{"first of the next", numbered(upTo(n), of), searchStep + 2, 2, searchStep + 2, 1, true},
		{"last", numbered(upTo(n), of), n, 2, n, 1, true},
		{"none", numbered(upTo(n), of), n + 1, 2, 0, 0, true},
		{"too early", numbered(upTo(n), of), 5, 6, 0, 0, true},
		{"no messages", numbered(nil, of), 5, 6, 0, 0, true},
		{"from before the floor", numbered(upTo(n), of), 5, 1, 0, 0, false},
		{"two, far from each other", numbered(upTo(n), func(seq uint64) uint32 { return uint32(seq%(2*searchStep)) + 1 }), 8, 2, 2*searchStep + 7, 2, true},
		{"one without, at the end", numbered(upTo(n), func(seq uint64) uint32 { return uint32(seq % n) }), 5, 2, 0, 0, false},
		{"as many as are looked at", numbered(upTo(anchorMost+1), of), 5, 2, 5, 1, true},
		{"more", numbered(upTo(anchorMost+2), of), 5, 2, 0, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			seq, n, vouches := test.line.matchAnchor(test.anchor, test.from)
			if seq != test.seq || n != test.n || vouches != test.vouches {
				t.Errorf("found %d of them, the newest at %d, vouches %v, want %d, %d, %v", n, seq, vouches, test.n, test.seq, test.vouches)
			}
		})
	}
}

// What goes between two steps takes the floor with it.
func TestASearchNoticesWhatGoesMeanwhile(t *testing.T) {
	line := numbered(upTo(3*searchStep), func(seq uint64) uint32 { return uint32(seq) })
	_, _, last, more, vouches := line.matchSome(5, 2, 0)
	if !more || !vouches || last != searchStep+1 {
		t.Fatalf("a step ends at %d, more %v, vouches %v", last, more, vouches)
	}
	m := line.entries.stamp(0)
	line.entries.pop()
	line.raise(floor{seq: m.seq, reason: gapEvicted, at: m.at})
	if _, _, _, _, vouches := line.matchSome(5, 2, last); vouches {
		t.Error("it vouches for what has gone")
	}
}

func TestTheLastMessagesOfManySources(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 300 {
		p := &progress{first: 1}
		s := &Stream{progress: p}
		var all []uint64
		head := uint64(2 + r.Intn(2000))
		for range 1 + r.Intn(4) {
			var own []uint64
			for seq := uint64(2); seq <= head+20; seq++ {
				if r.Intn(3) == 0 { // so that sources have some in common
					own = append(own, seq)
				}
			}
			s.sources = append(s.sources, &source{line: numbered(own, func(uint64) uint32 { return 0 })})
			all = append(all, own...)
		}
		slices.Sort(all)
		all = slices.DeleteFunc(slices.Compact(all), func(seq uint64) bool { return seq > head })
		for _, n := range []int{1, 1 + r.Intn(len(all)+1), len(all), len(all) + 1, 10_000_000} {
			want := p.first
			if n > 0 && n <= len(all) {
				want = all[len(all)-n] - 1
			}
			if got := s.placeBeforeLast(n, head); n > 0 && got != want {
				t.Fatalf("the place before the last %d of %d of %d sources is %d, want %d", n, len(all), len(s.sources), got, want)
			}
		}
	}
}
