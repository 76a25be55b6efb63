//go:build unix

package redissse

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// exitRoutes serve each path as a channel. A reload leaves streams open for about as long as it can.
const exitRoutes = `
	redis_sse {http.request.uri.path.0} {
		drain 1h 500ms
	}
`

// exitOverEachProtocol is overEachProtocol, side by side: what these tests do is wait.
func exitOverEachProtocol(t *testing.T, test func(t *testing.T, proto string)) {
	t.Helper()
	overEachProtocol(t, func(t *testing.T, proto string) {
		t.Parallel()
		test(t, proto)
	})
}

// judgeCleanEnds is judgeLastWords for many streams. It stops at one that fails: hundreds would say the same.
func judgeCleanEnds(t *testing.T, streams []*ssetest.Stream) {
	t.Helper()
	for _, s := range streams {
		if judgeLastWords(t, s); t.Failed() {
			return
		}
	}
}

// judgeApart fails if all streams ended with the same retry: their clients would come back at once.
func judgeApart(t *testing.T, streams []*ssetest.Stream) {
	t.Helper()
	for _, s := range streams {
		if s.Retry() != streams[0].Retry() {
			return
		}
	}
	t.Errorf("all %d clients come back after %v", len(streams), streams[0].Retry())
}

func TestSIGTERMEndsTwoHundredStreamsProperlyAndTheProcess(t *testing.T) {
	exitOverEachProtocol(t, func(t *testing.T, proto string) {
		p := startCaddy(t, "", exitRoutes)
		streams := p.open(proto, "/jobs", 200)
		p.redis.Publish("jobs", "hello")
		for _, s := range streams {
			resumeMessages(t, s, "hello")
		}
		p.Signal(p.t, syscall.SIGTERM)
		judgeCleanEnds(t, streams)
		judgeApart(t, streams)
		p.awaitExit()
	})
}

func TestSIGINTEndsStreamsProperlyAndTheProcess(t *testing.T) {
	p := startCaddy(t, "", exitRoutes)
	streams := p.open(httpOne, "/jobs", 10)
	p.Signal(p.t, syscall.SIGINT)
	judgeCleanEnds(t, streams)
	p.awaitExit()
}

func TestTheStopCommandEndsStreamsProperlyAndTheProcess(t *testing.T) {
	p := startCaddy(t, "", exitRoutes)
	var streams []*ssetest.Stream
	for _, proto := range protocols {
		streams = append(streams, p.open(proto, "/jobs", 10)...)
	}
	stdout, stderr, err := runCaddy(t, "", "stop", "--address", p.admin)
	if err != nil {
		t.Errorf("caddy stop: %v\n%s\n%s", err, stdout, stderr)
	}
	judgeCleanEnds(t, streams)
	p.awaitExit()
}

func TestAnExitEndsTheStreamsOfEarlierConfigurationsProperly(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	const noStreams = `respond "no streams"`
	for name, newest := range map[string]func(*redistest.Server) processConfig{
		"before another handler": func(redis *redistest.Server) processConfig { return withHub(redis, "", exitRoutes) },
		"before a hub alone":     func(redis *redistest.Server) processConfig { return withHub(redis, "", noStreams) },
		"before neither":         func(*redistest.Server) processConfig { return processConfig{routes: noStreams} },
	} {
		t.Run(name, func(t *testing.T) {
			exitOverEachProtocol(t, func(t *testing.T, proto string) {
				p := startCaddy(t, "", "header X-Generation 1"+exitRoutes)
				generations := [][]*ssetest.Stream{p.open(proto, "/jobs", exitPerGeneration)}
				p.reload(withHub(p.redis, "", "header X-Generation 2"+exitRoutes))
				generations = append(generations, p.open(proto, "/jobs", exitPerGeneration))
				p.reload(newest(p.redis))
				if name == "before another handler" {
					generations = append(generations, p.open(proto, "/jobs", exitPerGeneration))
				}
				p.redis.Publish("jobs", "hello")
				for i, streams := range generations {
					if !exitAnyGets(streams, "hello") {
						t.Fatalf("no stream of configuration %d is open", i+1)
					}
				}
				p.Signal(p.t, syscall.SIGTERM)
				for _, streams := range generations {
					judgeCleanEnds(t, streams)
				}
				p.awaitExit()
			})
		})
	}
}

// exitPerGeneration is how many streams a configuration has. A reload may end some of them at once, but never all.
const exitPerGeneration = 5

// exitAnyGets waits until each of the streams has got a message or has ended, and reports whether one got it.
func exitAnyGets(streams []*ssetest.Stream, payload string) (got bool) {
	for _, s := range streams {
		for e, more := s.TryNext(gatewayWait); more; e, more = s.TryNext(gatewayWait) {
			if e.Type == "message" && e.Data == payload {
				got = true
				break
			}
		}
	}
	return got
}

// A connection whose TLS handshake ends only once the exit has begun is not among those that the server tells to go away.
func TestAnExitIsNotHeldUpByAConnectionThatComesLate(t *testing.T) {
	p := startCaddy(t, "", exitRoutes)
	others := p.open(httpTwo, "/jobs", 1)
	late := p.client(httpTwo)
	dialed, goOn := make(chan struct{}), make(chan struct{})
	late.Transport.(again).RoundTripper.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, p.secure)
		close(dialed)
		<-goOn
		return conn, err
	}
	body := make(chan []byte)
	go func() { body <- exitBody(t, late, p.url(httpTwo, "/jobs")) }()
	<-dialed
	// Connections are accepted in turn: this one comes later.
	others = append(others, p.open(httpTwo, "/jobs", 1)...)
	p.Signal(p.t, syscall.SIGTERM)
	judgeCleanEnds(t, others)
	close(goOn)
	judgeLastBytes(t, <-body)
	p.awaitExit()
}

func TestAnExitEndsStreamsProperlyWithinTheGracePeriod(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	p := startCaddy(t, "grace_period 3s", "redis_sse jobs {\ndrain 30s 30s\n}")
	streams := p.openEach("/", 10)
	p.Signal(p.t, syscall.SIGTERM)
	judgeCleanEnds(t, streams)
	p.awaitExit()
}

// It is the newest configuration's grace period that an exit obeys, for streams of earlier ones, too.
func TestAnExitEndsEarlierConfigurationsWithinTheNewestGracePeriod(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	const routes = "redis_sse jobs {\ndrain 1h 30s\n}"
	p := startCaddy(t, "", routes)
	streams := p.openEach("/", 10)
	p.reload(withHub(p.redis, "grace_period 3s", routes))
	p.Signal(p.t, syscall.SIGTERM)
	judgeCleanEnds(t, streams)
	p.awaitExit()
}

// At the end of a grace period, Caddy closes the HTTP/3 connections of a configuration that was replaced, too.
func TestAReloadEndsStreamsProperlyDespiteTheGracePeriod(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	p := startCaddy(t, "grace_period 3s", "redis_sse jobs {\ndrain 5s 0s\n}")
	streams := p.openEach("/", 10)
	p.reload(withHub(p.redis, "", exitRoutes))
	judgeCleanEnds(t, streams)
}

func TestStreamsGoOnDuringTheShutdownDelay(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	p := startCaddy(t, "shutdown_delay 2s", "redis_sse jobs {\ndrain 30s 0s\n}")
	streams := p.openEach("/", 10)
	p.Signal(p.t, syscall.SIGTERM)
	proctest.Poll(p.t, "the delay to begin", func() bool { return strings.Contains(p.Log(), "shutdown scheduled") })
	rounds := 0
	for exitDelayed(p, streams, fmt.Sprintf("round %d", rounds)) {
		rounds++
	}
	if rounds == 0 {
		t.Error("no message arrived during the delay")
	}
	judgeCleanEnds(t, streams)
	p.awaitExit()
}

var shuttingDownAt = regexp.MustCompile(`"ts":([0-9.]+),[^\n]*"servers shutting down`)

// exitDelayed publishes a message. It reports false once the servers shut down; before, each stream must get the message.
func exitDelayed(p *caddyProcess, streams []*ssetest.Stream, payload string) bool {
	p.t.Helper()
	p.redis.Publish("jobs", payload)
	for _, s := range streams {
		e, more := s.TryNext(gatewayWait)
		for more && e.Type == "cursor" {
			e, more = s.TryNext(gatewayWait)
		}
		if more && e.Data == payload {
			continue
		}
		// What Caddy logged before may not have been read yet.
		seen := time.Now()
		proctest.Poll(p.t, "the servers to shut down", func() bool { return shuttingDownAt.MatchString(p.Log()) })
		began, err := strconv.ParseFloat(shuttingDownAt.FindStringSubmatch(p.Log())[1], 64)
		if err != nil || began > float64(seen.UnixMicro())/1e6 {
			p.t.Fatalf("%s: a stream got %+q (ended: %t) during the delay, %v", payload, e, !more, err)
		}
		return false
	}
	return true
}

func TestAnExitIsNotHeldUpByRequestsThatWaitForRedis(t *testing.T) {
	exitOverEachProtocol(t, func(t *testing.T, proto string) { judgeExitUnconfirmed(t, proto, "", "drain 1h 0s") })
}

// The window counts from the exit, not from when the stream has opened.
func TestRequestsThatWaitForRedisEndProperlyWithinTheGracePeriod(t *testing.T) {
	exitOverEachProtocol(t, func(t *testing.T, proto string) {
		judgeExitUnconfirmed(t, proto, "grace_period 4s", "drain 1h 30s")
	})
}

// judgeExitUnconfirmed ends a process while requests wait for a Redis that is frozen, and for one that is down.
func judgeExitUnconfirmed(t *testing.T, proto, global, option string) {
	t.Helper()
	frozen, down := redistest.Start(t), redistest.Start(t)
	routes := fmt.Sprintf(exitUnconfirmed, frozen.URL(), option, down.URL(), option)
	p := startCaddyWith(t, frozen, processConfig{"metrics\n" + global, routes})
	// One connection for all: an exit waits for an HTTP/2 connection that comes while it begins, and that nobody uses.
	client := p.client(proto)
	for _, path := range []string{"/frozen/before", "/down/before"} {
		ssetest.Open(t, client, p.url(proto, path)).SkipCursor()
	}
	frozen.Freeze()
	down.Kill()
	opened := p.inFlight()
	const each = 5
	bodies := make(chan []byte, 2*each)
	for range each {
		for _, path := range []string{"/frozen/after", "/down/after"} {
			go func() { bodies <- exitBody(t, client, p.url(proto, path)) }()
		}
	}
	proctest.Poll(p.t, "the requests to be served", func() bool { return p.inFlight() == (1+each)*opened })
	p.Signal(p.t, syscall.SIGTERM)
	for range cap(bodies) {
		if body := <-bodies; body != nil {
			judgeLastBytes(t, body)
		}
	}
	p.awaitExit()
}

const exitUnconfirmed = `
	redis_sse /frozen/* {http.request.uri.path.1} {
		lean auto # Caddy counts the requests
		redis %s
		open_timeout 2s
		%s
	}
	redis_sse /down/* {http.request.uri.path.1} {
		lean auto
		redis %s
		open_timeout 2s
		%s
	}
`

// exitBody returns the body of a stream once it has ended, nil if the request was not answered: that is no end of an
// EventSource, it comes back.
func exitBody(t *testing.T, client *http.Client, url string) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), gatewayWait)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return nil
	}
	response, err := client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			t.Errorf("neither an answer nor an end: %v", err)
		}
		return nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("status %d, and the stream ended with %v", response.StatusCode, err)
	}
	return body
}
