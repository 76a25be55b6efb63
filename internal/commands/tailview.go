package commands

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// maxShown is how much of an event's data a terminal shows: a screen of it. Elsewhere, and with --raw, all of it is there.
const maxShown = 2000

// tailView shows a stream to a person, or its lines to a program.
type tailView struct {
	out, notes io.Writer // what a stream has; what there is to say of it
	colours    palette
	raw        bool
	short      bool // out is a terminal
	cursors    bool
	now        func() time.Time

	gapName, cursorName string

	events, gaps int
	missed       uint64 // as far as gaps say
	unknown      bool   // a gap does not say
	err          error  // of writing, the first
}

func newTailView(out, errs io.Writer, flags tailFlags) *tailView {
	v := &tailView{
		out: out, notes: out, raw: flags.raw, short: isTerminal(out), cursors: flags.cursors, now: time.Now,
		gapName: flags.gapName, cursorName: flags.cursorName,
	}
	if flags.raw {
		v.notes = errs
	}
	v.colours = paletteFor(v.notes)
	return v
}

func (v *tailView) print(w io.Writer, text string) {
	if _, err := io.WriteString(w, text+"\n"); err != nil && v.err == nil {
		v.err = fmt.Errorf("writing: %w", err)
	}
}

const clockTime = "15:04:05.000"

// line shows something with its time.
func (v *tailView) line(w io.Writer, colour, name, text string) {
	const widest = 8 // of names that there usually are
	name = v.colours.in(colour, fmt.Sprintf("%-*s", widest, name))
	v.print(w, v.colours.in(faint, v.now().Format(clockTime))+"  "+name+"  "+text)
}

func (v *tailView) note(colour, what, text string) { v.line(v.notes, colour, "-- "+what, text) }

func (v *tailView) opened(address, proto, lastID string) {
	if lastID != "" {
		address += ", after " + escaped(lastID)
	}
	v.note(faint, "open", fmt.Sprintf("%s, %s", proto, address))
}

func (v *tailView) broken(err error, wait time.Duration) {
	v.note(yellow, "lost", fmt.Sprintf("%s; back in %v", escaped(err.Error()), wait))
}

// rawLine shows a line of the stream as it is, unless that could drive a terminal.
func (v *tailView) rawLine(line []byte) {
	if !v.raw {
		return
	}
	text := string(line)
	if v.short {
		text = escaped(text)
	}
	v.print(v.out, text)
}

// show counts what a stream has, and shows it unless its lines are.
func (v *tailView) show(it item) {
	switch {
	case it.kind == commentItem:
		if _, isCursor := hub.ReadID(it.data); v.cursors || !isCursor {
			v.event(faint, ":", it.data)
		}
	case it.name == v.gapName:
		v.gap(it.data)
	case it.name == v.cursorName:
		if v.cursors {
			v.event(faint, it.name, it.data)
		}
	default:
		v.events++
		v.event(cyan, it.name, it.data)
	}
}

func (v *tailView) event(colour, name, data string) {
	if v.raw {
		return
	}
	size := len(data)
	if v.short && size > maxShown {
		data = strings.ToValidUTF8(data[:maxShown], "") + "..."
		v.line(v.out, colour, escaped(name), escaped(data)+v.colours.in(faint, fmt.Sprintf(" (%s)", humanize.IBytes(uint64(size)))))
		return
	}
	v.line(v.out, colour, escaped(name), escaped(data))
}

// gap shows a gap event in words.
func (v *tailView) gap(data string) {
	v.gaps++
	var g struct {
		Channel, Pattern, Reason string
		After                    *string
		Missed                   *uint64
	}
	if err := json.Unmarshal([]byte(data), &g); err != nil {
		v.unknown = true
		v.event(red, v.gapName, data)
		return
	}
	missed, where := "an unknown number", g.Channel
	if g.Missed != nil {
		v.missed += *g.Missed
		missed = strconv.FormatUint(*g.Missed, 10)
	} else {
		v.unknown = true
	}
	if g.Pattern != "" {
		where = "pattern " + g.Pattern
	}
	text := fmt.Sprintf("%s: missed %s (%s)", where, missed, g.Reason)
	if g.After != nil {
		text += ", after " + *g.After
	}
	v.event(red, v.gapName, text)
}

// summary says what there was in all.
func (v *tailView) summary(streams int, lasted time.Duration, lastID string) {
	text := fmt.Sprintf("%s, %s", count(v.events, "event", "events"), count(v.gaps, "gap", "gaps"))
	switch {
	case v.unknown && v.missed > 0:
		text += fmt.Sprintf(" (at least %d missed)", v.missed)
	case v.unknown:
		text += " (how many were missed is unknown)"
	case v.gaps > 0:
		text += fmt.Sprintf(" (%d missed)", v.missed)
	}
	text += fmt.Sprintf(", %s in %s", count(streams, "stream", "streams"), short(lasted))
	if lastID != "" {
		text += "; the last id is " + escaped(lastID)
	}
	v.note(faint, "end", text)
}

// count is a number of things, in words.
func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
