package hub

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The wire format is the event stream of the WHATWG HTML standard, section
// 9.2 "Server-sent events". A browser hands lastEventId to the page only for
// events that carry data, so cursors travel in an event with data.

// Format is everything that the bytes of an event's body depend on besides the
// message, as ParseFormat makes it. Formats are comparable: streams with equal
// ones share the bodies. Immutable, so any goroutine may use it.
type Format struct {
	event  string // "none", "channel" or "field"
	field  string // top-level JSON key whose string value names the event
	gap    string // event name of gaps
	cursor string // event name of cursors and heartbeats
}

const (
	eventNone    = "none"
	eventChannel = "channel"
	eventField   = "field"
)

// The event names of gaps and of cursors and heartbeats, unless configured.
const (
	defaultGapEvent    = "gap"
	defaultCursorEvent = "cursor"
)

// ParseFormat reads how events are to be named:
//
//	        names the events of       values                          empty means
//	event   messages                  none, channel or field <name>   none
//	gap     gaps                      an event name                   gap
//	cursor  cursors and heartbeats    an event name                   cursor
//
// An error names the option, event, gap_event or cursor_event, and its value.
func ParseFormat(event, gap, cursor string) (Format, error) {
	f := Format{event: cmp.Or(event, eventNone), gap: cmp.Or(gap, defaultGapEvent), cursor: cmp.Or(cursor, defaultCursorEvent)}
	if word, field, ok := strings.Cut(f.event, " "); ok && word == eventField && field != "" {
		f.event, f.field = eventField, field
	} else if f.event != eventNone && f.event != eventChannel {
		return f, fmt.Errorf("event is %q, want none, channel or field <name>", event)
	}
	if f.gap == f.cursor {
		return f, fmt.Errorf("gap_event and cursor_event are both %q", f.gap)
	}
	return f, errors.Join(checkEventName("gap_event", f.gap), checkEventName("cursor_event", f.cursor))
}

func checkEventName(key, name string) error {
	if !(&Format{}).nameAllowed(name) || name == "message" {
		return fmt.Errorf("%s is %q, want 1 to %d bytes without line ends, not open, error or message", key, name, maxEventName)
	}
	return nil
}

// maxEventName bounds event names, in bytes; a longer name is left out. Names are
// identifiers that a page registers listeners for, and a longer one is a payload
// put in the wrong place.
const maxEventName = 64

// nameAllowed reports whether name may stand in an event: line ends would break
// the frame, EventSource itself fires "open" and "error", and a message must not
// pass for a gap or a cursor.
func (f *Format) nameAllowed(name string) bool {
	if name == "" || len(name) > maxEventName || strings.ContainsAny(name, "\r\n\x00") || !utf8.ValidString(name) {
		return false
	}
	return name != "open" && name != "error" && name != f.gap && name != f.cursor
}

// eventName returns the event name for a message, empty for none, and whether
// one was asked for but had to be left out.
func (f *Format) eventName(m *message) (name string, left bool) {
	switch f.event {
	case eventChannel:
		name = m.home.name
	case eventField:
		var ok bool
		if name, ok = jsonString(m.payload, f.field); !ok {
			return "", true
		}
	default:
		return "", false
	}
	if !f.nameAllowed(name) {
		return "", true
	}
	return name, false
}

// jsonString returns the string under key at the top level of a JSON object.
func jsonString(payload, key string) (string, bool) {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(payload), &object) != nil {
		return "", false
	}
	var s *string
	if json.Unmarshal(object[key], &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

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
// event without data, so the event has some.
func (f *Format) appendCursor(dst []byte, c cursor) []byte {
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

// appendGap appends a gap event.
func (f *Format) appendGap(dst []byte, id cursor, g gap) []byte {
	dst = append(append(dst, "event: "...), f.gap...)
	dst = appendIDLine(append(dst, '\n'), id)
	data, err := json.Marshal(g)
	if err != nil {
		panic(err) // strings and integers always marshal
	}
	// JSON escapes line ends and replaces invalid UTF-8: always one data line.
	return append(append(append(dst, "data: "...), data...), "\n\n"...)
}
