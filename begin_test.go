package redissse

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func TestWhereAStreamBegins(t *testing.T) {
	server, g := resumeGateway(t, "")
	keep := g.opened("/two/a/b")
	var all []string
	for i := range 6 {
		all = append(all, resumePublish(t, server, []string{"a", "b", "b"}[i%3], fmt.Sprintf("%d.", i), 1)...)
	}
	resumeMessages(t, keep, all...)
	a := []string{all[0], all[3]}
	b := []string{all[1], all[2], all[4], all[5]}
	hour := strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10)
	ahead := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
	for _, test := range []struct {
		path string
		gap  []string
		want []string
	}{
		{path: "/one/a"},
		{path: "/one/a?from=start"}, // not asked for in the configuration
		{path: "/start/a", want: a},
		{path: "/last2/b", want: b[2:]},
		{path: "/last2/a", want: a},
		{path: "/since/b", want: b},
		{path: "/from/a/b"},
		{path: "/from/a/b?from=live"},
		{path: "/from/a/b?from=start", want: all},
		{path: "/from/a/b?last=1", want: all[5:]},
		{path: "/from/a/b?last=3", want: all[3:]}, // over both channels
		{path: "/from/a/b?last=6", want: all},
		{path: "/from/a/b?last=1000", want: all},
		{path: "/from/a/b?since=" + hour, gap: []string{"a", "b"}, want: all},
		{path: "/from/a/b?since=" + ahead},
		{path: "/from/a/b?since=" + url.QueryEscape(time.Now().Add(-time.Hour).Format(time.RFC3339)), gap: []string{"a", "b"}, want: all},
	} {
		t.Run(test.path, func(t *testing.T) {
			s := g.in(t).opened(test.path)
			var gapped []string
			for range test.gap {
				_, gap := resumeGap(t, s)
				gapped = append(gapped, gap.Channel)
				if gap.Reason != gapNotBuffered {
					t.Errorf("the reason is %q", gap.Reason)
				}
			}
			slices.Sort(gapped)
			if !slices.Equal(gapped, test.gap) {
				t.Errorf("gaps for %q, want %q", gapped, test.gap)
			}
			resumeMessages(t, s, test.want...)
			s.Close()
		})
	}
	for _, query := range []string{"from=end", "from=", "last=0", "last=-1", "last=x", "last=1.5", "since=yesterday", "since=-1", "last=1&from=start"} {
		response := ssetest.Do(t, g.client, g.URL("/from/a/b?"+query))
		if response.StatusCode != 400 {
			t.Errorf("?%s: status %d, want 400", query, response.StatusCode)
		}
	}
}

func TestPayloadsArriveAsABrowserReadsThem(t *testing.T) {
	server, g := resumeGateway(t, "")
	s := g.opened("/one/bytes")
	mebibyte := strings.Repeat("0123456789abcde\n", 1<<16)
	for name, test := range map[string]struct{ payload, want string }{
		"empty":             {"", ""},
		"LF":                {"a\nb", "a\nb"},
		"CR":                {"a\rb", "a\nb"},
		"CRLF":              {"a\r\nb", "a\nb"},
		"all line ends":     {"\r\n\n\r\r\n", "\n\n\n\n"},
		"only LF":           {"\n", "\n"},
		"only CR":           {"\r", "\n"},
		"ends in CR":        {"a\r", "a\n"},
		"NUL":               {"a\x00b", "a\x00b"},
		"leading spaces":    {"  a", "  a"},
		"trailing spaces":   {"a  \n b ", "a  \n b "},
		"invalid UTF-8":     {"a\xff\xfeb", "a\uFFFD\uFFFDb"},
		"BOM":               {"\uFEFFa", "\uFEFFa"},
		"UTF-8":             {"é € 😀 \u2028", "é € 😀 \u2028"},
		"fields":            {"event: gap\ndata: x\nid: 1\n\n: c", "event: gap\ndata: x\nid: 1\n\n: c"},
		"JSON":              {`{"a": [1, 2]}`, `{"a": [1, 2]}`},
		"1 MiB, many lines": {mebibyte, mebibyte},
		"1 MiB, one line":   {strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20)},
	} {
		server.Publish("bytes", test.payload)
		if e := s.NextAfterCursors(); e.Type != "message" || e.Data != test.want {
			t.Errorf("%s: got type %q, data of %d bytes beginning %.100q, want %d bytes beginning %.100q",
				name, e.Type, len(e.Data), e.Data, len(test.want), test.want)
		}
	}
}

func TestGlobCharactersInAChannelAreLiteral(t *testing.T) {
	server, g := resumeGateway(t, "")
	for _, test := range []struct{ channel, matched string }{
		{"*", "anything"}, {"news*", "newsroom"}, {"h?llo", "hello"}, {"[ab]", "a"}, {`x\*`, "x*"}, {"_keyevent@*", "_keyevent@0__:set"},
	} {
		s := g.opened("/query?c=" + url.QueryEscape(test.channel))
		if n := server.Publish(test.matched, "stolen"); n != 0 {
			t.Errorf("channel %q: %d receivers of %q", test.channel, n, test.matched)
		}
		if n := server.Publish(test.channel, "mine"); n != 1 {
			t.Errorf("channel %q: %d receivers of the literal name", test.channel, n)
		}
		resumeMessages(t, s, "mine")
		s.Close()
	}
	if n := server.Do("PUBSUB", "NUMPAT"); n != int64(0) {
		t.Errorf("%v patterns are subscribed to", n)
	}
}

// By another clock than Redis's it could be a time too late.
func TestSinceATimeWithoutRedissClockIsAllThereIs(t *testing.T) {
	server := redistest.Start(t, "--user", "app", "on", ">secret", "+@all", "-time", "&*")
	g := startGateway(t, strings.Replace(server.URL(), "//", "//app:secret@", 1), quickHub+"keep a b", resumeRoutes)
	g.wait("the patterns", func() bool { return server.Do("PUBSUB", "NUMPAT").(int64) == 2 })
	all := resumePublish(t, server, "a", "to a", 3)
	s := g.opened("/from/a/b?since=" + strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
	for range 2 {
		if _, gap := resumeGap(t, s); gap.Reason != gapNotBuffered {
			t.Errorf("the reason is %q", gap.Reason)
		}
	}
	resumeMessages(t, s, all...)
}
