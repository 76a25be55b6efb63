package hub

import "testing"

// benchPlace is a cursor as a busy hub has them.
var benchPlace = cursor{ms: 1795392464222, seq: 144811054887066, epoch: 0xb22a762811, anchor: 0x1a2b3c4d}

// BenchmarkAppendID appends the id line of an event, which is a stream's own: what follows it is shared.
func BenchmarkAppendID(b *testing.B) {
	dst := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		dst = appendIDLine(dst[:0], benchPlace)
	}
	b.ReportMetric(float64(len(dst)), "bytes")
}

// BenchmarkReadID reads an id, as once a stream that is resumed.
func BenchmarkReadID(b *testing.B) {
	text := benchPlace.String()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := parseCursor(text); !ok {
			b.Fatal("an id of our own is none")
		}
	}
}
