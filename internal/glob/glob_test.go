package glob

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// matchCase is a pattern with channels that it covers and channels that it does not.
type matchCase struct {
	pattern     string
	covers, not []string
}

// matchCases are what Redis does, which TestMatchCasesAreWhatRedisDoes makes sure of.
var matchCases = []matchCase{
	{"", []string{""}, []string{"a", "\x00"}},
	{"job:1", []string{"job:1"}, []string{"", "job:", "job:10", "JOB:1", "xjob:1"}},
	{"job:*", []string{"job:", "job:1", "job:1:done", "job:*", "job:\x00\xff\n"}, []string{"job", "jobs:1", "Job:1", "a job:1"}},
	{"job:?", []string{"job:1", "job:?", "job:\xff"}, []string{"job:", "job:10", "job:ä"}},
	{"job:*:done", []string{"job:1:done", "job::done", "job:1:done:done"}, []string{"job:done", "job:1:done:"}},

	{"*", []string{"a", "*", "\x00", "a\nb"}, []string{""}},
	{"***", []string{"a", "abc"}, []string{""}},
	{"?", []string{"a", "?"}, []string{"", "ab"}},
	{"*?", []string{"a", "ab"}, []string{""}},
	{"a**", []string{"a", "ab", "a*"}, []string{"", "ba"}},
	{"*a", []string{"a", "aa", "ba"}, []string{"", "ab"}},
	{"*a*", []string{"a", "bab", "aaa"}, []string{"", "b"}},
	{"a*b*c", []string{"abc", "aXbYc", "abcbc", "abbc"}, []string{"acb", "ab", "abcd"}},
	{"*ab*ab", []string{"abab", "aabab", "ababab"}, []string{"ab", "aab", "ababa"}},
	{"a*a*a*a*a*a*b", []string{"aaaaaab", "aaaaaaaaab"}, []string{"aaaaab", strings.Repeat("a", 300)}},
	{"a*?", []string{"ab", "abc"}, []string{"a"}},

	{"[abc]", []string{"a", "b", "c"}, []string{"", "d", "ab", "[", "]"}},
	{"[^a]", []string{"b", "^", "\x00"}, []string{"", "a", "bb"}},
	{"[a^]", []string{"a", "^"}, []string{"b"}},
	{"[^^]", []string{"a"}, []string{"^"}},
	{"[!a]", []string{"a", "!"}, []string{"b"}},
	{"[a-c]", []string{"a", "b", "c"}, []string{"d", "-", "B"}},
	{"[c-a]", []string{"a", "b", "c"}, []string{"d", "-"}},
	{"[^c-a]", []string{"d", "-"}, []string{"a", "b", "c"}},
	{"[a-a]", []string{"a"}, []string{"-", "b"}},
	{"[a-c-e]", []string{"a", "b", "c", "-", "e"}, []string{"d"}},
	{"[-a]", []string{"-", "a"}, []string{"b"}},
	{"[--/]", []string{"-", ".", "/"}, []string{"0", ","}},
	{"[^-a]", []string{"b", "^"}, []string{"-", "a"}},
	{"x[0-9]*", []string{"x1", "x1y", "x99"}, []string{"x", "xy"}},
	{"*[ab]?", []string{"aa", "xbx", "ab"}, []string{"a", "xx"}},
	{"[*?]", []string{"*", "?"}, []string{"a"}},
	{"[[]", []string{"["}, []string{"]", "[["}},
	{"[\x80-\x82]", []string{"\x80", "\x81", "\x82"}, []string{"\x7f", "\x83", "a"}},

	{"[]", nil, []string{"", "a", "]", "[]"}},
	{"[]a]", nil, []string{"a", "]", "a]", "]a]"}},
	{"[^]", []string{"a", "]", "^"}, []string{"", "aa"}},
	{"[^]a]", []string{"xa]", "aa]"}, []string{"x", "a", "a]"}},
	{"a]", []string{"a]"}, []string{"a"}},
	{"[", nil, []string{"", "[", "a", "\x00"}},
	{"[^", []string{"a", "^", "["}, []string{"", "aa"}},
	{"[ab", []string{"a", "b"}, []string{"", "c", "[ab", "ab"}},
	{"[^ab", []string{"c"}, []string{"a", "b"}},
	{"[a-", []string{"a", "-"}, []string{"b", "]"}},
	{"[a-]", []string{"a", "]", "^", "_"}, []string{"-", "b", "a]"}},
	{"[a-]]", []string{"a", "]", "_"}, []string{"-", "a]"}},
	{"[a-c", []string{"a", "b", "c"}, []string{"-", "d"}},
	{"[ab*", []string{"a", "b", "*"}, []string{"ab", "c"}},

	{`\a`, []string{"a"}, []string{`\a`, "b"}},
	{`\*`, []string{"*"}, []string{"a", `\*`, ""}},
	{`\?\[`, []string{"?["}, []string{"a[", `\?\[`}},
	{`\\`, []string{`\`}, []string{`\\`}},
	{`\`, []string{`\`}, []string{"", `\\`}},
	{`a\`, []string{`a\`}, []string{"a"}},
	{`*\`, []string{`\`, `a\`}, []string{"a"}},
	{`\**`, []string{"*", "*a"}, []string{"a", ""}},
	{`*\*`, []string{"*", "a*"}, []string{"a", ""}},
	{`[\]]`, []string{"]"}, []string{`\`, `\]`, "a"}},
	{`[\]`, []string{"]"}, []string{`\`, `\]`}},
	{`[^\]]`, []string{"a", `\`}, []string{"]"}},
	{`[\^a]`, []string{"^", "a"}, []string{`\`, "b"}},
	{`[\a-c]`, []string{"a", "-", "c"}, []string{"b", `\`}},
	{`[a-\c]`, []string{"a", `\`, "]", "c"}, []string{"-", "b"}},
	{`[a-\]`, []string{"a", `\`, "]"}, []string{"-", "b"}},
	{`[\`, []string{`\`}, []string{"[", ""}},
	{`[a\`, []string{"a", `\`}, []string{"["}},
	{`[^\`, []string{"a"}, []string{`\`}},

	{nested(maxStars), []string{strings.Repeat("a", maxStars)}, []string{strings.Repeat("a", maxStars-1)}},
	{nested(maxStars) + "**", []string{strings.Repeat("a", maxStars)}, nil},
}

// deep is a pattern with n stars that have something behind them.
func nested(n int) string { return strings.Repeat("*a", n) }

func TestMatch(t *testing.T) {
	for _, c := range matchCases {
		for _, channel := range c.covers {
			if !Match(c.pattern, channel) {
				t.Errorf("%.80q does not cover %.80q", c.pattern, channel)
			}
		}
		for _, channel := range c.not {
			if Match(c.pattern, channel) {
				t.Errorf("%.80q covers %.80q", c.pattern, channel)
			}
		}
	}
}

// TestDoubt has patterns that cover these channels in some Redis.
func TestDoubt(t *testing.T) {
	deep := maxStars + 1
	for _, c := range []matchCase{
		{nested(deep), nil, []string{strings.Repeat("a", deep)}},
		{"[a-\xff]", []string{"a", "\xff"}, []string{"b", "A", "\xfe", "\x00"}},
		{"[\x80-z]", []string{"z", "\x80"}, []string{"a", "~", "\x81", "\xff"}},
		{"[^a-\xff]", nil, []string{"a", "\xff", "b", "A", "\xfe"}},
		{"[a-\xffb]", []string{"b"}, []string{"c"}},
		{"[^\xc3-zb]", nil, []string{"b", "c"}},
	} {
		for _, channel := range c.covers {
			if !Match(c.pattern, channel) {
				t.Errorf("%.80q does not cover %.80q, which no Redis denies", c.pattern, channel)
			}
		}
		for _, channel := range c.not {
			if Match(c.pattern, channel) {
				t.Errorf("%.80q covers %.80q, which some Redis denies", c.pattern, channel)
			}
		}
	}
}

// TestMatchCasesAreWhatRedisDoes asks about every case, and about the channels of all others too.
func TestMatchCasesAreWhatRedisDoes(t *testing.T) {
	var patterns, channels []string
	for _, c := range matchCases {
		patterns = append(patterns, c.pattern)
		channels = append(append(channels, c.covers...), c.not...)
	}
	compare(t, newOracle(t), patterns, channels)
}

// TestMatchAgreesWithRedis asks about random patterns: syntax in every other round, the search for a place of what follows a
// star in the others.
func TestMatchAgreesWithRedis(t *testing.T) {
	const rounds, batch = 20, 200
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewSource(seed))
	oracle := newOracle(t)
	var pairs, covered int
	for round := range rounds {
		pieces := [][]string{globSyntax, globStars}[round%2]
		var patterns, channels []string
		for len(patterns) < batch {
			pattern := random(r, pieces, 9)
			patterns = append(patterns, pattern)
			if r.Intn(4) == 0 {
				channels = append(channels, suit(r, pattern), random(r, pieces, 9))
			}
		}
		covered += compare(t, oracle, patterns, channels)
		pairs += len(patterns) * len(channels)
	}
	t.Logf("%d pairs, %d covered", pairs, covered)
	if covered < pairs/100 {
		t.Errorf("%d of %d pairs are covered: too few to tell", covered, pairs)
	}
}

// FuzzMatch asks about the pattern with the channel, and with some that it is more likely to cover.
func FuzzMatch(f *testing.F) {
	for _, c := range matchCases {
		f.Add(c.pattern, append(c.covers, c.not...)[0])
	}
	oracle := newOracle(f)
	f.Fuzz(func(t *testing.T, pattern, channel string) {
		if len(pattern)+len(channel) > 8<<10 {
			t.Skip("would only be slow")
		}
		r := rand.New(rand.NewSource(1))
		compare(t, oracle, []string{pattern}, []string{channel, suit(r, pattern), suit(r, pattern), suit(r, pattern)})
	})
}

func BenchmarkMatch(b *testing.B) {
	for name, c := range map[string]struct{ pattern, channel string }{
		"typical": {"job:*", "job:123456"},
		"miss":    {"job:*", "user:123456"},
		"class":   {"job:[0-9][0-9]*:done", "job:123456:done"},
		"hostile": {"a*a*a*a*a*a*b", strings.Repeat("a", 100)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Match(c.pattern, c.channel)
			}
		})
	}
}

// What random patterns and channels are made of: few different bytes, so that they meet.
var (
	globSyntax = strings.Split("a b c * * ? [ [ [^ ] ] - a-c c-a \\ ^ \x00 \n \x80 \xff", " ")
	globStars  = strings.Split("a a a b b * * * ? [ab] [^a]", " ")
)

func random(r *rand.Rand, pieces []string, most int) string {
	var s strings.Builder
	for range r.Intn(most + 1) {
		s.WriteString(pieces[r.Intn(len(pieces))])
	}
	return s.String()
}

// suit returns a channel that has a chance to be covered by pattern.
func suit(r *rand.Rand, pattern string) string {
	var s strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch b := pattern[i]; b {
		case '*':
			s.WriteString(random(r, globSyntax, 2))
		case '?':
			s.WriteByte("ab\x00\xff"[r.Intn(4)])
		case '[':
			class := pattern[i+1:]
			if end := strings.IndexByte(class, ']'); end >= 0 {
				class, i = class[:end], i+1+end
			}
			s.WriteByte((class + "ab")[r.Intn(len(class)+2)])
		case '\\':
		default:
			s.WriteByte(b)
		}
	}
	return s.String()
}

// compare compares Match with Redis for each pattern with each channel, and returns how many pairs Redis covers.
func compare(t *testing.T, oracle *oracle, patterns, channels []string) int {
	t.Helper()
	covered, err := oracle.covered(patterns, channels)
	if err != nil {
		t.Fatalf("asking Redis about %d patterns, among them %q, and %d channels: %v", len(patterns), patterns[0], len(channels), err)
	}
	for _, pattern := range patterns {
		for _, channel := range channels {
			got, want := Match(pattern, channel), covered[[2]string{pattern, channel}]
			if got != want && (got || !doubtful(pattern)) {
				t.Errorf("Match(%q, %q) is %v, in Redis it is %v", pattern, channel, got, want)
			}
		}
	}
	return len(covered)
}

// doubtful tells whether Match may be false for pattern where Redis covers.
func doubtful(pattern string) bool {
	for i := 1; i < len(pattern)-1; i++ {
		if pattern[i] == '-' && (pattern[i-1] < 0x80) != (pattern[i+1] < 0x80) {
			return true
		}
	}
	return strings.Count(pattern, "*") > maxStars
}

// oracle is a connection to a real Redis. It speaks RESP3, in which a connection may publish what it subscribes to: Redis
// answers in order, and whatever has not arrived before the answer to a later command never will.
type oracle struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
}

func newOracle(t testing.TB) *oracle {
	t.Helper()
	conn, err := net.Dial("tcp", redistest.Start(t).Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	o := &oracle{conn, bufio.NewReader(conn), bufio.NewWriter(conn)}
	o.send("HELLO", "3")
	if _, err := o.until("%"); err != nil {
		t.Fatalf("greeting Redis: %v", err)
	}
	return o
}

// covered returns the pairs of a pattern and a channel for which Redis delivers a message.
func (o *oracle) covered(patterns, channels []string) (map[[2]string]bool, error) {
	o.send(append([]string{"PSUBSCRIBE"}, patterns...)...)
	for _, channel := range channels {
		o.send("PUBLISH", channel, "")
	}
	o.send("PUNSUBSCRIBE")
	o.send("PING")
	pushes, err := o.until("+")
	covered := map[[2]string]bool{}
	for _, push := range pushes {
		if push[0] == "pmessage" {
			covered[[2]string{push[1], push[2]}] = true
		}
	}
	return covered, err
}

func (o *oracle) send(args ...string) {
	fmt.Fprintf(o.w, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(o.w, "$%d\r\n%s\r\n", len(arg), arg)
	}
}

// until sends what is waiting, and returns the pushes that come before an answer of the given kind.
func (o *oracle) until(kind string) (pushes [][]string, err error) {
	if err := errors.Join(o.conn.SetDeadline(time.Now().Add(20*time.Second)), o.w.Flush()); err != nil {
		return nil, err
	}
	for {
		got, leaves, err := o.read()
		switch {
		case err != nil:
			return nil, err
		case got == kind:
			return pushes, nil
		case got == ">":
			pushes = append(pushes, leaves)
		}
	}
}

// read reads one value: its kind, and the scalars in it.
func (o *oracle) read() (kind string, leaves []string, err error) {
	line, err := o.r.ReadString('\n')
	if err != nil {
		return "", nil, err
	}
	kind, line = line[:1], strings.TrimSpace(line[1:])
	switch kind {
	case "-":
		return "", nil, errors.New(line)
	case "$", "*", ">", "%":
	default:
		return kind, []string{line}, nil
	}
	n, err := strconv.Atoi(line)
	if err != nil {
		return "", nil, err
	}
	if kind == "$" {
		text := make([]byte, n+len("\r\n"))
		_, err := io.ReadFull(o.r, text)
		return kind, []string{string(text[:n])}, err
	}
	if kind == "%" {
		n *= 2
	}
	for range n {
		_, inner, err := o.read()
		if err != nil {
			return "", nil, err
		}
		leaves = append(leaves, inner...)
	}
	return kind, leaves, nil
}
