package redissse

import (
	"cmp"
	"slices"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// busiest returns the top busiest channels and patterns of a hub.
func (h *redisHub) busiest(now time.Time, top int, by busiestBy) []channelStatus {
	found := []channelStatus{}
	if top == 0 {
		return found
	}
	for _, l := range by.top(top, h.memory.Survey) {
		found = append(found, statusOf(l, now))
	}
	return found
}

// top returns the n busiest of all. It keeps no more than twice as many meanwhile.
func (by busiestBy) top(n int, all func(with func(hub.Line))) []hub.Line {
	lines := make([]hub.Line, 0, 2*n)
	all(func(l hub.Line) {
		if len(lines) == 2*n {
			lines = by.most(lines, n)
		}
		lines = append(lines, l)
	})
	return by.most(lines, n)
}

// most returns those of which there is most, in order. It is the same for all who
// ask at the same time.
func (by busiestBy) most(lines []hub.Line, top int) []hub.Line {
	slices.SortFunc(lines, func(a, b hub.Line) int {
		return cmp.Or(by.compare(b, a), cmp.Compare(a.Name, b.Name), cmp.Compare(toInt(a.Pattern), toInt(b.Pattern)))
	})
	return lines[:min(top, len(lines))]
}

func (by busiestBy) compare(a, b hub.Line) int {
	switch by {
	case byRate:
		return cmp.Compare(a.Rate, b.Rate)
	case byBytes:
		return cmp.Compare(a.Bytes, b.Bytes)
	}
	return cmp.Compare(a.Streams, b.Streams)
}

func toInt(is bool) int { return int(one(is)) }

func statusOf(l hub.Line, now time.Time) channelStatus {
	s := channelStatus{
		Name: l.Name, Pattern: l.Pattern, Streams: l.Streams, State: l.State, Lingers: l.Lingers,
		Messages: l.Messages, Outages: l.Gaps, Bytes: l.Bytes, Rate: l.Rate, NewestID: l.Newest,
	}
	if l.Newest != "" {
		s.NewestAt = when(now.Add(-time.Duration(l.Age) * time.Millisecond))
	}
	return s
}
