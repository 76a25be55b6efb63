package redissse

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	return requestStart(r, h.wire.from, h.ClientFrom, &h.wire.format)
}

func reqGet(target string) *http.Request {
	return reqCaddy(httptest.NewRequest(http.MethodGet, target, nil), httptest.NewRecorder())
}

var reqIDs = []place{{MS: 1, Seq: 1, Epoch: 1, Anchor: 1}, {MS: 2, Seq: 2, Epoch: 2, Anchor: 2}, {MS: 3, Seq: 3, Epoch: 1<<40 - 1, Anchor: 3}}

func TestRequestCursor(t *testing.T) {
	header, snake, camel := reqIDs[0].ID(), reqIDs[1].ID(), reqIDs[2].ID()
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
		{"LAST_EVENT_ID, escaped", "", "%4cAST%5fEVENT%5fID=" + strings.ReplaceAll(snake, "A", "%41"), reqIDs[1], true},
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
		{"one of the first form", "1795771533333-277960878541095-abd60f614d38bf02-0", "", place{}, false},
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
					want = hub.ResumeAt(test.want.ID())
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
		{[]string{"", reqIDs[0].ID()}, reqIDs[0]},
		{[]string{reqIDs[0].ID(), ""}, reqIDs[0]},
		{[]string{reqIDs[0].ID(), reqIDs[1].ID()}, reqIDs[1]},
	} {
		r := reqGet("/?last_event_id=" + reqIDs[2].ID())
		r.Header["Last-Event-Id"] = test.headers
		if got, err := startOf(h, r); err != nil || got != hub.ResumeAt(test.want.ID()) {
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
		"good cursor":      {ssetest.WithLastEventID(reqIDs[0].ID())},
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
