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

// cursor is a place in a hub's buffers; its text form is the event id,
// <ms>-<seq>-<epoch>-<anchor>. The zero value means "no place".
type cursor struct {
	ms     int64  // low-water time, Redis's clock, Unix milliseconds; 0: unknown
	seq    uint64 // everything of the stream up to seq has been written
	epoch  uint64 // which life of which hub counted seq
	anchor uint32 // identifies the newest message before the cursor; 0: none
}

// maxID is the length of the longest id that String can make: 19 digits of
// ms, 20 of seq, 16 of epoch, 8 of anchor and three dashes. Anything longer
// is rejected before it is looked at.
const maxID = 19 + 1 + 20 + 1 + 16 + 1 + 8

func (c cursor) String() string { return string(c.appendTo(make([]byte, 0, maxID))) }

func (c cursor) appendTo(dst []byte) []byte {
	dst = strconv.AppendInt(dst, c.ms, 10)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, c.seq, 10)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, c.epoch, 16)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, uint64(c.anchor), 16)
}

// parseCursor reads an event id. It accepts exactly what String makes, so
// that two texts never mean one place.
func parseCursor(s string) (cursor, bool) {
	if len(s) > maxID {
		return cursor{}, false
	}
	ms, rest, _ := strings.Cut(s, "-")
	seq, rest, _ := strings.Cut(rest, "-")
	epoch, anchor, _ := strings.Cut(rest, "-")
	var c cursor
	var err [4]error
	var a uint64
	c.ms, err[0] = strconv.ParseInt(ms, 10, 64)
	c.seq, err[1] = strconv.ParseUint(seq, 10, 64)
	c.epoch, err[2] = strconv.ParseUint(epoch, 16, 64)
	a, err[3] = strconv.ParseUint(anchor, 16, 32)
	c.anchor = uint32(a)
	if err != [4]error{} || c.ms < 0 || c.String() != s {
		return cursor{}, false
	}
	return c, true
}

// format is everything that the bytes of an event's body depend on besides
// the message. It is comparable: streams with equal formats share the bodies.
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

// The names of gaps and of cursors and heartbeats, unless configured.
const (
	defaultGapEvent    = "gap"
	defaultCursorEvent = "cursor"
)

// parseFormat reads how events are to be named: event is "none", "channel" or
// "field <name>" and says how those of messages are, gap and cursor are the
// names of the others. Empty ones are "none", "gap" and "cursor". An error
// names the option, event, gap_event or cursor_event, and its value.
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

// maxEventName bounds event names, in bytes: they are identifiers that a page
// registers listeners for, and a longer one is a payload put in the wrong
// place. A longer name is left out.
const maxEventName = 64

// nameAllowed reports whether name may stand in an event: line ends would
// break the frame, "open" and "error" are events that EventSource itself
// fires, and a message must not pass for a gap or a cursor.
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

// encodeBody makes all of a message's frame but its id line, and reports what
// had to be changed: an event name left out, bytes that were not UTF-8.
func (f *Format) encodeBody(m *message) (body []byte, nameLeft, badUTF8 bool) {
	name, nameLeft := f.eventName(m)
	payload := m.payload
	if !utf8.ValidString(payload) {
		// One U+FFFD per bad byte, as a UTF-8 decoder would show it. (A run is
		// not folded into one: the length of what was there stays visible.)
		payload, badUTF8 = string([]rune(payload)), true
	}
	lines := 1 + strings.Count(payload, "\n") + strings.Count(payload, "\r")
	body = make([]byte, 0, len(payload)+lines*len("data: \n")+len("event: \n")+len(name)+1)
	if name != "" {
		body = append(append(append(body, "event: "...), name...), '\n')
	}
	return append(appendData(body, payload), '\n'), nameLeft, badUTF8
}

// appendData writes one data line per line of payload. A line ends at CRLF,
// LF or CR, whichever a browser would end it at.
func appendData(dst []byte, payload string) []byte {
	for {
		dst = append(dst, "data: "...)
		end := strings.IndexAny(payload, "\r\n")
		if end < 0 {
			return append(append(dst, payload...), '\n')
		}
		dst = append(append(dst, payload[:end]...), '\n')
		if strings.HasPrefix(payload[end:], "\r\n") {
			end++
		}
		payload = payload[end+1:]
	}
}

func appendIDLine(dst []byte, c cursor) []byte {
	dst = append(dst, "id: "...)
	return append(c.appendTo(dst), '\n')
}

// appendRetry sets the browser's reconnection time, in milliseconds. It needs
// no blank line: the field takes effect as its line is read.
func AppendRetry(dst []byte, ms int64) []byte {
	dst = append(dst, "retry: "...)
	return append(strconv.AppendInt(dst, ms, 10), '\n')
}

// appendCursor writes an event that only carries a cursor.
func (f *Format) appendCursor(dst []byte, c cursor) []byte {
	dst = append(append(dst, "event: "...), f.cursor...)
	return append(appendIDLine(append(dst, '\n'), c), "data: {}\n\n"...)
}

// gapReason says why a stream cannot vouch for a stretch of a channel.
type GapReason string

// The reasons a client may see; docs/architecture/redis-pubsub.md explains them.
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

var GapReasons = []GapReason{
	gapDisconnected, gapEvicted, gapExpired, gapSlowClient, gapNotBuffered, gapTooLarge, gapDenied, gapUnknownID,
}

// gap is the data of a gap event.
type gap struct {
	Channel string    `json:"channel,omitempty"` // either this
	Pattern string    `json:"pattern,omitempty"` // or this
	Reason  GapReason `json:"reason"`
	After   *string   `json:"after"`  // the last cursor at which the channel was complete
	Missed  *uint64   `json:"missed"` // null: unknown
}

func (f *Format) appendGap(dst []byte, id cursor, g gap) []byte {
	dst = append(append(dst, "event: "...), f.gap...)
	dst = appendIDLine(append(dst, '\n'), id)
	data, err := json.Marshal(g)
	if err != nil {
		panic(err) // strings and integers always marshal
	}
	// JSON escapes line ends and replaces invalid UTF-8: always one data line.
	return append(appendData(dst, string(data)), '\n')
}
