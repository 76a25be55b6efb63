// Package ssetest is an event stream client for tests. It reads what a browser's EventSource would, by the letter of the HTML
// standard, section 9.2.6 (https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation), so that
// a test fails where a browser would.
//
//	stream := ssetest.Open(t, server.Client(), server.URL+"/events")
//	stream.SkipCursor()
//	// publish, then:
//	event := stream.Next()
//
// [Parser] is the interpretation alone, [Stream] a response that is read as it arrives, [EventSource] a client that comes back
// when its response has ended.
package ssetest

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"
)

// Event is one dispatched event, as the listener of an EventSource sees it.
type Event struct {
	ID   string // the last event id when it was dispatched, from this event or an earlier one
	Type string // "message" if the stream names none
	Data string
}

// Parser turns the bytes of an event stream into events. Where the bytes are cut makes no difference. Use [NewParser]; the
// fields are to be read between calls of Push. It is not safe for concurrent use.
type Parser struct {
	// LastEventID is the last event ID string: what a reconnecting browser would send. An id counts from the blank line after
	// it, whether or not that dispatches an event.
	LastEventID string
	// Retry is the reconnection time the stream asked for last, -1 if it did not.
	Retry time.Duration
	// Comments holds what followed the colon of each comment line, a leading space included.
	Comments []string

	line    []byte // the beginning of a line whose end has not arrived
	afterCR bool   // the last line ended in CR, so that a LF belongs to it
	started bool   // the first line, which may begin with a byte order mark, is done

	// The buffers of the standard. One is of bytes so that a payload of many lines is not copied for each.
	data          []byte
	eventType, id string
}

// NewParser returns a parser at the beginning of a stream.
func NewParser() *Parser { return &Parser{Retry: -1} }

// Push reads the next bytes of the stream and returns the events they complete. An event whose blank line never comes is never
// returned: the standard discards it at the end of the stream.
func (p *Parser) Push(b []byte) []Event {
	var events []Event
	if p.afterCR && len(b) > 0 {
		p.afterCR = false
		b = bytes.TrimPrefix(b, []byte("\n"))
	}
	for {
		end := bytes.IndexAny(b, "\r\n")
		if end < 0 {
			p.line = append(p.line, b...)
			return events
		}
		p.line = append(p.line, b[:end]...)
		if event, ok := p.endLine(); ok {
			events = append(events, event)
		}
		// A CR ends its line at once, whatever comes next: an event must not wait for the next one's first byte.
		crlf := bytes.HasPrefix(b[end:], []byte("\r\n"))
		p.afterCR = b[end] == '\r' && end+1 == len(b)
		b = b[end+1:]
		if crlf {
			b = b[1:]
		}
	}
}

// endLine processes the line that has been collected, and returns an event if it is the blank one after its fields.
func (p *Parser) endLine() (Event, bool) {
	raw := p.line
	p.line = p.line[:0]
	if !p.started {
		p.started = true
		raw = bytes.TrimPrefix(raw, []byte("\uFEFF"))
	}
	// Decoding line by line gives the same as decoding the stream, since no malformed sequence swallows CR or LF.
	line := decodeUTF8(raw)
	if line == "" {
		return p.dispatch()
	}
	field, value, _ := strings.Cut(line, ":")
	if field == "" {
		p.Comments = append(p.Comments, value)
		return Event{}, false
	}
	p.field(field, strings.TrimPrefix(value, " "))
	return Event{}, false
}

func (p *Parser) field(name, value string) {
	switch name {
	case "event":
		p.eventType = value
	case "data":
		p.data = append(append(p.data, value...), '\n')
	case "id":
		if !strings.Contains(value, "\x00") {
			p.id = value
		}
	case "retry":
		if d, ok := parseRetry(value); ok {
			p.Retry = d
		}
	}
}

// dispatch follows the steps of the standard in their order: the id is taken over also where there is no event.
func (p *Parser) dispatch() (Event, bool) {
	p.LastEventID = p.id
	event := Event{ID: p.id, Type: p.eventType, Data: string(bytes.TrimSuffix(p.data, []byte("\n")))}
	empty := len(p.data) == 0
	p.data, p.eventType = p.data[:0], ""
	if event.Type == "" {
		event.Type = "message"
	}
	return event, !empty
}

// parseRetry reads milliseconds, ASCII digits only. More than a Duration holds is the longest Duration. The standard leaves open
// what no digits at all mean; here they are ignored.
func parseRetry(value string) (time.Duration, bool) {
	if value == "" || strings.Trim(value, "0123456789") != "" {
		return 0, false
	}
	ms, err := strconv.ParseInt(value, 10, 64)
	if err != nil || ms > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64, true
	}
	return time.Duration(ms) * time.Millisecond, true
}
