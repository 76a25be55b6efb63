package hub

import (
	"strings"
	"testing"
)

// What a read costs depends on what it brings: a publisher can make any number of gaps.
func TestReadsDoNotGrowWithTheGapsBehindThem(t *testing.T) {
	w := newWorld(t, Limits{Messages: 1 << 20, Bytes: 1 << 40, Message: 10})
	channel, pattern := w.opened(cursor{}, "a"), w.opening(nil, []string{"*"})
	w.settle()
	streams := []*Stream{channel, pattern}
	for _, s := range streams {
		s.Wrote(read(s))
	}
	start := channel.cursor
	const rounds = 5 * maxBreaks
	for range rounds {
		w.publish("a", 0)
		w.publish("a", 10)
	}
	w.settle()
	for _, s := range streams {
		line := s.sources[0].line
		if n := line.breaks.len(); n > maxBreaks+1 {
			t.Errorf("%s has %d gap entries", line.name, n)
		}
		b := read(s)
		if len(b.Items) > 2*batchItems || len(b.holes) > 2*batchItems || !b.More {
			t.Errorf("a read of all there is of %s has %d items and %d holes", line.name, len(b.Items), len(b.holes))
		}
		if got := sight(b)[0]; got != "gap:"+line.name+":slow_client" {
			t.Errorf("%s begins with %s, though messages had to go for gap entries", line.name, got)
		}
	}
	// A client that has read all but the newest gets that alone.
	messages, gaps := 0, 0
	for b := read(channel); ; b = read(channel) {
		for _, event := range sight(b) {
			if strings.HasPrefix(event, "gap:") {
				gaps++
			} else {
				messages++
			}
		}
		if channel.Wrote(b); !b.More {
			break
		}
	}
	if messages < maxBreaks-maxGiveUp || gaps < messages || gaps > messages+1 {
		t.Errorf("%d messages and %d gaps are read, want each message and a gap behind it", messages, gaps)
	}
	w.publish("a", 0)
	w.settle()
	if b := read(channel); len(b.Items) != 1 || len(b.holes) != 0 {
		t.Errorf("one message makes a read of %d items and %d holes", len(b.Items), len(b.holes))
	}
	if again := w.opened(start, "a"); sight(read(again))[0] != "gap:a:evicted" {
		t.Errorf("a client from before hears first of %s", sight(read(again))[0])
	}
	w.weigh()
}

// An outage may reach back behind gap entries that are there: what is missing may have been published before what is in the batch.
func TestAHoleThatReachesBackIsSeenWithItsGapBeyondTheBatch(t *testing.T) {
	line := &timeline{name: "a", usage: new(usage)}
	line.confirm(1, 0)
	for seq := uint64(2); seq < 20; seq += 2 {
		line.entries.push(&message{seq: seq})
		line.count++
		line.pushBreak(gapEntry{seq: seq + 1, after: Mark{Seq: seq}})
	}
	line.entries.push(&message{seq: 20})
	line.count++
	line.goDown(20, Mark{Seq: 5})
	line.confirm(21, 0)
	for i := range line.breaks.len() {
		if got, want := line.breaks.at(i).reach, min(5, uint64(2+2*i)); got != want {
			t.Errorf("what is behind gap entry %d reaches back to %d, want %d", i, got, want)
		}
	}
}
