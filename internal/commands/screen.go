package commands

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// screen is where a text is shown again and again: in place on a terminal, one below the other elsewhere.
type screen struct {
	out    io.Writer
	errs   io.Writer
	place  bool
	height func() int // of the terminal, in lines; 0: unknown
	lines  bool       // each text is one line, for a program
	shown  bool
}

func newScreen(out, errs io.Writer, lines bool) *screen {
	s := &screen{out: out, errs: errs, lines: lines, height: func() int { return 0 }}
	if f, ok := out.(*os.File); ok && !lines && isTerminal(out) {
		s.place = true
		s.height = func() int {
			_, height, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 0 // then nothing is cut
			}
			return height
		}
	}
	return s
}

// What moves a terminal's cursor to the beginning, and clears the rest of a line, or of the screen.
const (
	toTop     = "\x1b[H"
	clearLine = "\x1b[K"
	clearDown = "\x1b[J"
)

func (s *screen) show(text string) error {
	first := !s.shown
	s.shown = true
	switch {
	case !s.place && !first && !s.lines && text != "":
		text = "\n" + text
	case s.place:
		text = toTop + strings.ReplaceAll(s.fitting(text), "\n", clearLine+"\n") + clearDown
	}
	return write(s.out, text)
}

// fitting is as much of a text as a terminal has room for: what scrolls is not in place.
func (s *screen) fitting(text string) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	room := s.height() - 1 // the cursor is below
	if room < 2 || len(lines) <= room {
		return text
	}
	return strings.Join(lines[:room-1], "") + fmt.Sprintf("(%d more lines; the terminal has no room)\n", len(lines)-room+1)
}

// problem is what is shown in the place of a status that nobody gave. A program gets nothing instead of one.
func (s *screen) problem(err error) string {
	if s.lines {
		fmt.Fprintln(s.errs, escaped(err.Error()))
		return ""
	}
	return escaped(err.Error()) + "\n"
}
