package redissse

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// refusing has the handler read from a hub at rest that has room for one
// channel, which a stream holds.
func refusing(t *testing.T, h *Handler) {
	t.Helper()
	settings, err := (&Hub{Redis: adaptDead, Buffer: &Buffer{MaxChannels: 1}}).resolve()
	if err != nil {
		t.Fatal(err)
	}
	full := newHub("full", settings, zap.NewNop())
	if _, err := full.memory.Open(0, []string{"held"}, nil, hub.NewWaiter()); err != nil {
		t.Fatal(err)
	}
	h.claim = &sharedClaim{claim: &claim{hub: full, settings: settings}, log: zap.NewNop()}
}

func TestAnEventSourceIsRefusedWithAStreamThatEnds(t *testing.T) {
	h := reqHandler(t, new(Handler), "news")
	refusing(t, h)
	for name, accept := range map[string][]string{
		"EventSource":      {"text/event-stream"},
		"several types":    {"text/html, text/event-stream;q=0.9"},
		"several headers":  {"text/html", "text/event-stream"},
		"with a parameter": {"text/event-stream; charset=utf-8"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header["Accept"] = accept
			w := httptest.NewRecorder()
			if err := h.ServeHTTP(w, reqCaddy(r, w), caddyhttp.HandlerFunc(nil)); err != nil {
				t.Fatal(err)
			}
			if w.Code != http.StatusOK {
				t.Errorf("status = %d: an EventSource would stop for ever", w.Code)
			}
			reqStreamHeaders(t, w.Header())
			body := w.Body.String()
			if !strings.HasSuffix(body, "\n") || strings.Contains(body, "\n\n") || strings.HasPrefix(body, "\n") || strings.Contains(body, "\r") {
				t.Errorf("body = %q, want lines that end in LF, none of them blank", body)
			}
			p := ssetest.NewParser()
			p.LastEventID = "before"
			if events := p.Push(w.Body.Bytes()); len(events) != 0 || p.LastEventID != "before" {
				t.Errorf("events %v, last event id %q: it must change nothing", events, p.LastEventID)
			}
			if p.Retry < minTurnedAway || p.Retry > maxTurnedAway {
				t.Errorf("retry = %v, want %v to %v", p.Retry, minTurnedAway, maxTurnedAway)
			}
			if len(p.Comments) != 1 || p.Comments[0] != " "+hub.ErrTooManyChannels.Error() {
				t.Errorf("comments = %q, want the reason", p.Comments)
			}
		})
	}
}

func TestOtherClientsAreRefusedWithAStatus(t *testing.T) {
	h := reqHandler(t, new(Handler), "news")
	refusing(t, h)
	for name, accept := range map[string]string{"none": "", "any": "*/*", "a browser's page": "text/html,*/*;q=0.8"} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
			r.Header.Set("Accept", accept)
			w := httptest.NewRecorder()
			err := h.ServeHTTP(w, reqCaddy(r, w), caddyhttp.HandlerFunc(nil))
			if reqStatus(err) != http.StatusServiceUnavailable || !strings.Contains(err.Error(), hub.ErrTooManyChannels.Error()) {
				t.Errorf("got %v, want a 503 that says why", err)
			}
			after, err := strconv.Atoi(w.Header().Get("Retry-After"))
			if d := time.Duration(after) * time.Second; err != nil || d < minTurnedAway || d > maxTurnedAway {
				t.Errorf("Retry-After = %q, want %v to %v in seconds", w.Header().Get("Retry-After"), minTurnedAway, maxTurnedAway)
			}
			if w.Body.Len() > 0 || w.Header().Get("Content-Type") != "" {
				t.Errorf("an error page would have content type %q behind %q", w.Header().Get("Content-Type"), w.Body)
			}
		})
	}
}

// An operator sees that there is no room, once, and nothing of what the clients sent.
func TestTheLogTellsOnceOfThoseTurnedAway(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", limitedRoutes)
	before := g.scrape()
	g.opened("/most")
	g.opened("/most")
	g.opened("/each", ssetest.WithHeader("X-User", "ann"))
	const each = 20
	for path, status := range map[string]int{"/most": http.StatusServiceUnavailable, "/each": http.StatusTooManyRequests} {
		for range each {
			r := ssetest.Do(t, g.client, g.URL(path+"?token=secret"), ssetest.WithHeader("Accept", "*/*"),
				ssetest.WithHeader("X-User", "ann"), ssetest.WithHeader("X-Token", "secret"))
			reason, err := io.ReadAll(r.Body)
			if r.StatusCode != status || !strings.HasPrefix(string(reason), "too many streams") || err != nil {
				t.Fatalf("%s: %s, %q, %v, want a %d that says why", path, r.Status, reason, err, status)
			}
			reqNoSniff(t, r.Header)
		}
	}
	text := gatewayLogs.text()
	if strings.Contains(text, "secret") || strings.Contains(text, `"level":"error"`) || strings.Count(text, "streams are turned away") != 2 {
		t.Error("the log has more than one line for each handler")
	}
	if n := g.scrape().since(before)[`streams_total{end="refused",hub="default",route="news"}`]; n != 2*each {
		t.Errorf("%v are counted, want %d", n, 2*each)
	}
}

func TestTheLogTellsHowManyWereHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log seldom
		var got []int
		for range 4 {
			for range 10 {
				if heldBack, due := log.now(); due {
					got = append(got, heldBack)
				}
				time.Sleep(seldomEvery / 10)
			}
		}
		if want := []int{0, 9, 9, 9}; !slices.Equal(got, want) {
			t.Errorf("%v are told of, want %v", got, want)
		}
	})
}

func TestErrorPagesAreForThoseTurnedAwayToo(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", limitedRoutes+"\n\thandle_errors {\n\t\trespond \"page of {err.status_code}\"\n\t}\n")
	g.opened("/most")
	g.opened("/most")
	r := ssetest.Do(t, g.client, g.URL("/most"), ssetest.WithHeader("Accept", "*/*"))
	if page, err := io.ReadAll(r.Body); r.StatusCode != http.StatusServiceUnavailable || string(page) != "page of 503" || err != nil {
		t.Errorf("%s with %q, %v", r.Status, page, err)
	}
}

func TestRefusedClientsDoNotComeBackTogether(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 20 {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", "text/event-stream")
		if err := turnAway(w, r, hub.ErrTooManyChannels); err != nil {
			t.Fatal(err)
		}
		p := ssetest.NewParser()
		p.Push(w.Body.Bytes())
		seen[p.Retry] = true
	}
	if len(seen) < 2 {
		t.Errorf("all of them retry after %v", seen)
	}
}

// One that names several channels gets none of them, and gives those back that it had.
func TestARefusedRequestHoldsNothing(t *testing.T) {
	h := reqHandler(t, new(Handler), "held", "news")
	refusing(t, h)
	refused := h.metrics.ends[endTurnedAway]
	before := metricValue(t, refused)
	w := httptest.NewRecorder()
	if err := h.ServeHTTP(w, reqCaddy(httptest.NewRequest(http.MethodGet, "/", nil), w), caddyhttp.HandlerFunc(nil)); reqStatus(err) != http.StatusServiceUnavailable {
		t.Fatalf("got %v, want a 503", err)
	}
	if all := h.claim.claim.hub.holdings(); all["held"].streams != 1 || len(all) != 1 {
		t.Errorf("the hub holds %+v; want the one stream that was there", all)
	}
	if n := metricValue(t, refused) - before; n != 1 {
		t.Errorf("streams_total counts %v refused, want 1", n)
	}
	if n := metricValue(t, h.metrics.streams); n != 0 {
		t.Errorf("%v streams are open, want none", n)
	}
}

func TestAPatternNeedsNoChannelAndNoRoom(t *testing.T) {
	h := &Handler{Patterns: []string{"job:*", "a*", "job:*"}, OpenTimeout: caddy.Duration(time.Millisecond)}
	reqHandler(t, h)
	refusing(t, h)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.ServeHTTP(w, reqCaddy(r, w), caddyhttp.HandlerFunc(nil)); err != nil {
			http.Error(w, err.Error(), reqStatus(err))
		}
	}))
	t.Cleanup(server.Close)
	s := ssetest.Open(t, server.Client(), server.URL)
	defer s.Close()
	s.SkipCursor()
	if all := h.claim.claim.hub.holdings(); len(all) != 3 || !all["job:*"].there || !all["a*"].there {
		t.Errorf("the hub holds %+v, want each pattern once beside what was there", all)
	}
}

func TestGlobCharactersInAChannelAreWarnedOf(t *testing.T) {
	for _, test := range []struct {
		handler string
		warns   bool
	}{
		{`"channels":["job:*"]`, true},
		{`"channels":["news","job:?"]`, true},
		{`"channels":["job:[0-9]"]`, true},
		{`"channels":["job:{http.request.uri.query.id}*"]`, true},
		{`"channels":["news"]`, false},
		{`"channels":["job:{http.regexp.x.[a]*?}"]`, false},
		{`"channels":["news"],"patterns":["job:*"]`, false},
	} {
		t.Run(test.handler, func(t *testing.T) {
			config := adaptLoad(t, validateServer(`{"handler":"redis_sse","redis":"`+adaptDead+`",`+test.handler+`}`, `{}`))
			logged := new(caddy.Config)
			if err := caddy.StrictUnmarshalJSON([]byte(`{"logging":{"logs":{"default":{"writer":{"output":"gateway_test"}}}}}`), logged); err != nil {
				t.Fatal(err)
			}
			config.Logging = logged.Logging
			gatewayLogs.reset()
			if err := caddy.Validate(config); err != nil {
				t.Fatal(err)
			}
			text := gatewayLogs.text()
			if warns := strings.Contains(string(text), "did you mean pattern"); warns != test.warns {
				t.Errorf("warned: %v, want %v:\n%s", warns, test.warns, text)
			}
		})
	}
}
