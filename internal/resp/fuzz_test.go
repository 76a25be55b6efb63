package resp

import (
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// What a plain reader of the protocol makes of a text that is there as a whole.
const (
	whole   = iota // of replies, and nothing of another one
	partial        // it ends within one
	refused        // it announces what is over the limits
	foreign        // it has a line that is none of the protocol, behind which go-redis reads nothing
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
	case len(line) < len("+\r") || !strings.HasSuffix(line, "\r") || line[0] == 0:
		return "", foreign
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
		if text, state = readReply(text, depth+1); state != whole {
			return "", state
		}
		n--
	}
	return text, whole
}

// FuzzRead compares what Read, which sees pieces, makes of a text with what a plain reader makes of the whole.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n", "+OK\r\n-ERR x\r\n:7\r\n", "$-1\r\n*-1\r\n_\r\n", "*0\r\n*1\r\n*1\r\n:1\r\n",
		"$536870913\r\n", "*65537\r\n", strings.Repeat("*1\r\n", 9) + ":1\r\n", "\n\n*2\r\n\n:1\r\n:2\r\n", "$3\r\na\nb\r\n", "*2\n$0\n\r\n$1\nx\r\n",
		"HTTP/1.1 400\r\n\r\n", "$x\r\n", ">2\r\n%1\r\n+a\r\n+b\r\n", "*99999999999999999999\r\n", "%2\r\n0\r\n\x00\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := readPlainly(text)
		for _, piece := range []int{1, 3, len(text) + 1} {
			got, c, err := readAll(text, piece)
			between := c.bulk == 0 && len(c.open) == 0
			switch {
			case errors.Is(err, errAnnounced) != (want == refused) && want != foreign, !strings.HasPrefix(text, got):
				t.Fatalf("%q in pieces of %d: %q, %v, want %d", text, piece, got, err, want)
			case want != refused && want != foreign && got != text:
				t.Fatalf("%q in pieces of %d: only %q is handed on", text, piece, got)
			case want == whole && !between, want == partial && between && !beginsALine(text):
				t.Fatalf("%q in pieces of %d: the connection is at %d, %d, want %d", text, piece, c.bulk, c.open, want)
			}
		}
	})
}

// beginsALine reports whether a text ends within a line.
func beginsALine(text string) bool { return !strings.HasSuffix(text, "\n") }

// saysTo is a connection that refuses HELLO, and then says a text.
type saysTo struct{ saying }

func (*saysTo) Write(p []byte) (int, error)      { return len(p), nil }
func (*saysTo) Close() error                     { return nil }
func (*saysTo) SetDeadline(time.Time) error      { return nil }
func (*saysTo) SetReadDeadline(time.Time) error  { return nil }
func (*saysTo) SetWriteDeadline(time.Time) error { return nil }
func (*saysTo) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*saysTo) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

var errDialed = errors.New("it dials once")

// toldByGoRedis is what go-redis's own reader makes of a text. Beside each reply stand the texts that Redis says it with.
func toldByGoRedis(t *testing.T, text string) (replies []string, plain [][]string) {
	t.Helper()
	dialed := false
	client := redis.NewClient(&redis.Options{
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if dialed {
				return nil, errDialed
			}
			dialed = true
			return New(&saysTo{saying{text: "-ERR unknown command 'HELLO'\r\n" + text, piece: 1 << 20}}), nil
		},
	})
	defer client.Close()
	ps := client.Subscribe(t.Context())
	defer ps.Close()
	if err := ps.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = recover() }() // go-redis asserts types
	for {
		received, err := ps.Receive(t.Context())
		reply, isReply := errors.AsType[redis.Error](err)
		if err != nil && !isReply {
			return replies, plain
		}
		said, texts := inShort(received, reply)
		replies, plain = append(replies, said), append(plain, texts)
	}
}

func inShort(received any, reply redis.Error) (said string, texts []string) {
	switch r := received.(type) {
	case *redis.Message:
		if r.Pattern != "" {
			return shown("pmessage", r.Pattern, r.Channel, r.Payload), []string{bulks("pmessage", r.Pattern, r.Channel, r.Payload)}
		}
		return shown("message", "", r.Channel, r.Payload), []string{message(r.Channel, r.Payload)}
	case *redis.Subscription:
		if r.Count >= 0 && slices.Contains(asked, r.Kind) {
			texts = []string{confirmation(r.Kind, r.Channel, r.Count)}
		}
		return shown(r.Kind, "", r.Channel, ""), texts
	case *redis.Pong:
		_, bulk, _ := strings.Cut(bulks(r.Payload), "\r\n")
		return shown("pong", "", "", r.Payload), []string{bulks("pong", r.Payload), "+" + r.Payload + "\r\n", bulk}
	}
	return "error " + reply.Error(), []string{"-" + reply.Error() + "\r\n"}
}

// tooMuchToTry announces so much that the fuzzer would have no memory left.
var tooMuchToTry = regexp.MustCompile(`[$=!]\+?0*[1-9][0-9]{6}`)

// untilLeft returns the replies before the first that go-redis leaves the connection for: it is of a server that one should not
// talk to.
func untilLeft(replies []string) []string {
	for i, r := range replies {
		if strings.HasPrefix(r, "error READONLY") || strings.HasPrefix(r, "error MOVED") {
			return replies[:i]
		}
	}
	return replies
}

// FuzzReceive compares what Receive makes of a text with what go-redis makes of it. All that Receive reads is what go-redis reads.
// Where it ends earlier the text is none that Redis writes with RESP2: go-redis also takes what RESP3 has, nulls, statuses,
// elements that are over, and messages of shards.
func FuzzReceive(f *testing.F) {
	logging.Disable()
	script := ""
	for _, r := range all {
		f.Add(r.text)
		script += r.text
	}
	f.Add(script)
	for _, seed := range []string{
		"-LOADING x\r\n" + message("a", "x"), "-READONLY x\r\n" + message("a", "x"), "$-1\r\n+x\r\n", "*3\r\n+message\r\n+a\r\n+x\r\n",
		"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:-1\r\n", bulks("smessage", "a", "x"), bulks("ssubscribe", "a", "x"),
		confirmation("ssubscribe", "a", 1), confirmation("xsubscribe", "a", 1), bulks("message", "a", "x", "y"), ">2\r\n+pong\r\n+x\r\n",
		"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n*1\r\n$1\r\nx\r\n", "*+2\r\n$04\r\npongxx$-0\r\n\r\n", "|1\r\n+a\r\n+b\r\n+PONG\r\n",
		"+PONG\n", "\r\n", "*2\r\n", "$5\r\nab", "*3\r\n$7\r\nmessage\r\n:1\r\n$1\r\nx\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if tooMuchToTry.MatchString(text) {
			t.Skip()
		}
		want, plain := toldByGoRedis(t, text)
		want = untilLeft(want)
		got, over := told(text, len(text)+1)
		for _, piece := range []int{1, 3} {
			if again, overAgain := told(text, piece); !slices.Equal(again, got) || overAgain.Error() != over.Error() {
				t.Fatalf("%q in pieces of %d: %q, %v; as a whole %q, %v", text, piece, again, overAgain, got, over)
			}
		}
		got = untilLeft(got)
		if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("%q: %q, and to go-redis %q", text, got, want)
		}
		if least := leading(text, plain[:len(want)]); len(got) < least {
			t.Fatalf("%q: %q, %v, and to go-redis, as Redis writes it, %q", text, got, over, want[:least])
		}
	})
}

// leading returns how many replies a text begins with, each of which is there in one of the ways in which Redis writes it.
func leading(text string, plain [][]string) (n int) {
	for _, ways := range plain {
		way := slices.IndexFunc(ways, func(way string) bool { return strings.HasPrefix(text, way) })
		if way < 0 {
			break
		}
		text = text[len(ways[way]):]
		n++
	}
	return n
}
