package redissse

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/zstd"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/forwardauth"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/tracing"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// composition is what else of Caddy a stream passes.
type composition struct {
	name    string
	global  string // global options
	site    string // directives of the site
	inForce func(t *testing.T, g *gateway, s *ssetest.Stream)
}

var compositions = []composition{
	{"encode", "", "encode zstd gzip\n", func(t *testing.T, g *gateway, _ *ssetest.Stream) {
		if r, _ := composeGet(t, g, "/plain", acceptEncoding); r.Header.Get("Content-Encoding") != "zstd" {
			t.Errorf("another response is not compressed: %q", r.Header)
		}
	}},
	{"log", "", "log {\noutput gateway_test\n}\n", func(t *testing.T, g *gateway, s *ssetest.Stream) {
		s.Close()
		entry := "http.log.access"
		if composedLean(g) {
			entry = "handled stream"
		}
		g.waitLog(entry)
	}},
	{"metrics", "metrics\n", "metrics /metrics\n", func(t *testing.T, g *gateway, _ *ssetest.Stream) {
		_, text := composeGet(t, g, "/metrics", "identity")
		// This request is one of them.
		if composedLean(g) {
			return // Caddy's server has no part in the stream any more
		}
		if !regexp.MustCompile(`(?m)^caddy_http_requests_in_flight\{handler="[^"]*",server="[^"]*"\} [2-9]$`).MatchString(text) {
			t.Errorf("the stream is not in flight:\n%s", text)
		}
	}},
	{"tracing", "", "tracing\nheader X-Trace {http.vars.trace_id}\n", func(t *testing.T, _ *gateway, s *ssetest.Stream) {
		if id := s.Header().Get("X-Trace"); len(id) != 32 {
			t.Errorf("the trace is %q", id)
		}
	}},
	{"intercept", "", `intercept {
		@teapot status 418
		handle_response @teapot {
			respond "intercepted"
		}
	}
	`, func(t *testing.T, g *gateway, _ *ssetest.Stream) {
		if _, text := composeGet(t, g, "/teapot", acceptEncoding); text != "intercepted" {
			t.Errorf("another response is not intercepted: %q", text)
		}
	}},
}

// composeAll is all of them around one stream.
func composeAll() composition {
	all := composition{name: "all", inForce: func(t *testing.T, g *gateway, s *ssetest.Stream) {
		for _, with := range compositions {
			if with.name != "log" {
				with.inForce(t, g, s)
			}
		}
		g.waitLog("http.log.access") // those other responses
	}}
	for _, with := range compositions {
		all.global += with.global
		all.site += with.site
	}
	return all
}

// composeRoutes serve /events/<channel>. No heartbeat comes within gatewayWait: what arrives has not been pushed by one.
const composeRoutes = `
	redis_sse /events/* {http.request.uri.path.1} {
		heartbeat 59s
		drain 0s 0s
	}
	respond /plain "%s"
	respond /teapot 418
`

// startComposed runs a gateway over proto with the composition.
func startComposed(t *testing.T, server *redistest.Server, proto, hub string, with composition) *gateway {
	t.Helper()
	// Without it, tracing wants to reach a collector.
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	g := newGatewayOver(t, proto)
	g.loadConfig(hubAt(server.URL(), hub)+"\n"+with.global, with.site+fmt.Sprintf(composeRoutes, strings.Repeat("plain ", 100)))
	return g
}

// acceptEncoding is near to what browsers send.
const acceptEncoding = "zstd, gzip"

// composedLean reports whether the streams of a run of the tests leave their requests, although Caddy records those.
func composedLean(g *gateway) bool { return g.proto == httpOne && defaultLean == leanOn && outletsHere }

func composeGet(t *testing.T, g *gateway, path, encoding string) (*http.Response, string) {
	t.Helper()
	r := ssetest.Do(t, g.client, g.URL(path), ssetest.WithHeader("Accept-Encoding", encoding))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

func TestStreamsPassOtherHandlersAtOnceAndUncompressed(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	for _, with := range append(compositions, composeAll()) {
		t.Run(with.name, func(t *testing.T) {
			overEachProtocol(t, func(t *testing.T, proto string) {
				g := startComposed(t, server, proto, "", with)
				s := g.opened("/events/jobs", ssetest.WithHeader("Accept-Encoding", acceptEncoding)) // nothing has been published
				if encoding, ok := s.Header()["Content-Encoding"]; ok {
					t.Errorf("the stream is encoded: %q", encoding)
				}
				for i := range 20 {
					payload := strings.Repeat("word ", i*i) + "end" // from less than a frame to more than encode's least size
					server.Publish("jobs", payload)
					resumeMessages(t, s, payload)
				}
				with.inForce(t, g, s)
			})
		})
	}
}

// composeCounter counts the payloads' bytes in a stream and keeps nothing. All else in a stream has no x.
type composeCounter struct{ atomic.Int64 }

func (c *composeCounter) Write(p []byte) (int, error) {
	c.Add(int64(bytes.Count(p, []byte("x"))))
	return len(p), nil
}

// composeHub keeps little, so that what grows is not the buffer.
const composeHub = "buffer {\nmessages 32\nchannel_size 256KiB\n}"

func TestTheMemoryOfAStreamDoesNotGrowWithWhatItCarried(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	const (
		streams = 30
		payload = 8 << 10
		atOnce  = 8        // messages, that no client is overtaken
		warm    = 1 << 20  // until everything has its buffers
		carried = 4 << 20  // between the two measurements, on each stream
		limit   = 64 << 10 // of growth, for each stream
	)
	server := redistest.Start(t)
	overEachProtocol(t, func(t *testing.T, proto string) {
		g := startComposed(t, server, proto, composeHub, composeAll())
		counters := make([]composeCounter, streams)
		for i := range counters {
			r := ssetest.Do(t, g.client, g.URL("/events/jobs"), ssetest.WithHeader("Accept-Encoding", acceptEncoding))
			if r.StatusCode != http.StatusOK {
				t.Fatal(r.Status)
			}
			go func() { _, _ = io.Copy(&counters[i], r.Body) }() // until the end of the test
		}
		sent := int64(0)
		send := func(size int64) (heap int64) {
			for end := sent + size; sent < end; {
				for range atOnce {
					server.Publish("jobs", strings.Repeat("x", payload))
					sent += payload
				}
				g.wait("all streams to carry it", func() bool {
					for i := range counters {
						if counters[i].Load() < sent {
							return false
						}
					}
					return true
				})
			}
			runtime.GC()
			runtime.GC() // empties pools, too
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			return int64(stats.HeapAlloc)
		}
		before := send(warm)
		grown := (send(carried) - before) / streams
		t.Logf("%d bytes a stream", grown)
		if grown > limit {
			t.Errorf("a stream's memory has grown by %d bytes, while it carried %d", grown, carried)
		}
	})
}

func TestStreamsEndProperlyBeforeTheWriteTimeoutOfTheServer(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	overEachProtocol(t, func(t *testing.T, proto string) {
		g := startComposed(t, server, proto, "", composition{global: "servers {\ntimeouts {\nwrite 5s\n}\n}\n"})
		composeWarning(t)
		s := g.opened("/events/jobs")
		server.Publish("jobs", "while it is open")
		resumeMessages(t, s, "while it is open")
		judgeLastWords(t, s)
		server.Publish("jobs", "while it is away")
		again := g.opened("/events/jobs", ssetest.WithLastEventID(s.LastEventID()))
		resumeMessages(t, again, "while it is away")
		resumeNothingElse(t, server, again, "jobs")
	})
}

// The other timeouts of a server are about the request, or about a pause in a response: streams live on.
func TestOtherTimeoutsOfTheServerDoNotTouchStreams(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	const timeouts = "servers {\ntimeouts {\nread_body 1s\nread_header 1s\nidle 1s\nread_body_idle 1s\nwrite_idle 1s\n}\n}\n"
	routes := "redis_sse jobs {\nheartbeat 2500ms\ndrain 0s 0s\n}" // so that nothing is written for longer than a timeout
	overEachProtocol(t, func(t *testing.T, proto string) {
		g := newGatewayOver(t, proto)
		g.loadConfig(hubAt(server.URL(), "")+"\n"+timeouts, routes)
		post := []ssetest.Option{ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader("{}"))}
		streams := []*ssetest.Stream{g.opened("/get"), g.opened("/post", post...)}
		for _, s := range streams {
			s.SkipCursor()
			s.SkipCursor()
		}
		server.Publish("jobs", "still here")
		for _, s := range streams {
			resumeMessages(t, s, "still here")
		}
	})
}

func TestAClientIsAuthorizedAgainAtTheAgeOfItsStream(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	var allowed atomic.Bool
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Channel", "jobs")
		if !allowed.Load() {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(auth.Close)
	routes := fmt.Sprintf(`
	forward_auth /events %s {
		uri /auth
		copy_headers X-Channel
	}
	redis_sse /events {http.request.header.X-Channel} {
		heartbeat 59s
		max_stream_age 1s
		drain 0s 0s
	}
	`, strings.TrimPrefix(auth.URL, "http://"))
	overEachProtocol(t, func(t *testing.T, proto string) {
		g := newGatewayOver(t, proto)
		g.load(server.URL(), "", routes)
		allowed.Store(true)
		s := g.open("/events")
		judgeLastWords(t, s)
		server.Publish("jobs", "while it is away")
		again := g.opened("/events", ssetest.WithLastEventID(s.LastEventID()))
		resumeMessages(t, again, "while it is away")
		allowed.Store(false)
		judgeLastWords(t, again)
		if r := ssetest.Do(t, g.client, g.URL("/events"), ssetest.WithLastEventID(again.LastEventID())); r.StatusCode != http.StatusForbidden {
			t.Errorf("a client that is not allowed any more gets %s", r.Status)
		}
	})
}

// composeWarning wants a warning that names the timeout.
func composeWarning(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(gatewayLogs.text()) {
		if strings.Contains(line, `"level":"warn"`) && strings.Contains(line, "redis_sse") && strings.Contains(line, "write") {
			return
		}
	}
	t.Error("the log has no warning about the write timeout")
}
