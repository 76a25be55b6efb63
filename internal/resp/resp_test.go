package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// saying is a connection whose other end says a text, in pieces of that size, and closes.
type saying struct {
	net.Conn
	text  string
	piece int
}

func (s *saying) Read(p []byte) (int, error) {
	if s.text == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.piece)], s.text)
	s.text = s.text[n:]
	return n, nil
}

// readAll reads a text that comes in pieces of that size as go-redis would, and returns what was handed on and why that ended.
func readAll(text string, piece int) (got string, c *Conn, err error) {
	var b bytes.Buffer
	c = New(&saying{text: text, piece: piece})
	for buf := make([]byte, 4<<10); err == nil; {
		var n int
		n, err = c.Read(buf)
		b.Write(buf[:n])
	}
	return b.String(), c, err
}

func message(channel, payload string) string {
	return fmt.Sprintf("*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(channel), channel, len(payload), payload)
}

func TestRead(t *testing.T) {
	nested := func(depth int) string { return strings.Repeat("*1\r\n", depth) + "+x\r\n" }
	for name, test := range map[string]struct {
		text string
		want string // of the error, none if it is empty
	}{
		"a message":                   {message("a", "hello"), ""},
		"an empty one":                {message("a", ""), ""},
		"what looks like a reply":     {message("a", "$99999999999\r\n*99999999999\r\n"), ""},
		"a line end":                  {message("a", "\n"), ""},
		"pong, status, error, number": {"*2\r\n$4\r\npong\r\n$0\r\n\r\n+OK\r\n-ERR $99999999999\r\n:99999999999\r\n", ""},
		"null":                        {"$-1\r\n*-1\r\n_\r\n" + message("a", "x"), ""},
		"no elements":                 {strings.Repeat("*0\r\n", 20), ""},
		"a role":                      {"*3\r\n$6\r\nmaster\r\n:1\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n6380\r\n$1\r\n1\r\n", ""},
		"nested":                      {strings.Repeat(nested(maxNesting), 3), ""},
		"no RESP":                     {"HTTP/1.1 400 Bad Request\r\n\r\n$x\r\n*\r\n", ""},
		"no end":                      {"-ERR Protocol err", ""},
		"no end of a bulk":            {"$10\r\n-ERR Prot", ""},
		"the largest":                 {"$536870912\r\n", ""},
		"the longest line":            {"+" + strings.Repeat("x", maxLine-len("+\r")) + "\r\n", ""},
		"too large":                   {message("a", "x") + "$536870913\r\n", "$536870913"},
		"too large in an array":       {"*3\r\n$7\r\nmessage\r\n$99999999999\r\n", "$99999999999"},
		"a too large error":           {"!99999999999\r\n", "!99999999999"},
		"a too large text":            {"=99999999999\r\n", "=99999999999"},
		"too many":                    {"*65537\r\n", "*65537"},
		"too many in a push":          {">99999999999\r\n", ">99999999999"},
		"too many in a map":           {"%99999999999\r\n", "%99999999999"},
		"too deep":                    {nested(maxNesting + 1), "9 deep"},
		"a line without an end":       {"+" + strings.Repeat("x", maxLine), "a line of over 65536 bytes"},
		"a line that is too long":     {"+" + strings.Repeat("x", maxLine) + "\r\n", "a line of over 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 3, 7, 1 << 20} {
				got, _, err := readAll(test.text, piece)
				if test.want == "" && (err != io.EOF || got != test.text) {
					t.Errorf("in pieces of %d: read %d bytes of %d, %v", piece, len(got), len(test.text), err)
				}
				if test.want != "" && (!errors.Is(err, errAnnounced) || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("in pieces of %d: %v, want %q", piece, err, test.want)
				}
			}
		})
	}
}

// What go-redis has read beyond the reply that it waits for, Receive would not see.
func TestReadHandsOnNothingOfTheNextReply(t *testing.T) {
	const role = "*3\r\n$5\r\nslave\r\n+x\r\n*1\r\n:1\r\n"
	for _, reply := range []string{"+OK\r\n", "$5\r\nhello\r\n", "$0\r\n\r\n", "-ERR x\r\n", role} {
		c := New(&saying{text: reply + message("a", "x"), piece: 1 << 20})
		for buf, left := make([]byte, 4<<10), len(reply); left > 0; {
			n, err := c.Read(buf)
			if left -= n; left < 0 || err != nil {
				t.Fatalf("behind %q another %d bytes are read, %v", reply, -left, err)
			}
		}
		if want := len(message("a", "x")); c.Buffered() != want {
			t.Errorf("behind %q are %d bytes, want %d", reply, c.Buffered(), want)
		}
		if r, err := c.Receive(); err != nil || r != (Reply{Kind: "message", Channel: "a", Payload: "x"}) {
			t.Errorf("behind %q: %+v, %v", reply, r, err)
		}
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	text, buf := strings.Repeat(message("a", "hello"), 100), make([]byte, 4<<10)
	end := &saying{piece: 1 << 20}
	c := New(end)
	n := testing.AllocsPerRun(100, func() {
		end.text = text
		for left := len(text); left > 0; {
			n, err := c.Read(buf)
			if left -= n; err != nil {
				t.Fatal(err)
			}
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for 100 messages", n)
	}
}

// A reader that made room for it would end the process.
func TestAnAnnouncementThatIsTooLargeIsNotRead(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		_, _ = io.WriteString(theirs, "+OK\r\n")
		_, _ = io.WriteString(theirs, "$99999999999\r\n")
	}()
	conn, buf := New(ours), make([]byte, 100)
	if n, err := conn.Read(buf); string(buf[:n]) != "+OK\r\n" || err != nil {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	for range 2 {
		if n, err := conn.Read(buf); n != 0 || !errors.Is(err, errAnnounced) {
			t.Errorf("read %q, %v", buf[:n], err)
		}
		if r, err := conn.Receive(); !errors.Is(err, errAnnounced) {
			t.Errorf("received %+v, %v", r, err)
		}
	}
}
