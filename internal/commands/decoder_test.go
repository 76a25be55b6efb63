package commands

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// TestStreamsAreReadAsBrowsersDo compares with the parser of the other tests, which goes by the letter of the standard.
func TestStreamsAreReadAsBrowsersDo(t *testing.T) {
	pieces := []string{
		"data: a", "data:b", "data", "data:  two spaces", "event: gap", "event:", "id: A4", "id", "id: x\x00", ": note", ":",
		"retry: 250", "retry: x", "retry:", "unknown: field", "\uFEFFdata: bom", "", "", "",
	}
	ends := []string{"\n", "\r\n", "\r"}
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 0))
		var stream strings.Builder
		for range random.IntN(30) {
			stream.WriteString(pieces[random.IntN(len(pieces))] + ends[random.IntN(len(ends))])
		}
		text := stream.String()
		parser := ssetest.NewParser()
		want := parser.Push([]byte(text))
		got, d := decode(t, iotest.OneByteReader(strings.NewReader(text)))
		whole, _ := decode(t, strings.NewReader(text))
		if !slices.Equal(got, whole) {
			t.Fatalf("seed %d: what is read depends on where it is cut: %q, %q", seed, got, whole)
		}
		if !slices.Equal(got, flat(want, parser.Comments)) || d.lastID != parser.LastEventID {
			t.Fatalf("seed %d: %q: got %q, last id %q, want %+v", seed, text, got, d.lastID, parser)
		}
	}
}

func flat(events []ssetest.Event, comments []string) (all []string) {
	for _, e := range events {
		all = append(all, e.Type+": "+e.Data)
	}
	for _, text := range comments {
		all = append(all, strings.TrimPrefix(text, " "))
	}
	return all
}

// decode returns all events of a stream, then all comments.
func decode(t *testing.T, from io.Reader) (events []string, d *decoder) {
	t.Helper()
	var comments []string
	d = newDecoder(from, "")
	for {
		it, err := d.next()
		switch {
		case errors.Is(err, io.EOF):
			return append(events, comments...), d
		case err != nil:
			t.Fatal(err)
		case it.kind == eventItem:
			events = append(events, it.name+": "+it.data)
		case it.kind == commentItem:
			comments = append(comments, strings.TrimPrefix(it.data, " "))
		}
	}
}

func TestRetryIsRead(t *testing.T) {
	d := newDecoder(strings.NewReader("retry: 2500\nretry: 99999999999\n"), "")
	if it, err := d.next(); err != nil || it.kind != retryItem || it.wait != 2500*time.Millisecond {
		t.Errorf("got %+v, %v", it, err)
	}
	if it, err := d.next(); !errors.Is(err, io.EOF) {
		t.Errorf("a retry of three years is %+v, %v", it, err)
	}
}

func TestAnEventIsBounded(t *testing.T) {
	for name, text := range map[string]string{
		"a line":  "data: " + strings.Repeat("x", 1000),
		"lines":   strings.Repeat("data: 0123456789\n", 100),
		"a field": strings.Repeat("x", 1000) + ": y\n\n",
	} {
		d := newDecoder(strings.NewReader(text), "")
		d.max = 500
		if it, err := d.next(); !errors.Is(err, errTooLong) {
			t.Errorf("%s: %+v, %v", name, it, err)
		}
	}
}

func TestAReaderWithoutProgressIsAnError(t *testing.T) {
	broken := errors.New("broken")
	d := newDecoder(iotest.ErrReader(broken), "")
	if _, err := d.next(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	d = newDecoder(nothing{}, "")
	if _, err := d.next(); err == nil {
		t.Error("no error")
	}
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }
