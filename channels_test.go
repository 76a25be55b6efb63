package redissse

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestRequestChannels(t *testing.T) {
	const header = "{http.request.header.X-Room}"
	long := strings.Repeat("c", 1024)
	for _, test := range []struct {
		name, query, room string
		configured, want  []string
		refused           string // what the error has to name
		hidden            string // what it must not have: somebody else may have set it
	}{
		{name: "constant", configured: []string{"news"}, want: []string{"news"}},
		{name: "in the order given", configured: []string{"b", "a"}, want: []string{"b", "a"}},
		{name: "each once", configured: []string{"a", "b", "a"}, want: []string{"a", "b"}},
		{name: "each once after replacement", room: "a", configured: []string{"a", header, "b"}, want: []string{"a", "b"}},
		{name: "placeholder", query: "room=7", configured: []string{"room:{http.request.uri.query.room}"}, want: []string{"room:7"}},
		{name: "two placeholders", query: "room=7", room: "x", configured: []string{header + ":{http.request.uri.query.room}"}, want: []string{"x:7"}},
		{name: "a placeholder as value stays text", room: "{http.request.method}", configured: []string{header}, want: []string{"{http.request.method}"}},
		{name: "glob characters", room: "j?b:[ab]*", configured: []string{"*", "a?", header}, want: []string{"*", "a?", "j?b:[ab]*"}},
		{name: "spaces and line ends", query: "room=a%20b%0Ac", configured: []string{"{http.request.uri.query.room}"}, want: []string{"a b\nc"}},
		{name: "begins like a matcher", configured: []string{"/a", "@b"}, want: []string{"/a", "@b"}},
		{name: "1 KiB", room: long, configured: []string{header}, want: []string{long}},
		{name: "reserved words elsewhere", room: "a__redis_sse:b", configured: []string{header}, want: []string{"a__redis_sse:b"}},

		{name: "empty header", configured: []string{"room:" + header}, refused: header},
		{name: "empty query", query: "room=", configured: []string{"{http.request.uri.query.room}"}, refused: "{http.request.uri.query.room}"},
		{name: "missing query", configured: []string{"{http.request.uri.query.room}"}, refused: "{http.request.uri.query.room}"},
		{name: "missing path part", configured: []string{"{http.request.uri.path.9}"}, refused: "{http.request.uri.path.9}"},
		{name: "unknown placeholder", configured: []string{"job:{no.such.placeholder}"}, refused: "{no.such.placeholder}"},
		{name: "second of two empty", query: "room=7", configured: []string{"{http.request.uri.query.room}:" + header}, refused: header},
		{name: "one channel of several", configured: []string{"news", header}, refused: header},
		{name: "no user", configured: []string{"events:{http.auth.user.id}"}, refused: "{http.auth.user.id}"},
		{name: "reserved", room: "__redis_sse:probe:1", configured: []string{header}, refused: `names that begin with "__redis_sse:"`, hidden: "probe:1"},
		{name: "reserved in parts", room: "_sse:x", configured: []string{"__redis" + header}, refused: `names that begin with "__redis_sse:"`, hidden: "sse:x"},
		{name: "redis's own", room: "__keyspace@0__:key", configured: []string{header}, refused: `names that begin with "__keyspace@"`, hidden: "@0__:key"},
		{name: "redis's own in parts", room: "event@0__:del", configured: []string{"__key" + header}, refused: `names that begin with "__keyevent@"`},
		{name: "a sentinel's own", room: "__sentinel__:hello", configured: []string{header}, refused: `names that begin with "__sentinel__:"`},
		{name: "a cache's own", room: "__redis__:invalidate", configured: []string{header}, refused: `names that begin with "__redis__:"`},
		{name: "redis's own as configured", room: "key", configured: []string{"__keyspace@0__:" + header}, want: []string{"__keyspace@0__:key"}},
		{name: "over 1 KiB", room: long + "c", configured: []string{header}, refused: "1025 bytes"},
		{name: "over 1 KiB and reserved", room: "__redis_sse:" + long, configured: []string{header}, refused: "1036 bytes", hidden: "cccc"},
		{name: "over 1 KiB in parts", room: long, configured: []string{"c" + header}, refused: "1025 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := reqGet("/stream?" + test.query)
			r.Header.Set("X-Room", test.room)
			got, err := requestChannels(r, reqHandler(t, new(Handler), test.configured...).channels)
			if test.refused == "" {
				if err != nil || !slices.Equal(got, test.want) {
					t.Errorf("got %.99q, %v, want %.99q", got, err, test.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.refused) || len(err.Error()) > 300 {
				t.Errorf("got %.99q, %v, want a short error that names %s", got, err, test.refused)
			}
			if test.hidden != "" && strings.Contains(err.Error(), test.hidden) {
				t.Errorf("%v: the client may not know the rest of the name", err)
			}
		})
	}
}

// A channel must not be another than the one that the client named, for a stream as for a publish.
func TestRequestChannelsThatCannotBeToldAreRefused(t *testing.T) {
	const path, query = "{http.request.uri.path.1}", "{http.request.uri.query.topic}"
	for _, test := range []struct{ target, configured, want, refused string }{
		{target: "/e?topic=a", configured: query, want: "a"},
		{target: "/e?topic=a,b", configured: query, want: "a,b"},
		{target: "/e?topic=a&topic=b", configured: "news", want: "news"},
		{target: "/e?topic=a&other=b&other=c", configured: query, want: "a"},
		{target: "/e/a%2Fb?topic=a%2Fb", configured: query, want: "a/b"},
		{target: "/e/a%252Fb", configured: path, want: "a%2Fb"},
		{target: "/e/a%5Cb", configured: path, want: `a\b`},
		{target: "/e/a/b", configured: path, want: "a"},
		{target: "/e/x?from=a%2Fb", configured: path, want: "x"},

		{target: "/e?topic=a&topic=b", configured: query, refused: "2 times"},
		{target: "/e?topic=a&topic=a&topic=", configured: "x:" + query, refused: "3 times"},
		{target: "/e?topic=a&%74opic=b", configured: query, refused: "2 times"},
		{target: "/e", configured: "{http.request.header.X-Twice}", refused: "2 times"},
		{target: "/e", configured: "{http.request.header.x-twice}", refused: "2 times"},
		{target: "/e/a%2Fb", configured: path, refused: "escaped slash"},
		{target: "/e/a%2fb", configured: path, refused: "escaped slash"},
		{target: "/e%2Fa/b", configured: path, refused: "escaped slash"},
		{target: "/e/a%2Fb", configured: "{http.request.uri.path}", refused: "escaped slash"},
		{target: "/e/a%2Fb", configured: "{http.request.uri.path.file}", refused: "escaped slash"},
		{target: "/e/a%2Fb", configured: "{http.request.orig_uri.path.1}", refused: "escaped slash"},
		{target: "/e/a%2Fb", configured: "x:{http.regexp.job.1}", refused: "escaped slash"},
	} {
		t.Run(test.target+" "+test.configured, func(t *testing.T) {
			for _, rewritten := range []bool{false, true} {
				r := reqGet(test.target)
				r.Header["X-Twice"] = []string{"a", "b"}
				replacerOf(r).Set("http.regexp.job.1", "a")
				if rewritten { // without what tells that it was escaped
					r.URL.RawPath = ""
				}
				got, err := requestChannels(r, reqHandler(t, new(Handler), test.configured).channels)
				if test.refused == "" && (err != nil || !slices.Equal(got, []string{test.want})) {
					t.Errorf("got %q, %v, want %q", got, err, test.want)
				}
				if test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)) {
					t.Errorf("got %q, %v, want an error that says %q", got, err, test.refused)
				}
			}
		})
	}
}

func TestAPublishGoesToNoOtherChannelThanTheOneNamed(t *testing.T) {
	for channel, target := range map[string]string{
		"{http.request.uri.path.1}": "/publish/a%2Fb", "{http.request.uri.query.topic}": "/publish?topic=a&topic=b",
	} {
		h := &PublishHandler{Channel: channel}
		if err := h.resolve(); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		err := h.ServeHTTP(w, reqCaddy(httptest.NewRequest(http.MethodPost, target, strings.NewReader("x")), w), nil)
		if reqStatus(err) != http.StatusBadRequest || !strings.Contains(err.Error(), channel) {
			t.Errorf("%s to %s: got %v, want a 400 that names the placeholder", channel, target, err)
		}
		reqNoSniff(t, w.Header())
	}
}

// The reverse proxy stores its response's headers under their canonical names.
func TestRequestChannelsFromProxyHeader(t *testing.T) {
	for _, configured := range []string{
		"{http.reverse_proxy.header.x-sse-channel}", "{http.reverse_proxy.header.X-Sse-Channel}", "{http.reverse_proxy.header.X-SSE-CHANNEL}",
	} {
		t.Run(configured, func(t *testing.T) {
			r := reqGet("/")
			r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("http.reverse_proxy.header.X-Sse-Channel", "job:1")
			got, err := requestChannels(r, reqHandler(t, new(Handler), "a:"+configured).channels)
			if err != nil || !slices.Equal(got, []string{"a:job:1"}) {
				t.Errorf("got %q, %v, want a:job:1", got, err)
			}
		})
	}
}
