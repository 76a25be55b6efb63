package hub

import (
	"strings"
	"unicode/utf8"
)

// maxKept is the largest body, in bytes, that is made once and shared by all
// streams. A larger one is made by each stream from the payload, piece by
// piece: its bytes are sent in pieces of that size anyway, which costs far more
// than to make them, and a stream that stalls holds a piece and not the body. It
// is also the largest payload that a stream may hold without its being counted,
// see pins.
const maxKept = 16 << 10

// outline is what of a message's body is not its payload.
type outline struct {
	Notes
	verdict
	name string // of the event; empty: none
	data string // what is sent of the payload

	oneLine bool // that is all of it, and one line of UTF-8
	size    int  // of the body, in bytes: up to seven times the data
}

// Notes are what making an event's body has come upon.
type Notes struct {
	NameLeft bool // a name was asked for but could not be given
	DataLeft bool // a value of the payload was asked for that is not there: all of the payload is sent
	BadUTF8  bool // the data has bytes that are not UTF-8, which are replaced
}

func (f *Format) outline(m *message) outline {
	var o outline
	p := parsed{payload: m.payload}
	o.name, o.NameLeft = f.eventName(m.home.name, &p)
	o.data, o.DataLeft = f.dataOf(&p)
	o.verdict = f.verdict(&p, o.name)
	o.BadUTF8 = !utf8.ValidString(o.data)
	lines := 1 + strings.Count(o.data, "\n") + strings.Count(o.data, "\r")
	o.oneLine = lines == 1 && !o.BadUTF8 && f.data == ""
	o.size = len(o.data) + lines*len("data: \n") + len("\n")
	if o.BadUTF8 {
		o.size += countBad(o.data) * (len("\uFFFD") - 1)
	}
	if o.name != "" {
		o.size += len("event: \n") + len(o.name)
	}
	return o
}

// countBad counts the bytes that are not UTF-8.
func countBad(s string) (bad int) {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			bad++
		}
		i += n
	}
	return bad
}

// head returns the body up to the data.
func (o *outline) head(room int) []byte {
	if o.name == "" {
		return make([]byte, 0, room)
	}
	return append(append(append(make([]byte, 0, room), "event: "...), o.name...), '\n')
}

// body returns all of the body.
func (o *outline) body() []byte {
	whole := text{rest: o.data, fix: o.BadUTF8}
	body, _ := whole.append(o.head(o.size), o.size)
	return body
}

// Encoder makes the bytes of one event after another, each in pieces, so that
// nobody has to hold an event. The zero value is ready for Hub.Encode. Not safe
// for concurrent use.
type Encoder struct {
	hub    *Hub
	format *Format
	item   *Item
	begun  bool
	ends   bool   // an answer ends with the item
	shared []byte // what is left of what streams share
	own    text   // what is left of what this stream makes
}

// Encode readies e for an item. The notes are of a body that this has made: that streams
// share, or, where each stream makes it for itself, of each.
func (h *Hub) Encode(e *Encoder, it *Item, f *Format) Notes {
	*e = Encoder{hub: h, format: f, item: it, own: text{at: textOver}}
	if it.msg == nil {
		return Notes{}
	}
	fr, made := it.msg.home.frame(it.msg, f, h.bounds.Load().Limits)
	if made.size > 0 {
		h.enforce()
	}
	e.shared, e.ends = fr.body, fr.ends
	switch {
	case fr.oneLine:
		e.own = text{rest: it.msg.payload, oneLine: true}
	case fr.headOnly:
		data, _ := f.dataOf(&parsed{payload: it.msg.payload})
		e.own = text{rest: data, fix: fr.badUTF8}
	}
	return made.Notes
}

// Ends reports whether the item is a message that its stream ends with.
func (e *Encoder) Ends() bool { return e.ends }

// Append appends to dst what comes next of the event, until dst has most bytes
// or the event ends. more reports that it has not ended. (Only a gap, and the line
// with an id, are appended whole, which may take dst over most by some KiB.)
func (e *Encoder) Append(dst []byte, most int) (out []byte, more bool) {
	if !e.begun {
		e.begun = true
		if e.item.msg == nil {
			return e.format.appendGap(dst, e.item.id, e.item.gap()), false
		}
		id := e.item.id
		id.ended = e.ends
		dst = appendIDLine(dst, id)
	}
	n := min(len(e.shared), max(0, most-len(dst)))
	dst, e.shared = append(dst, e.shared[:n]...), e.shared[n:]
	if len(e.shared) > 0 || e.own.at == textOver {
		return dst, len(e.shared) > 0
	}
	return e.own.append(dst, most)
}

// Overtaken reports that the event has to be given up in the middle: its message
// has gone from the buffer, and streams hold too much of what has, see pins.
func (e *Encoder) Overtaken() bool {
	return e.item.msg != nil && e.hub.usage.pins.over(e.item.msg, e.hub.bounds.Load().Budget.Bytes)
}

// textAt is where in the text of an event's data an encoder is.
type textAt uint8

const (
	textNewLine textAt = iota // a line begins
	textInLine
	textBlank // all lines have ended, the blank line has not been made
	textOver
)

// text turns a payload into data lines and the blank line that ends an event. A
// line ends where a browser ends one: at CRLF, LF or CR.
type text struct {
	rest string // of the payload
	fix  bool   // bytes that are not UTF-8 become U+FFFD, one each: the length of what was there stays visible
	at   textAt

	oneLine bool // there are no line ends, and nothing to fix
}

// append appends until dst has most bytes, or a few more, or all is there.
func (t *text) append(dst []byte, most int) (out []byte, more bool) {
	if t.oneLine && t.at == textNewLine && len(dst)+len("data: \n\n")+len(t.rest) <= most {
		t.at = textOver // what most events are needs no steps
		return append(append(append(dst, "data: "...), t.rest...), "\n\n"...), false
	}
	for len(dst) < most && t.at != textOver {
		switch t.at {
		case textNewLine:
			dst, t.at = append(dst, "data: "...), textInLine
		case textInLine:
			dst = t.appendLine(dst, most)
		case textBlank:
			dst, t.at = append(dst, '\n'), textOver
		}
	}
	return dst, t.at != textOver
}

// appendLine appends what is left of a line, as far as there is room.
func (t *text) appendLine(dst []byte, most int) []byte {
	room := most - len(dst)
	if t.fix {
		room = (room + 2) / len("\uFFFD")
	}
	n := min(len(t.rest), max(0, room))
	if !t.oneLine {
		n = lineEnd(t.rest[:n])
	}
	if t.fix {
		dst, n = appendFixed(dst, t.rest, n)
	} else {
		dst = append(dst, t.rest[:n]...)
	}
	t.rest = t.rest[n:]
	switch {
	case t.rest == "":
		t.at = textBlank
		return append(dst, '\n')
	case t.rest[0] != '\n' && t.rest[0] != '\r':
		return dst // there was no room for more
	case strings.HasPrefix(t.rest, "\r\n"):
		t.rest = t.rest[1:]
	}
	t.rest, t.at = t.rest[1:], textNewLine
	return append(dst, '\n')
}

// appendFixed appends the runes that begin in the first n bytes of s. It returns
// how many bytes they take.
func appendFixed(dst []byte, s string, n int) (out []byte, taken int) {
	for taken < n {
		r, size := utf8.DecodeRuneInString(s[taken:])
		dst = utf8.AppendRune(dst, r)
		taken += size
	}
	return dst, taken
}

// nearby is how far lineEnd looks byte by byte: payloads of short lines would
// make it search all there is for the other kind of end, again for each line.
const nearby = 64

// lineEnd returns where the first line of s ends, its length if it does not.
func lineEnd(s string) int {
	near := min(len(s), nearby)
	for i := range near {
		if s[i] == '\n' || s[i] == '\r' {
			return i
		}
	}
	far := s[near:]
	if lf := strings.IndexByte(far, '\n'); lf >= 0 {
		far = far[:lf]
	}
	if cr := strings.IndexByte(far, '\r'); cr >= 0 {
		far = far[:cr]
	}
	return near + len(far)
}
