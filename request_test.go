package redissse

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// reqHandler is a resolved handler of the channels. It has no hub.
func reqHandler(t *testing.T, h *Handler, channels ...string) *Handler {
	t.Helper()
	h.Channels = channels
	if err := h.resolve(); err != nil {
		t.Fatal(err)
	}
	h.metrics = newRouteMetrics("test", h.route)
	return h
}

// reqCaddy gives a request what Caddy gives it, placeholders for one.
func reqCaddy(r *http.Request, w http.ResponseWriter) *http.Request {
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
}

func startOf(h *Handler, r *http.Request) (hub.Start, error) {
	return requestStart(r, h.from, h.ClientFrom)
}

func reqGet(target string) *http.Request {
	return reqCaddy(httptest.NewRequest(http.MethodGet, target, nil), httptest.NewRecorder())
}

var reqIDs = []place{{ms: 1, seq: 1, epoch: 1, anchor: 1}, {ms: 2, seq: 2, epoch: 2, anchor: 2}, {ms: 3, seq: 3, epoch: 3, anchor: 3}}

func TestRequestCursor(t *testing.T) {
	header, snake, camel := reqIDs[0].String(), reqIDs[1].String(), reqIDs[2].String()
	for _, test := range []struct {
		name, header, query string
		want                place
		readable            bool
	}{
		{"header", header, "", reqIDs[0], true},
		{"last_event_id", "", "last_event_id=" + snake, reqIDs[1], true},
		{"lastEventId", "", "lastEventId=" + camel, reqIDs[2], true},
		{"header before all", header, "lastEventId=" + camel + "&last_event_id=" + snake, reqIDs[0], true},
		{"last_event_id before lastEventId", "", "lastEventId=" + camel + "&last_event_id=" + snake, reqIDs[1], true},
		{"empty ones do not count", "", "last_event_id=&lastEventId=" + camel, reqIDs[2], true},
		{"before what client_from allows", header, "from=start", reqIDs[0], true},
		{"before what it refuses", header, "from=nonsense&last=-1", reqIDs[0], true},
		{"the last of a query", "", "last_event_id=" + snake + "&last_event_id=" + camel, reqIDs[2], true},
		{"the last of a query that is not empty", "", "last_event_id=&lastEventId=" + camel + "&last_event_id=" + snake + "&last_event_id=", reqIDs[1], true},
		{"lastEventID", "", "lastEventID=" + snake, reqIDs[1], true},
		{"last-event-id", "", "last-event-id=" + snake, reqIDs[1], true},
		{"Last-Event-ID", "", "Last-Event-ID=" + snake, reqIDs[1], true},
		{"Last-Event-Id", "", "a=b&Last-Event-Id=" + snake + "&c", reqIDs[1], true},
		{"LAST_EVENT_ID, escaped", "", "%4cAST%5fEVENT%5fID=" + strings.ReplaceAll(snake, "-", "%2D"), reqIDs[1], true},
		{"behind a semicolon", "", "a=b;last_event_id=" + snake, reqIDs[1], true},
		{"beside what cannot be read", "", "a=%zz&last_event_id=" + snake + "&%", reqIDs[1], true},
		{"an empty header and a full one", "," + header, "", reqIDs[0], true},
		{"a full header and an empty one", header + ", ", "", reqIDs[0], true},
		{"two headers", snake + ", " + header, "", reqIDs[0], true},
		{"an empty header and a query", ", ,", "last_event_id=" + snake, reqIDs[1], true},
		{"a query that cannot be read", "", "last_event_id=%zz", place{}, false},
		{"a query that cannot be read, after a good one", "", "last_event_id=" + snake + "&lastEventID=%", place{}, false},
		{"a header of spaces between", snake + " x", "", place{}, false},
		{"malformed header", "1-2-3", "", place{}, false},
		{"malformed header before a good query", "x", "last_event_id=" + snake, place{}, false},
		{"malformed query", "", "last_event_id=%00", place{}, false},
		{"5,000 bytes", strings.Repeat("1", 5000), "", place{}, false},
		{"5,000 bytes of query", "", "lastEventId=" + strings.Repeat("1-", 2500), place{}, false},
	} {
		for _, allowed := range []bool{true, false} {
			t.Run(test.name, func(t *testing.T) {
				r := reqGet("/?" + test.query)
				if test.header != "" {
					r.Header.Set("Last-Event-ID", test.header)
				}
				got, err := startOf(reqHandler(t, &Handler{ClientFrom: allowed}, "news"), r)
				if err != nil {
					t.Fatalf("a cursor is an error: %v", err)
				}
				want := hub.ResumeAt("unreadable")
				if test.readable {
					want = hub.ResumeAt(test.want.String())
				}
				if got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		}
	}
}

func TestRequestCursorInSeveralHeaders(t *testing.T) {
	h := reqHandler(t, new(Handler), "news")
	for _, test := range []struct {
		headers []string
		want    place
	}{
		{[]string{"", reqIDs[0].String()}, reqIDs[0]},
		{[]string{reqIDs[0].String(), ""}, reqIDs[0]},
		{[]string{reqIDs[0].String(), reqIDs[1].String()}, reqIDs[1]},
	} {
		r := reqGet("/?last_event_id=" + reqIDs[2].String())
		r.Header["Last-Event-Id"] = test.headers
		if got, err := startOf(h, r); err != nil || got != hub.ResumeAt(test.want.String()) {
			t.Errorf("%q: got %+v, %v, want %v", test.headers, got, err, test.want)
		}
	}
}

func TestOtherKeysAreNoCursors(t *testing.T) {
	h := reqHandler(t, new(Handler), "news")
	for _, query := range []string{"last_event=1", "event_id=1", "last_event_ids=1", "id=last_event_id", "=last_event_id", "last.event.id=1", "last_event_id", "&;=&"} {
		if got, err := startOf(h, reqGet("/?"+query)); err != nil || got != (hub.Start{}) {
			t.Errorf("%s: got %+v, %v, want live", query, got, err)
		}
	}
}

func TestRequestStart(t *testing.T) {
	at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli()
	for _, test := range []struct {
		query string
		want  hub.Start
	}{
		{"", hub.FromLast(7)},
		{"other=1", hub.FromLast(7)},
		{"from=live", hub.Start{}},
		{"from=start", hub.FromStart()},
		{"last=1", hub.FromLast(1)},
		{"last=10000000", hub.FromLast(10_000_000)},
		{"since=1704164645", hub.SinceTime(at)},
		{"since=1704164645.250", hub.SinceTime(at + 250)},
		{"since=0", hub.SinceTime(0)},
		{"since=2024-01-02T03:04:05Z", hub.SinceTime(at)},
		{"since=2024-01-02T05:04:05%2B02:00", hub.SinceTime(at)},
		{"since=2024-01-02T05:04:05+02:00", hub.SinceTime(at)}, // its sender did not escape the +
		{"since=2024-01-02T03:04:05.25Z", hub.SinceTime(at + 250)},
	} {
		t.Run(test.query, func(t *testing.T) {
			got, err := startOf(reqHandler(t, &Handler{From: "last 7", ClientFrom: true}, "news"), reqGet("/?"+test.query))
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

func TestRequestStartRefused(t *testing.T) {
	allowed := reqHandler(t, &Handler{ClientFrom: true}, "news")
	configured := reqHandler(t, &Handler{From: "last 7"}, "news")
	for _, test := range []struct{ key, value string }{
		{"from", ""}, {"from", "yesterday"}, {"from", "Start"}, {"from", "last 5"}, {"from", "start "}, {"from", "a\r\nb"},
		{"last", ""}, {"last", "0"}, {"last", "-1"}, {"last", "many"}, {"last", "1.5"}, {"last", " 1"}, {"last", "10000001"},
		{"last", "99999999999999999999"},
		{"since", ""}, {"since", "noon"}, {"since", "-1"}, {"since", "NaN"}, {"since", "Inf"}, {"since", "1e12"}, {"since", "1e3"},
		{"since", "1_000"}, {"since", "0x1p3"}, {"since", "+1"}, {"since", "1."}, {"since", ".5"}, {"since", "1000000000000"}, {"since", "1 "},
		{"last", "+5"}, {"last", "1_0"}, {"last", "0x1"}, {"since", "10m"},
		{"since", "2024-01-02"}, {"since", "2024-13-02T03:04:05Z"}, {"since", "2024-01-02 03:04:05Z"},
	} {
		t.Run(test.key+"="+test.value, func(t *testing.T) {
			target := "/?" + url.Values{test.key: {test.value}}.Encode()
			_, err := startOf(allowed, reqGet(target))
			if err == nil {
				t.Fatal("it is accepted")
			}
			quoted := strings.NewReplacer("\r", `\r`, "\n", `\n`).Replace(test.value)
			if want := test.key + ` is "` + quoted + `"`; !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not say %s: %v", want, err)
			}
			got, err := startOf(configured, reqGet(target))
			if want := (hub.FromLast(7)); err != nil || got != want {
				t.Errorf("without client_from: %+v, %v, want %+v", got, err, want)
			}
		})
	}
	for _, query := range []string{"from=start&last=5", "from=live&since=0", "last=5&since=0", "from=start&last=5&since=0"} {
		t.Run(query, func(t *testing.T) {
			if got, err := startOf(allowed, reqGet("/?"+query)); err == nil || !strings.Contains(err.Error(), "only one") {
				t.Errorf("got %+v, %v, want an error that says only one", got, err)
			}
		})
	}
}

func TestRequestChannels(t *testing.T) {
	const header = "{http.request.header.X-Room}"
	long := strings.Repeat("c", 1024)
	for _, test := range []struct {
		name, query, room string
		configured, want  []string
		refused           string // what the error has to name
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
		{name: "reserved", room: "__redis_sse:probe:1", configured: []string{header}, refused: "__redis_sse:probe:1"},
		{name: "reserved in parts", room: "_sse:x", configured: []string{"__redis" + header}, refused: "__redis_sse:x"},
		{name: "redis's own", room: "__keyspace@0__:key", configured: []string{header}, refused: `names that begin with "__keyspace@"`},
		{name: "redis's own in parts", room: "event@0__:del", configured: []string{"__key" + header}, refused: `names that begin with "__keyevent@"`},
		{name: "a sentinel's own", room: "__sentinel__:hello", configured: []string{header}, refused: `names that begin with "__sentinel__:"`},
		{name: "a cache's own", room: "__redis__:invalidate", configured: []string{header}, refused: `names that begin with "__redis__:"`},
		{name: "redis's own as configured", room: "key", configured: []string{"__keyspace@0__:" + header}, want: []string{"__keyspace@0__:key"}},
		{name: "over 1 KiB", room: long + "c", configured: []string{header}, refused: "1025 bytes"},
		{name: "over 1 KiB and reserved", room: "__redis_sse:" + long, configured: []string{header}, refused: "1036 bytes"},
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

func TestMethodsThatOpenNoStream(t *testing.T) {
	h := reqHandler(t, new(Handler), "room:{http.request.header.X-Room}") // 400, would it stream
	serve := func(method string, body io.Reader) (*httptest.ResponseRecorder, bool, error) {
		w := httptest.NewRecorder()
		passed := false
		next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			passed = true
			w.WriteHeader(http.StatusNoContent)
			return nil
		})
		err := h.ServeHTTP(w, reqCaddy(httptest.NewRequest(method, "/", body), w), next)
		return w, passed, err
	}
	w, passed, err := serve(http.MethodHead, nil)
	if err != nil || passed || w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("HEAD: status %d, body %q, passed on: %v, %v", w.Code, w.Body, passed, err)
	}
	reqStreamHeaders(t, w.Header())
	if w, passed, err := serve(http.MethodOptions, nil); err != nil || !passed || w.Code != http.StatusNoContent || len(w.Header()) > 0 {
		t.Errorf("OPTIONS: status %d, header %v, passed on: %v, %v", w.Code, w.Header(), passed, err)
	}
	for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect, http.MethodTrace, "get", "PROPFIND"} {
		t.Run(method, func(t *testing.T) {
			w, passed, err := serve(method, nil)
			if reqStatus(err) != http.StatusMethodNotAllowed || passed || !strings.Contains(err.Error(), method) {
				t.Errorf("passed on: %v, %v, want a 405 that names the method", passed, err)
			}
			reqNoSniff(t, w.Header())
			if allow := w.Header().Get("Allow"); allow != "GET, HEAD, POST" {
				t.Errorf("Allow = %q", allow)
			}
		})
	}
	for name, test := range map[string]struct {
		body io.Reader
		want int
	}{
		"GET without a channel":          {nil, http.StatusBadRequest},
		"POST of 1 MiB, no channel":      {strings.NewReader(strings.Repeat("x", 1<<20)), http.StatusBadRequest},
		"POST over 1 MiB":                {strings.NewReader(strings.Repeat("x", 1<<20+1)), http.StatusRequestEntityTooLarge},
		"POST whose body cannot be read": {io.MultiReader(strings.NewReader("x"), reqBroken{}), http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			method, _, _ := strings.Cut(name, " ")
			w, passed, err := serve(method, test.body)
			if reqStatus(err) != test.want || passed {
				t.Errorf("passed on: %v, %v, want %d", passed, err, test.want)
			}
			reqNoSniff(t, w.Header())
			if got := w.Header().Get("Content-Type"); got != "" {
				t.Errorf("an error page would have Content-Type %q", got)
			}
		})
	}
}

type reqBroken struct{}

func (reqBroken) Read([]byte) (int, error) { return 0, errors.New("the client hung up") }

func reqStatus(err error) int {
	if e, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		return e.StatusCode
	}
	return 0
}

func reqNoSniff(t *testing.T, header http.Header) {
	t.Helper()
	if got := header.Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("X-Content-Type-Options = %q", got)
	}
}

func reqStreamHeaders(t *testing.T, header http.Header) {
	t.Helper()
	for key, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no",
		"X-Content-Type-Options": "nosniff",
	} {
		if got := header.Get(key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
}

// A stream opens whatever the client calls its cursor and whether or not
// Redis is there; what is asked for in words may be refused.
func TestServeWithoutRedis(t *testing.T) {
	h := reqHandler(t, &Handler{ClientFrom: true, OpenTimeout: caddy.Duration(time.Millisecond)}, "news")
	settings, err := (&Hub{Redis: "redis://127.0.0.1:1"}).resolve()
	if err != nil {
		t.Fatal(err)
	}
	h.claim = &sharedClaim{claim: &claim{hub: newHub("resting", settings, zap.NewNop()), settings: settings}, log: zap.NewNop()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.ServeHTTP(w, reqCaddy(r, w), caddyhttp.HandlerFunc(nil)); err != nil {
			http.Error(w, err.Error(), reqStatus(err))
		}
	}))
	t.Cleanup(server.Close)

	for name, options := range map[string][]ssetest.Option{
		"no cursor":        nil,
		"good cursor":      {ssetest.WithLastEventID(reqIDs[0].String())},
		"malformed cursor": {ssetest.WithLastEventID("17")},
		"5,000 bytes":      {ssetest.WithLastEventID(strings.Repeat("9", 5000))},
		"POST":             {ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader("{}"))},
	} {
		t.Run(name, func(t *testing.T) {
			s := ssetest.Open(t, server.Client(), server.URL, options...)
			defer s.Close()
			first := s.SkipCursor()
			if _, ok := placeOf(first.ID); !ok {
				t.Errorf("the first event's id is %q", first.ID)
			}
			if s.Retry() != defaultRetry {
				t.Errorf("retry = %v, want %v", s.Retry(), defaultRetry)
			}
			reqStreamHeaders(t, s.Header())
		})
	}
	for _, query := range []string{"from=then", "last=-1", "since=noon", "from=start&last=1"} {
		if response := ssetest.Do(t, server.Client(), server.URL+"/?"+query); response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status = %s, want 400", query, response.Status)
		}
	}
}
