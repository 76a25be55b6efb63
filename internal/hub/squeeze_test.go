package hub

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
)

// squeezed squeezes payloads. It reports false if they are too much.
func squeezed(payloads []string) (data []byte, begins []int, ok bool) {
	var s squeezer
	s.reset()
	for _, payload := range payloads {
		begins = append(begins, len(s.data))
		if !s.add(payload) {
			return nil, nil, false
		}
	}
	return s.data, begins, true
}

func checkSqueezed(t *testing.T, payloads []string) (size int, ok bool) {
	t.Helper()
	data, begins, ok := squeezed(payloads)
	for i, begin := range begins {
		var got strings.Builder
		if unsqueeze(&got, data, begin, len(payloads[i])); got.String() != payloads[i] {
			t.Fatalf("payload %d of %q is %q", i, payloads, got.String())
		}
	}
	return len(data), ok
}

func TestSqueezedPayloadsAreReadBack(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 3000 {
		letters, long := 1+r.Intn(4), 1+r.Intn(200)
		var payloads []string
		for range 1 + r.Intn(20) {
			payload := make([]byte, r.Intn(long))
			for i := range payload {
				payload[i] = byte(r.Intn(letters))
			}
			if n := len(payloads); n > 0 && r.Intn(3) > 0 { // like another one, but for some bytes
				payload = slices.Concat([]byte(payloads[r.Intn(n)]), payload[:len(payload)/8], []byte("."))
				payload[r.Intn(len(payload))] ^= 1
			}
			payloads = append(payloads, string(payload))
		}
		if _, ok := checkSqueezed(t, payloads); !ok {
			t.Fatalf("%d payloads of up to %d bytes are too much", len(payloads), long)
		}
	}
}

// What shares nothing is too much after some work; what is as large but alike is not.
func TestPayloadsThatShareNothingAreNotSqueezed(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	var unlike, alike []string
	for i := range 128 {
		payload := make([]byte, 300)
		r.Read(payload)
		unlike = append(unlike, string(payload))
		alike = append(alike, strings.Repeat("x", 100)+fmt.Sprint(i)+strings.Repeat("y", 200))
	}
	if _, ok := checkSqueezed(t, unlike); ok {
		t.Error("what shares nothing is not too much")
	}
	if size, ok := checkSqueezed(t, alike); !ok || size > 14*128 {
		t.Errorf("what is alike takes %d bytes, %v", size, ok)
	}
}

func FuzzSqueeze(f *testing.F) {
	f.Add("a,a,b,ab,", 3)
	f.Add(strings.Repeat(`{"delta":"x"},`, 5), 14)
	f.Fuzz(func(t *testing.T, text string, every int) {
		var payloads []string
		for part := range slices.Chunk([]byte(text), max(1, every%1000)) {
			payloads = append(payloads, string(part))
		}
		checkSqueezed(t, payloads)
	})
}
