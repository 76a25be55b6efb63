package resp

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
)

// What a plain reader of the protocol makes of a text that is there as a whole.
const (
	whole   = iota // of replies, and nothing of another one
	partial        // it ends within one
	refused        // it announces what is over the limits
)

// readPlainly reads one reply after another by the protocol's specification: a line of a type and its argument, then what that
// announces. What is no number announces nothing. depth counts the arrays around.
func readPlainly(text string) (state int) {
	for text != "" {
		if text, state = readReply(text, 0); state != whole {
			return state
		}
	}
	return whole
}

func readReply(text string, depth int) (rest string, state int) {
	line, rest, found := strings.Cut(text, "\n")
	switch {
	case len(line) > maxLine:
		return "", refused
	case !found:
		return "", partial
	case line == "": // no reply; the reader will say so
		return rest, whole
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(line[1:], "\r"), 10, 64)
	switch kind := line[0]; {
	case err != nil || n < 0:
		return rest, whole
	case strings.IndexByte("$=!", kind) >= 0:
		if n > maxBulk {
			return "", refused
		}
		if int64(len(rest)) < n+2 {
			return "", partial
		}
		return rest[n+2:], whole
	case strings.IndexByte("*~>%|", kind) >= 0 && n > 0:
		return readElements(rest, n, depth)
	}
	return rest, whole
}

func readElements(text string, n int64, depth int) (rest string, state int) {
	if n > maxElements || depth == maxNesting {
		return "", refused
	}
	for n > 0 {
		if text == "" {
			return "", partial
		}
		if text[0] == '\n' { // an empty line is no element
			text = text[1:]
			continue
		}
		if text, state = readReply(text, depth+1); state != whole {
			return "", state
		}
		n--
	}
	return text, whole
}

// FuzzGuard compares what the guard, which sees pieces, makes of a text with what a plain reader makes of the whole.
func FuzzGuard(f *testing.F) {
	for _, seed := range []string{
		"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n", "+OK\r\n-ERR x\r\n:7\r\n", "$-1\r\n*-1\r\n_\r\n", "*0\r\n*1\r\n*1\r\n:1\r\n",
		"$536870913\r\n", "*65537\r\n", strings.Repeat("*1\r\n", 9) + ":1\r\n", "\n\n*2\r\n\n:1\r\n:2\r\n", "$3\r\na\nb\r\n", "*2\n$0\n\r\n$1\nx\r\n",
		"HTTP/1.1 400\r\n\r\n", "$x\r\n", ">2\r\n%1\r\n+a\r\n+b\r\n", "*99999999999999999999\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := readPlainly(text)
		for _, size := range []int{1, 3, len(text) + 1} {
			var g framing
			var err error
			for left := []byte(text); len(left) > 0 && err == nil; {
				n := min(size, len(left))
				err = g.take(left[:n])
				left = left[n:]
			}
			between := g.skip == 0 && len(g.line) == 0 && len(g.open) == 0
			switch {
			case errors.Is(err, errAnnounced) != (want == refused):
				t.Fatalf("%q in pieces of %d: %v, want %d", text, size, err, want)
			case want == whole && !between, want == partial && between && !bytes.HasSuffix([]byte(text), []byte("\n")):
				t.Fatalf("%q in pieces of %d: the guard is at %+v, want %d", text, size, g, want)
			}
		}
	})
}
