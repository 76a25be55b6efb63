package resp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
)

// follow gives the framing a text in pieces of that size, and returns how much it took before it had enough.
func follow(text string, size int) (taken int, err error) {
	var f framing
	for taken < len(text) {
		n := min(size, len(text)-taken)
		if err := f.take([]byte(text[taken : taken+n])); err != nil {
			return taken, err
		}
		taken += n
	}
	return taken, nil
}

func TestFraming(t *testing.T) {
	message := func(payload string) string {
		return fmt.Sprintf("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$%d\r\n%s\r\n", len(payload), payload)
	}
	nested := func(depth int) string { return strings.Repeat("*1\r\n", depth) + "+x\r\n" }
	for name, test := range map[string]struct {
		text string
		want string // of the error, none if it is empty
	}{
		"a message":                   {message("hello"), ""},
		"an empty one":                {message(""), ""},
		"what looks like a reply":     {message("$99999999999\r\n*99999999999\r\n"), ""},
		"a line end":                  {message("\n"), ""},
		"pong, status, error, number": {"*2\r\n$4\r\npong\r\n$0\r\n\r\n+OK\r\n-ERR $99999999999\r\n:99999999999\r\n", ""},
		"null":                        {"$-1\r\n*-1\r\n_\r\n" + message("x"), ""},
		"no elements":                 {strings.Repeat("*0\r\n", 20), ""},
		"a role":                      {"*3\r\n$6\r\nmaster\r\n:1\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n6380\r\n$1\r\n1\r\n", ""},
		"nested":                      {strings.Repeat(nested(maxNesting), 3), ""},
		"no RESP":                     {"HTTP/1.1 400 Bad Request\r\n\r\n$x\r\n*\r\n", ""},
		"the largest":                 {"$536870912\r\n", ""},
		"too large":                   {message("x") + "$536870913\r\n", "536870913 bytes"},
		"too large in an array":       {"*3\r\n$7\r\nmessage\r\n$99999999999\r\n", "99999999999 bytes"},
		"a too large error":           {"!99999999999\r\n", "99999999999 bytes"},
		"a too large text":            {"=99999999999\r\n", "99999999999 bytes"},
		"too many":                    {"*65537\r\n", "65537 elements"},
		"too many in a push":          {">99999999999\r\n", "99999999999 elements"},
		"too many in a map":           {"%99999999999\r\n", "99999999999 elements"},
		"too deep":                    {nested(maxNesting + 1), "9 deep"},
		"a line without an end":       {"+" + strings.Repeat("x", maxLine+1), "a line of over 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 7, 1 << 20} {
				taken, err := follow(test.text, size)
				if test.want == "" && (err != nil || taken != len(test.text)) {
					t.Errorf("in pieces of %d: took %d of %d, %v", size, taken, len(test.text), err)
				}
				if test.want != "" && (!errors.Is(err, errAnnounced) || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("in pieces of %d: %v, want %q", size, err, test.want)
				}
			}
		})
	}
}

func TestFramingAllocatesNothing(t *testing.T) {
	text := []byte(strings.Repeat("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n", 100))
	var f framing
	if n := testing.AllocsPerRun(100, func() { _ = f.take(text) }); n > 0 {
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
	conn, buf := Guard(ours), make([]byte, 100)
	if n, err := conn.Read(buf); string(buf[:n]) != "+OK\r\n" || err != nil {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	for range 2 {
		if n, err := conn.Read(buf); n != 0 || !errors.Is(err, errAnnounced) {
			t.Errorf("read %q, %v", buf[:n], err)
		}
	}
}

func TestOnlyWhatHasASocketSeemsToHaveOne(t *testing.T) {
	ours, _ := net.Pipe()
	defer ours.Close()
	if _, ok := Guard(ours).(syscall.Conn); ok {
		t.Error("what is no socket looks like one")
	}
	if _, ok := Guard(new(net.TCPConn)).(syscall.Conn); !ok {
		t.Error("a socket cannot be looked at")
	}
}

// What a message costs beside being read: Redis sends many in one piece.
func BenchmarkFraming(b *testing.B) {
	const messages = 200
	text := []byte(strings.Repeat(fmt.Sprintf("*3\r\n$7\r\nmessage\r\n$5\r\njob:7\r\n$100\r\n%s\r\n", strings.Repeat("x", 100)), messages))
	var f framing
	b.ReportAllocs()
	for b.Loop() {
		if err := f.take(text); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages, "ns/message")
}
