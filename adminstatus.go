package redissse

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// How many of the busiest channels the status has.
const (
	defaultTop = 10
	maxTop     = 100 // of each hub
)

// adminStatus tells how all is. Nothing is held while the answer is written.
func adminStatus(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r, "top", "by")
	top := q.number("top", defaultTop, maxTop)
	by := q.word("by", string(byStreams), string(byRate), string(byBytes))
	if q.err != nil {
		return q.err
	}
	return answerJSON(w, reportStatus(top, busiestBy(by)))
}

// channelsPath is followed by a channel's name, which may have slashes.
const channelsPath = "/redis_sse/channels/"

// adminChannel tells how one channel is, or one pattern. Of several hubs that have
// it, it is the one in which most streams read it.
func adminChannel(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r, "hub", "pattern")
	pattern := q.flag("pattern")
	name, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), channelsPath))
	if err != nil || name == "" {
		q.fail("the path is %q, want a channel's name behind %s", quoted(r.URL.EscapedPath()), channelsPath)
	}
	among := q.hubs()
	if q.err != nil {
		return q.err
	}
	var found []channelStatus
	for _, h := range among {
		if l, ok := h.memory.Look(name, pattern); ok {
			is := statusOf(l, time.Now())
			is.Hub = h.name
			found = append(found, is)
		}
	}
	if found == nil {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("no hub has the %s %q", kindOf(pattern), quoted(name))}
	}
	slices.SortStableFunc(found, func(a, b channelStatus) int { return cmp.Compare(b.Streams, a.Streams) })
	return answerJSON(w, found[0])
}

func kindOf(pattern bool) string {
	if pattern {
		return "pattern"
	}
	return "channel"
}

const (
	// defaultDisconnect keeps 10,000 clients that come back to 1,000 a second.
	defaultDisconnect = 10 * time.Second
	maxDisconnect     = time.Hour
)

// disconnectAnswer says how many streams end.
type disconnectAnswer struct {
	Streams int     `json:"streams"`
	Over    float64 `json:"over_seconds"`
}

// adminDisconnect has the streams of a channel or a pattern end, or all.
func adminDisconnect(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r, "all", "channel", "pattern", "hub", "over")
	over := q.duration("over", defaultDisconnect, maxDisconnect)
	of := q.oneOf("channel", "pattern", "all")
	among := q.hubs()
	if q.err != nil {
		return q.err
	}
	answer := disconnectAnswer{Over: over.Seconds()}
	for _, h := range among {
		n, err := h.disconnect(of, over)
		if err != nil {
			return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: fmt.Errorf("disconnecting streams of hub %q: %w", h.name, err)}
		}
		answer.Streams += n
	}
	return answerJSON(w, answer)
}

func answerJSON(w http.ResponseWriter, answer any) error {
	body, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(body, '\n')) // whoever asked has gone
	return nil
}
