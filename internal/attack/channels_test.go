//go:build attack && linux

package attack

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestChannels has one client, with one stream at a time, open and leave more channels than there may be, while others are away for a
// moment: they come back to what they left.
func TestChannels(t *testing.T) {
	const a = attack("channels")
	for _, c := range []struct {
		what    string
		publish bool
	}{
		{"that never had a message", false},
		{"that have a message each", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			most := size(100_000, 1_000)
			opened := most * 136 / 100
			g := newGateway(t, setup{
				hub:    fmt.Sprintf("buffer {\n max_channels %d\n }\n linger 1h", most),
				routes: "redis_sse /events/* {path.1}",
			})
			const others = 50
			cursors := make([]string, others)
			for i := range others {
				cursors[i] = g.visit(fmt.Sprintf("other-%d", i))
			}
			for i := range opened {
				name := fmt.Sprintf("attack-%d", i)
				s, err := g.open(attacker, "/events/"+name)
				if err != nil {
					t.Fatal(err)
				}
				if c.publish {
					g.redis.Publish(name, "a message")
				}
				_ = s.conn.Close()
			}
			gaps := 0
			for i, cursor := range cursors {
				gaps += g.gapAt(fmt.Sprintf("other-%d", i), cursor)
			}
			a.judge(fmt.Sprintf("%d channels opened and left %s: others of %d that find a gap", opened, c.what, others),
				float64(gaps), "", 0)
		})
	}
}

// visit opens a stream, has a message, and leaves. It returns the cursor.
func (g *gateway) visit(channel string) (id string) {
	g.t.Helper()
	s := g.mustOpen("/events/" + channel)
	g.redis.Publish(channel, "last")
	if err := s.lines(func(line []byte) bool {
		if text, ok := strings.CutPrefix(string(line), "id: "); ok {
			id = text
		}
		return string(line) != "data: last"
	}); err != nil {
		g.t.Fatal(err)
	}
	_ = s.conn.Close()
	return id
}

// gapAt comes back with a cursor, and returns 1 if there is a gap before the next message.
func (g *gateway) gapAt(channel, cursor string) (gaps int) {
	g.t.Helper()
	s := g.mustOpen("/events/"+channel, "Last-Event-ID: "+cursor)
	if err := s.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		g.t.Fatal(err)
	}
	g.redis.Publish(channel, "last")
	if err := s.lines(func(line []byte) bool {
		if string(line) == "event: gap" {
			gaps = 1
		}
		return string(line) != "data: last"
	}); err != nil {
		g.t.Fatal(err)
	}
	return gaps
}
