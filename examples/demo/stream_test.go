package main

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// counted is a stream and what it delivered, counted as the page does.
type counted struct {
	*ssetest.Stream
	t       *testing.T
	lastID  string              // of the newest event that was taken
	last    map[string]int64    // the newest number, by channel
	gaps    map[string][]string // the reasons, by channel
	hole    map[string]int64    // numbers that are missing behind a gap, by channel
	pending map[string]bool     // channels with a gap that no number has followed yet
}

// openCounted returns once the first event, the cursor, is read: from there on nothing may be missing. last says where the
// numbers go on.
func openCounted(t *testing.T, url string, last map[string]int64, opts ...ssetest.Option) *counted {
	t.Helper()
	return openCountedOver(t, http.DefaultClient, url, last, opts...)
}

func openCountedOver(t *testing.T, client *http.Client, url string, last map[string]int64, opts ...ssetest.Option) *counted {
	t.Helper()
	c := &counted{
		Stream: ssetest.Open(t, client, url, opts...), t: t, last: last,
		gaps: map[string][]string{}, hole: map[string]int64{}, pending: map[string]bool{},
	}
	c.lastID = c.SkipCursor().ID
	return c
}

// until takes events until done. A hole without a gap in it, a duplicate or a wrong order fails the test.
func (c *counted) until(done func() bool) {
	c.t.Helper()
	for !done() {
		c.count(c.NextAfterCursors())
	}
}

// untilEnd waits for the server to end the stream, properly, and takes what it brought.
func (c *counted) untilEnd() {
	c.t.Helper()
	select {
	case <-c.Ended():
	case <-time.After(20 * time.Second):
		c.t.Fatal("the stream goes on")
	}
	if err := c.Err(); err != nil {
		c.t.Fatalf("the stream was cut: %v", err)
	}
	for e, more := c.TryNext(0); more; e, more = c.TryNext(0) {
		c.count(e)
	}
}

func (c *counted) count(e ssetest.Event) {
	c.t.Helper()
	c.lastID = e.ID
	switch e.Type {
	case "cursor":
	case "gap":
		gap := decode[struct{ Channel, Reason string }](c.t, e.Data)
		c.gaps[gap.Channel] = append(c.gaps[gap.Channel], gap.Reason)
		c.pending[gap.Channel] = true
	default:
		n := decode[message](c.t, e.Data).N
		if last, known := c.last[e.Type]; known {
			hole := n - last - 1
			if hole < 0 || hole > 0 && !c.pending[e.Type] {
				c.t.Fatalf("%s: number %d after %d, gap between: %t", e.Type, n, last, c.pending[e.Type])
			}
			c.hole[e.Type] += hole
		}
		c.last[e.Type], c.pending[e.Type] = n, false
	}
}

// beyond tells that both channels have got further than that.
func (c *counted) beyond(chat, job int64) func() bool {
	return func() bool { return c.last[chatChannel] > chat && c.last[jobChannel] > job }
}

func decode[T any](t *testing.T, data string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		t.Fatalf("decoding %q: %v", data, err)
	}
	return v
}
