package resp

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// asked are the commands that a subscription writes. What confirms another one the hub leaves the connection for.
var asked = []string{"subscribe", "psubscribe", "unsubscribe", "punsubscribe"}

var errUnasked = errors.New("nobody has asked for it")

// told is what a subscription is told by a text that comes in pieces of that size.
func told(text string, piece int) (replies []string, over error) {
	c := New(&saying{text: text, piece: piece})
	for {
		r, err := c.Receive()
		reply, isReply := err.(Error)
		switch {
		case isReply:
			replies = append(replies, "error "+string(reply))
		case err != nil:
			return replies, err
		case strings.HasSuffix(r.Kind, "subscribe") && !slices.Contains(asked, r.Kind):
			return replies, errUnasked
		default:
			replies = append(replies, shown(r.Kind, r.Pattern, r.Channel, r.Payload))
		}
	}
}

func shown(kind, pattern, channel, payload string) string {
	return fmt.Sprintf("%s %q %q %q", kind, pattern, channel, payload)
}

// bulks is an array of bulk strings.
func bulks(elements ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(elements))
	for _, e := range elements {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(e), e)
	}
	return b.String()
}

func confirmation(kind, name string, count int) string {
	return strings.Replace(bulks(kind, name), "*2", "*3", 1) + ":" + strconv.Itoa(count) + "\r\n"
}

// all is each reply that a subscription may have, and what it says.
var all = []struct{ text, want string }{
	{"+PONG\r\n", `pong "" "" "PONG"`},
	{"$2\r\n17\r\n", `pong "" "" "17"`},
	{bulks("pong", ""), `pong "" "" ""`},
	{bulks("pong", "18"), `pong "" "" "18"`},
	{confirmation("subscribe", "a", 1), `subscribe "" "a" ""`},
	{confirmation("psubscribe", "a*", 2), `psubscribe "" "a*" ""`},
	{message("a", "hello"), `message "" "a" "hello"`},
	{message("", ""), `message "" "" ""`},
	{bulks("pmessage", "a*", "a", "x\r\n*1\r\n"), `pmessage "a*" "a" "x\r\n*1\r\n"`},
	{"-NOPERM no\r\n", "error NOPERM no"},
	{message("a", strings.Repeat("x", 3000)), `message "" "a" "` + strings.Repeat("x", 3000) + `"`},
	{confirmation("unsubscribe", "a", 1), `unsubscribe "" "a" ""`},
	{confirmation("punsubscribe", "a*", 0), `punsubscribe "" "a*" ""`},
	{message(strings.Repeat("n", maxName+1), "\xff"), `message "" "` + strings.Repeat("n", maxName+1) + `" "\xff"`},
}

// A connection may end within a reply, and what comes may be cut into pieces anywhere.
func TestReceiveWhateverTheCut(t *testing.T) {
	var text string
	var want []string
	ends := map[int]int{0: 0} // of a text's length, how many replies it has
	for _, r := range all {
		text += r.text
		want = append(want, r.want)
		ends[len(text)] = len(want)
	}
	whole := 0
	for length := range len(text) + 1 {
		if n, ends := ends[length]; ends {
			whole = n
		}
		for _, piece := range []int{1, 5, 1 << 20} {
			got, err := told(text[:length], piece)
			if fmt.Sprint(got) != fmt.Sprint(want[:whole]) || err != io.EOF {
				t.Fatalf("of %d bytes in pieces of %d: %q, %v", length, piece, got, err)
			}
		}
	}
}

func TestALargeMessageComesWhole(t *testing.T) {
	for _, size := range []int{maxLine - 1, maxLine, maxLine + 1, 1 << 20} {
		payload := strings.Repeat("0123456789", size/10)
		c := New(&saying{text: message("a", payload) + message("b", "x"), piece: 1400})
		for channel, want := range map[string]string{"a": payload, "b": "x"} {
			if channel == "b" {
				continue
			}
			if r, err := c.Receive(); err != nil || r.Channel != channel || r.Payload != want {
				t.Errorf("%d bytes: %d of %q, %v", size, len(r.Payload), r.Channel, err)
			}
		}
		if r, err := c.Receive(); err != nil || r != (Reply{Kind: "message", Channel: "b", Payload: "x"}) {
			t.Errorf("behind %d bytes: %+v, %v", size, r, err)
		}
	}
}

// What is no reply of a subscription ends it: what comes behind may be anything.
func TestReceiveNothingElse(t *testing.T) {
	for name, text := range map[string]string{
		"another kind":              bulks("massage", "a", "x"),
		"a message of a shard":      bulks("smessage", "a", "x"),
		"an element too many":       bulks("message", "a", "x", "y"),
		"an element too few":        bulks("pmessage", "a", "x"),
		"no elements":               "*0\r\n",
		"a null array":              "*-1\r\n",
		"a null":                    "$-1\r\n",
		"a null payload":            "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$-1\r\n",
		"a null name":               "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n",
		"a number as a name":        "*3\r\n$7\r\nmessage\r\n:1\r\n$1\r\nx\r\n",
		"an error as a payload":     "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n-ERR\r\n",
		"an array as a payload":     "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n*1\r\n$1\r\nx\r\n",
		"a name as a count":         bulks("subscribe", "a", "x"),
		"a count that is none":      "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:x\r\n",
		"a number":                  ":1\r\n",
		"a push of RESP3":           strings.Replace(message("a", "x"), "*", ">", 1),
		"a text of RESP3":           "=5\r\ntxt:x\r\n",
		"a line without CR":         "+PONG\n",
		"an empty line":             "\r\n",
		"no length":                 "$x\r\n",
		"another protocol":          "HTTP/1.1 400 Bad Request\r\n",
		"a payload over the limit":  "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$536870913\r\n",
		"elements over the limit":   "*65537\r\n",
		"a line over the limit":     "+" + strings.Repeat("x", maxLine) + "\r\n",
		"a name over the limit":     "*3\r\n$7\r\nmessage\r\n$536870913\r\n",
		"a number over any integer": "*99999999999999999999\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := New(&saying{text: text + message("a", "x"), piece: 1 << 20})
			_, err := c.Receive()
			if err == nil || errors.Is(err, io.EOF) || strings.Contains(name, "over the limit") != errors.Is(err, errAnnounced) {
				t.Errorf("the error is %v", err)
			}
			if r, again := c.Receive(); again == nil || again.Error() != err.Error() {
				t.Errorf("it goes on with %+v, %v", r, again)
			}
		})
	}
}

// Whoever publishes chooses the names that a pattern covers.
func TestNoMoreNamesAreKeptThanThereIsRoomFor(t *testing.T) {
	const more = 3 * maxNames
	end := &saying{piece: 1 << 20}
	c, kept := New(end), 0
	for i := range more {
		end.text = message(fmt.Sprint("channel ", i), "x")
		if r, err := c.Receive(); err != nil || r.Channel != fmt.Sprint("channel ", i) {
			t.Fatalf("%d: %+v, %v", i, r, err)
		}
		kept = max(kept, len(c.names))
	}
	if kept != maxNames {
		t.Errorf("%d names were kept, want %d", kept, maxNames)
	}
	end.text = message(strings.Repeat("x", maxName+1), "x") + message(strings.Repeat("y", 100<<10), "x")
	before := len(c.names)
	for range 2 {
		if _, err := c.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.names) != before {
		t.Errorf("long names are kept")
	}
}

func TestAMessageCostsOneAllocation(t *testing.T) {
	text := strings.Repeat(message("job:7", strings.Repeat("x", 200))+bulks("pmessage", "job:*", "job:8", "x"), 50)
	end := &saying{piece: 1 << 20}
	c := New(end)
	n := testing.AllocsPerRun(100, func() {
		end.text = text
		for range 100 {
			if _, err := c.Receive(); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n > 100 {
		t.Errorf("%v allocations for 100 messages", n)
	}
}

// What a message costs until the hub has it.
func BenchmarkReceive(b *testing.B) {
	for _, size := range []int{64, 200, 2000, 64 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			var text strings.Builder
			for i := range 500 {
				text.WriteString(message("job:"+strconv.Itoa(i), strings.Repeat("x", size)))
			}
			end := &saying{piece: 1 << 20}
			c := New(end)
			b.ReportAllocs()
			for b.Loop() {
				if end.text == "" {
					end.text = text.String()
				}
				if _, err := c.Receive(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
