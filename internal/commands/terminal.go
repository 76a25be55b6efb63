package commands

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// isTerminal tells whether w is one that understands escape sequences.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// escaped is text on one line that no terminal takes for a command: what cannot be printed is shown as Go has it in a string, bytes
// that are no UTF-8 as \xNN. So are marks that turn the direction of writing. A backslash stays as it is: JSON is full of them.
func escaped(text string) string {
	if strings.IndexFunc(text, unprintable) < 0 {
		return text
	}
	var out strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[0])
		case unprintable(r):
			quoted := fmt.Sprintf("%+q", text[:size])
			out.WriteString(quoted[1 : len(quoted)-1])
		default:
			out.WriteString(text[:size])
		}
		text = text[size:]
	}
	return out.String()
}

// jsonEscaped is JSON whose strings have nothing that cannot be printed.
func jsonEscaped(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case !unprintable(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// unprintable includes U+FFFD, so that invalid bytes are found.
func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// The colours of a terminal.
const (
	plain  = ""
	faint  = "\x1b[2m"
	red    = "\x1b[1;31m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	reset  = "\x1b[0m"
)

// palette colours text, or does not.
type palette bool

// paletteFor has colours on a terminal, unless NO_COLOR says otherwise (https://no-color.org).
func paletteFor(w io.Writer) palette { return palette(isTerminal(w) && os.Getenv("NO_COLOR") == "") }

func (p palette) in(colour, text string) string {
	if !p || colour == plain {
		return text
	}
	return colour + text + reset
}
