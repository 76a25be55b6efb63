package faults

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// An Outcome is what a publisher knows of a message.
type Outcome int

const (
	Unknown Outcome = iota // it may arrive, but once
	Taken                  // Redis has answered that it took it
	Refused                // it certainly was not taken, and must not arrive
)

// Message is a line of a publisher's log. Those of a channel are published one after the other.
type Message struct {
	N         int // in its channel, from 0 on, without a hole
	Sent      time.Time
	Answered  time.Time
	Outcome   Outcome
	Receivers int64 // that Redis told of
}

// Payload is what is published for a message. Fill makes it large.
type Payload struct {
	C    string
	N    int
	Fill string `json:",omitempty"`
}

// Client is a client and its log.
type Client struct {
	Name     string
	Channels []string // that its stream has
	Patterns []string
	Log      []ssetest.Record
	// Leaves says that the client cut its own connection. It may then read the same gap twice.
	Leaves bool
}

// History is all that happened in a run.
type History struct {
	Messages map[string][]Message // by channel
	Clients  []Client
}

// has tells whether the stream of a client has messages of a channel.
func (c *Client) has(channel string) bool {
	return slices.Contains(c.Channels, channel) || slices.ContainsFunc(c.Patterns, func(p string) bool { return matches(p, channel) })
}

// matches is for the patterns of this suite, for which path.Match has Redis's rules.
func matches(pattern, channel string) bool {
	ok, err := path.Match(pattern, channel)
	return ok && err == nil
}

// openedAt is when the client's first stream opened, the zero time if none did.
func (c *Client) openedAt() time.Time {
	for _, r := range c.Log {
		if r.What == ssetest.Opened {
			return r.At
		}
	}
	return time.Time{}
}

// item is an event of a client's log, read.
type item struct {
	at      time.Time
	id      ssetest.Place
	payload Payload // of a message
	gap     *gap    // or a gap
}

// gap is the data of a gap event.
type gap struct {
	Channel string
	Pattern string
	Reason  string
	After   *string // the id up to which nothing is missing
	Missed  *int
}

func (g *gap) covers(channel string) bool {
	return g.Channel == channel || g.Pattern != "" && matches(g.Pattern, channel)
}

// parseID reads an event id, none of which is of the end of an answer here.
func parseID(text string) (ssetest.Place, error) {
	place, ok := ssetest.PlaceOf(text)
	if !ok || place.Ended {
		return ssetest.Place{}, fmt.Errorf("the id %q, which is none of ours", text)
	}
	return place, nil
}

// read returns the events of a client, and what is wrong with them by themselves.
func (c *Client) read() (items []item, problems []string) {
	for _, r := range c.Log {
		if r.What != ssetest.Received {
			continue
		}
		i, err := readItem(r)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s got %.200q: %v", c.Name, r.Event.Data, err))
			continue
		}
		items = append(items, i)
	}
	return items, problems
}

func readItem(r ssetest.Record) (i item, err error) {
	i.at = r.At
	if i.id, err = parseID(r.Event.ID); err != nil {
		return i, err
	}
	switch r.Event.Type {
	case "message":
		err = json.Unmarshal([]byte(r.Event.Data), &i.payload)
	case "gap":
		i.gap = new(gap)
		err = json.Unmarshal([]byte(r.Event.Data), i.gap)
	case "cursor":
	default:
		err = fmt.Errorf("an event of the type %q", r.Event.Type)
	}
	return i, err
}

// numbers are the messages of a channel among items, in their order, and [Gap] for each gap that covers it. If a gap may stand
// behind what it tells of, it also counts before each message from its "after" on.
func numbers(items []item, channel string, behind bool) (got []int) {
	for n, i := range items {
		switch {
		case i.gap != nil && i.gap.covers(channel):
			got = append(got, Gap)
		case i.payload.C == channel:
			if behind && isDoubted(i.id, items[n:], channel) {
				got = append(got, Gap)
			}
			got = append(got, i.payload.N)
		}
	}
	return got
}

// isDoubted tells whether a gap that comes later reaches back to a message.
func isDoubted(message ssetest.Place, later []item, channel string) bool {
	for _, i := range later {
		if i.gap == nil || !i.gap.covers(channel) || i.gap.After == nil || i.id.Epoch != message.Epoch {
			continue
		}
		if after, err := parseID(*i.gap.After); err == nil && after.Seq < message.Seq {
			return true
		}
	}
	return false
}
