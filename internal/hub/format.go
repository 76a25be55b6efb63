package hub

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/redis-sse/caddy-redis-sse/internal/jsonpath"
)

// Wire is how streams look to their clients, as it is configured.
//
//	          says                                        values                            empty means
//	Event     how the events of messages are named        none, channel or field <path>     none
//	Data      what of a message is sent                   payload or field <path>           payload
//	Control   how cursors and heartbeats are sent         events or comments                events
//	Gap       the event name of gaps                      an event name                     gap; of comments: no name
//	GapData   what a gap is in the client's protocol      a template, or none               with comments it is needed
//	Cursor    the event name of cursors and heartbeats    an event name                     cursor
//	End       with which messages a stream ends                                             no message ends it
//	Begin     with which messages an answer begins                                          that is not known
//	Merge     where the string is that messages may                                         each has an event of its own
//	          differ in that share an event                     paths
type Wire struct {
	Event, Data, Control string
	Gap, GapData, Cursor string
	End, Begin           []Match
	Merge                []string
}

// Format is everything that the bytes of an event's body depend on besides the
// message, as ParseFormat makes it. Streams with equal formats share the bodies, see same. Immutable,
// so any goroutine may use it.
type Format struct {
	event    string   // "none", "channel" or "field"
	field    string   // path in a JSON payload whose string value names the event
	data     string   // path in a JSON payload whose value is sent instead of it; empty: none
	gap      string   // event name of gaps; empty: they have none
	cursor   string   // event name of cursors and heartbeats
	comments bool     // cursors are comments, for clients that are strict about events
	gapData  template // what gaps are then
	rules    *rules   // nil for none
	ruled    string   // their text
}

const (
	eventNone    = "none"
	eventChannel = "channel"
	eventField   = "field"
)

// The values of Wire.Data and Wire.Control.
const (
	dataPayload     = "payload"
	controlEvents   = "events"
	controlComments = "comments"
)

// The event names of gaps and of cursors and heartbeats, unless configured.
const (
	defaultGapEvent    = "gap"
	defaultCursorEvent = "cursor"
)

// same reports whether events look the same in both formats.
func (f *Format) same(g *Format) bool {
	if f == g {
		return true
	}
	a, b := *f, *g
	a.rules, b.rules = nil, nil // their texts are compared
	return a == b
}

// Comments reports whether cursors are comments: a client that is cut before its first event comes
// back without a cursor.
func (f *Format) Comments() bool { return f.comments }

// HidesGaps reports whether gaps are comments, which no client's code sees.
func (f *Format) HidesGaps() bool { return f.comments && f.gapData == gapNone }

// ParseFormat reads a Wire. An error names the option, as the Caddyfile has it, and its value.
func ParseFormat(w Wire) (Format, error) {
	f := Format{event: cmp.Or(w.Event, eventNone)}
	if word, field, ok := strings.Cut(f.event, " "); ok && word == eventField && field != "" {
		f.event, f.field = eventField, field // any text may be a key of the top level
	} else if f.event != eventNone && f.event != eventChannel {
		return f, fmt.Errorf("event is %q, want none, channel or field <path>", w.Event)
	}
	if err := errors.Join(f.parseData(w.Data), f.parseControl(w)); err != nil {
		return f, err
	}
	if len(w.End)+len(w.Begin)+len(w.Merge) == 0 {
		return f, nil
	}
	f.rules = &rules{end: w.End, begin: w.Begin, merge: w.Merge}
	f.ruled = f.rules.text()
	return f, errors.Join(f.checkMatches("end", w.End), f.checkMatches("begin", w.Begin), f.checkMerge(w.Merge))
}

func (f *Format) parseData(data string) error {
	word, path, ok := strings.Cut(data, " ")
	switch {
	case data == "" || data == dataPayload:
		return nil
	case word != eventField || !ok || path == "":
		return fmt.Errorf("data is %q, want payload or field <path>", data)
	}
	if err := jsonpath.Check(path); err != nil {
		return fmt.Errorf("data field: %w", err)
	}
	f.data = path
	return nil
}

func (f *Format) parseControl(w Wire) error {
	switch w.Control {
	case controlComments:
		return f.parseComments(w)
	case "", controlEvents:
	default:
		return fmt.Errorf("control is %q, want events or comments", w.Control)
	}
	if w.GapData != "" {
		return fmt.Errorf("gap_data is %q, which only control comments has room for: with events the data of a gap is its JSON", w.GapData)
	}
	f.gap, f.cursor = cmp.Or(w.Gap, defaultGapEvent), cmp.Or(w.Cursor, defaultCursorEvent)
	if f.gap == f.cursor {
		return fmt.Errorf("gap_event and cursor_event are both %q", f.gap)
	}
	return errors.Join(f.checkEventName("gap_event", f.gap), f.checkEventName("cursor_event", f.cursor))
}

func (f *Format) parseComments(w Wire) (err error) {
	f.comments, f.gap = true, w.Gap
	switch {
	case w.GapData == "":
		return errors.New("control comments needs gap_data: what a gap is in this client's protocol, or none")
	case w.Cursor != "":
		return fmt.Errorf("cursor_event is %q, but with control comments no cursor is an event", w.Cursor)
	case w.Gap != "" && w.GapData == string(gapNone):
		return fmt.Errorf("gap_event is %q, but with gap_data none no gap is an event", w.Gap)
	case w.Gap != "" && (!wellFormedName(w.Gap) || w.Gap == "message"):
		return fmt.Errorf("gap_event is %q, want 1 to %d bytes without line ends, not message", w.Gap, maxEventName)
	}
	f.gapData, err = parseTemplate(w.GapData)
	if err != nil {
		return fmt.Errorf("gap_data is %.200q: %w", w.GapData, err)
	}
	return nil
}

func (f *Format) checkEventName(key, name string) error {
	if !wellFormedName(name) || reservedName(name) || name == "message" {
		return fmt.Errorf("%s is %q, want 1 to %d bytes without line ends, not open, error or message", key, name, maxEventName)
	}
	return nil
}

// maxEventName bounds event names, in bytes; a longer name is left out. Names are
// identifiers that a page registers listeners for, and a longer one is a payload
// put in the wrong place.
const maxEventName = 64

// wellFormedName reports whether a name can stand in an event: line ends would break the frame.
func wellFormedName(name string) bool {
	return name != "" && len(name) <= maxEventName && !strings.ContainsAny(name, "\r\n\x00") && utf8.ValidString(name)
}

// reservedName reports whether EventSource itself fires events of that name.
func reservedName(name string) bool { return name == "open" || name == "error" }

// nameAllowed reports whether name may stand in the event of a message, which must not pass for
// a gap or a cursor. With comments there are no cursors to pass for, and what a gap looks like is
// up to the protocol.
func (f *Format) nameAllowed(name string) bool {
	return wellFormedName(name) && (f.comments || !reservedName(name) && name != f.gap && name != f.cursor)
}

// eventName returns the event name for a message of a channel, empty for none, and whether
// one was asked for but had to be left out. p is of the message's payload.
func (f *Format) eventName(channel string, p *parsed) (name string, left bool) {
	switch f.event {
	case eventChannel:
		name = channel
	case eventField:
		v, ok := p.find(f.field)
		if !ok || !v.IsString() {
			return "", true
		}
		name = v.Text()
	default:
		return "", false
	}
	if !f.nameAllowed(name) {
		return "", true
	}
	return name, false
}

// dataOf returns what is sent of a payload, and whether that should have been a value in it that is not there.
func (f *Format) dataOf(p *parsed) (data string, left bool) {
	if f.data == "" {
		return p.payload, false
	}
	v, ok := p.find(f.data)
	if !ok {
		return p.payload, true
	}
	return v.Text(), false
}
