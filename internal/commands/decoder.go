package commands

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
)

// maxEvent bounds what one event or line of a stream may take, so that no server fills the memory of who looks at it. A message is
// at most some 32 MB, where Redis itself closes the subscription. The stream is given up at the limit.
const maxEvent = 64 << 20

var errTooLong = fmt.Errorf("reading the stream: an event is over %s", humanize.IBytes(maxEvent))

// decoder reads an event stream by the HTML standard, section 9.2.6.
type decoder struct {
	from io.Reader
	line func(line []byte) // if not nil, is called with each line, which is valid until it returns
	max  int               // bytes of an event, and of a line

	lastID string // what a client would come back with

	chunk   []byte // what has been read and is to be looked at
	buf     [16 << 10]byte
	pending []byte // the line so far
	afterCR bool   // a LF that follows belongs to the line before
	started bool   // the first line, which may begin with a byte order mark, is done

	// Fields of the event so far.
	data     []byte
	name, id string
}

func newDecoder(from io.Reader, lastID string) *decoder {
	return &decoder{from: from, max: maxEvent, lastID: lastID, id: lastID}
}

type itemKind int

const (
	eventItem itemKind = iota
	commentItem
	retryItem
)

// item is what a stream has for its reader.
type item struct {
	kind itemKind
	name string        // an event's, "message" if the stream names none
	data string        // of an event, or the comment's text
	wait time.Duration // before a client comes back: what retry says
}

// next returns the next item. What has no blank line after it when the stream ends is no event.
func (d *decoder) next() (item, error) {
	for {
		line, err := d.readLine()
		if err != nil {
			return item{}, err
		}
		if d.line != nil {
			d.line(line)
		}
		if !d.started {
			d.started = true
			line = bytes.TrimPrefix(line, []byte("\uFEFF"))
		}
		if it, ok := d.take(line); ok {
			return it, nil
		}
	}
}

// take handles a line, and returns what that completes.
func (d *decoder) take(line []byte) (item, bool) {
	if len(line) == 0 {
		return d.dispatch()
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "":
		return item{kind: commentItem, data: string(value)}, true
	case "event":
		d.name = string(value)
	case "data":
		d.data = append(append(d.data, value...), '\n')
	case "id":
		// The standard leaves out those with NUL. Those with other control characters no header can carry.
		if id := string(value); strings.IndexFunc(id, unicode.IsControl) < 0 {
			d.id = id
		}
	case "retry":
		ms, err := strconv.ParseUint(string(value), 10, 31) // up to 24 days
		return item{kind: retryItem, wait: time.Duration(ms) * time.Millisecond}, err == nil
	}
	return item{}, false
}

func (d *decoder) dispatch() (item, bool) {
	d.lastID = d.id
	it := item{kind: eventItem, name: d.name, data: string(bytes.TrimSuffix(d.data, []byte("\n")))}
	empty := len(d.data) == 0
	d.data, d.name = d.data[:0], ""
	if it.name == "" {
		it.name = "message"
	}
	return it, !empty
}

// readLine returns the next line, without its end. A CR ends one at once: an event must not wait for the next one's first byte.
func (d *decoder) readLine() ([]byte, error) {
	d.pending = d.pending[:0]
	for {
		if len(d.chunk) == 0 {
			if err := d.read(); err != nil {
				return nil, err
			}
		}
		if d.afterCR {
			d.afterCR = false
			d.chunk = bytes.TrimPrefix(d.chunk, []byte("\n"))
			continue
		}
		end := bytes.IndexAny(d.chunk, "\r\n")
		upTo := end
		if end < 0 {
			upTo = len(d.chunk)
		}
		if len(d.pending)+upTo+len(d.data) > d.max {
			return nil, errTooLong
		}
		d.pending = append(d.pending, d.chunk[:upTo]...)
		if end < 0 {
			d.chunk = nil
			continue
		}
		d.afterCR = d.chunk[end] == '\r'
		d.chunk = d.chunk[end+1:]
		return d.pending, nil
	}
}

func (d *decoder) read() error {
	n, err := d.from.Read(d.buf[:])
	d.chunk = d.buf[:n]
	if n == 0 && err == nil {
		err = errors.New("reading the stream: got nothing")
	}
	if n > 0 {
		return nil // an error comes again
	}
	return err
}
