package hub

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// The wire format is the event stream of the WHATWG HTML standard, section
// 9.2 "Server-sent events". A browser hands lastEventId to the page only for
// events that carry data, so cursors travel in an event with data.

func appendIDLine(dst []byte, c cursor) []byte {
	dst = append(dst, "id: "...)
	return append(c.appendTo(dst), '\n')
}

// AppendRetry appends a line that sets the browser's reconnection time, in
// milliseconds (WHATWG HTML, 9.2.6). No blank line follows: the field takes effect
// as a browser reads the line.
func AppendRetry(dst []byte, ms int64) []byte {
	dst = append(dst, "retry: "...)
	return append(strconv.AppendInt(dst, ms, 10), '\n')
}

// appendCursor appends an event that only carries a cursor. A browser drops an
// event without data, so the event has some. A comment ends with its line: to clients that take
// a blank line for the end of an event, one behind a comment would be an empty event.
func (f *Format) appendCursor(dst []byte, c cursor) []byte {
	if f.comments {
		return append(c.appendTo(append(dst, ": "...)), '\n')
	}
	dst = append(append(dst, "event: "...), f.cursor...)
	return append(appendIDLine(append(dst, '\n'), c), "data: {}\n\n"...)
}

// GapReason says why a stream cannot vouch for a stretch of a channel or pattern.
type GapReason string

// The reasons that a client may see; docs/architecture/redis-pubsub.md explains them.
const (
	gapDisconnected GapReason = "redis_disconnected" // the Redis connection broke
	gapEvicted      GapReason = "evicted"            // the buffer was full, by count or bytes
	gapExpired      GapReason = "expired"            // the buffer's max_age passed
	gapSlowClient   GapReason = "slow_client"        // the client was overtaken while reading
	gapNotBuffered  GapReason = "not_buffered"       // the subscription began after the cursor
	gapTooLarge     GapReason = "too_large"          // a message over max_message or channel_size
	gapDenied       GapReason = "refused"            // Redis denied the channel or pattern
	gapUnknownID    GapReason = "unknown_id"         // the cursor was unparseable, foreign or from the future
)

// GapReasons are all there are. Nobody may write to the slice.
var GapReasons = []GapReason{
	gapDisconnected, gapEvicted, gapExpired, gapSlowClient, gapNotBuffered, gapTooLarge, gapDenied, gapUnknownID,
}

// gap is the data of a gap event.
type gap struct {
	Channel string    `json:"channel,omitempty"` // either this
	Pattern string    `json:"pattern,omitempty"` // or this
	Reason  GapReason `json:"reason"`
	After   *string   `json:"after"`  // the last cursor at which it was complete; null: unknown
	Missed  *uint64   `json:"missed"` // messages, exactly; null: unknown
}

// appendGap appends a gap event, or the comment that stands for it.
func (f *Format) appendGap(dst []byte, id cursor, g gap) []byte {
	if f.HidesGaps() {
		return append(append(append(dst, ": gap "...), g.json()...), '\n')
	}
	if f.gap != "" {
		dst = append(append(append(dst, "event: "...), f.gap...), '\n')
	}
	dst = appendIDLine(dst, id)
	if !f.comments {
		return append(append(append(dst, "data: "...), g.json()...), "\n\n"...)
	}
	return appendData(dst, f.gapData.data(g))
}

// AppendWords appends an event that is no message: the one that a message with this payload would be, of the stream's only channel,
// but for the id. So an SDK that tells events apart by their names, or takes its data out of an envelope, reads it as all else of its
// protocol.
func (s *Stream) AppendWords(dst []byte, f *Format, payload string) []byte {
	p := parsed{payload: payload}
	if name, _ := f.eventName(s.sources[0].line.name, &p); name != "" {
		dst = append(append(append(dst, "event: "...), name...), '\n')
	}
	data, _ := f.dataOf(&p)
	return appendData(dst, data)
}

// appendData appends the data lines of an event, and the blank line behind it.
func appendData(dst []byte, data string) []byte {
	lines := text{rest: data, fix: !utf8.ValidString(data)}
	dst, _ = lines.append(dst, math.MaxInt)
	return dst
}
