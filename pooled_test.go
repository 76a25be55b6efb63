package redissse

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// overEachWay runs a subtest with a publisher whose breaker opens at one failure, over a plain connection to a redis-server and over
// one with TLS.
func overEachWay(t *testing.T, maxSize int64, test func(*testing.T, *redistest.Server, *publishServer)) {
	t.Helper()
	for _, way := range []string{"plain", "TLS"} {
		t.Run(way, func(t *testing.T) {
			server, url, trusted := startSecureRedis(t)
			p := startPublishing(t, &Hub{Redis: server.URL(), Publisher: &Publisher{BreakerFailures: 1}}, &PublishHandler{MaxSize: maxSize})
			if way == "TLS" {
				options, err := (&Hub{Redis: url}).resolve()
				if err != nil {
					t.Fatal(err)
				}
				s := *p.hub.settings.Load()
				s.redis = options.redis
				s.redis.TLSConfig.RootCAs = trusted
				p.hub.settings.Store(&s)
			}
			test(t, server, p)
		})
	}
}

// Redis closes idle connections, as hosted ones do, or all as it restarts: what is published next goes over a new one. What lies on
// the way may keep that to itself; then a PING tells.
func TestAConnectionThatHasGoneWhileIdleCarriesNoMessage(t *testing.T) {
	t.Parallel()
	for name, trusted := range map[string]time.Duration{"idle": 0, "just used": time.Hour} {
		overEachWay(t, defaultMaxSize, func(t *testing.T, server *redistest.Server, p *publishServer) {
			p.hub.publisher.trusted = trusted
			a := listen(t, server)
			crowd(t, p, "a", "b", "c", "d")
			server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			for _, payload := range []string{"e", "f", "g", "h"} {
				if got := p.post(payload); got.status != http.StatusOK || got.Attempts > 2 {
					t.Errorf("%s, %s: %d after %d attempts: %s", name, payload, got.status, got.Attempts, got.text)
				}
			}
			if heard := a.heard(); len(heard) != 8 || !strings.HasSuffix(strings.Join(heard, ""), "efgh") {
				t.Errorf("heard %q", heard)
			}
			if state := p.hub.publisher.breaker.state(); state != gobreaker.StateClosed {
				t.Errorf("the breaker is %v", state)
			}
		})
	}
}

// A firewall forgets a connection that was idle, and lets neither side know.
func TestAConnectionThatIsForgottenWhileIdleCarriesNoMessage(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := startPublishing(t, &Hub{Redis: proxy.URL(), Publisher: &Publisher{BreakerFailures: 1}}, &PublishHandler{})
	p.hub.publisher.trusted = 0
	a := listen(t, server)
	p.post("before").want(t, http.StatusOK, "", 1)
	proxy.Forget()
	p.post("after").want(t, http.StatusOK, "", 1)
	a.wantHeard("before", "after")
}

// That an idle connection is silent is no news of Redis; that the new one is, too, is.
func TestAFrozenRedisOpensTheBreakerOfAPublisherThatWasIdle(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := startPublishing(t, &Hub{Redis: server.URL(), Publisher: &Publisher{Attempts: 1, BreakerFailures: 1}}, &PublishHandler{})
	p.hub.publisher.trusted = 0
	p.post("before").want(t, http.StatusOK, "", 1)
	p.hub.publisher.trusted = time.Hour // of connections of another client: the new one
	server.Freeze()
	p.post("frozen").want(t, http.StatusServiceUnavailable, dropUnreachable, 1)
	if state := p.hub.publisher.breaker.state(); state != gobreaker.StateOpen {
		t.Errorf("the breaker is %v", state)
	}
	server.Thaw()
}

// crowd publishes all at once, so that there are several connections.
func crowd(t *testing.T, p *publishServer, payloads ...string) {
	t.Helper()
	var all sync.WaitGroup
	for _, payload := range payloads {
		all.Go(func() {
			if got, err := p.try(t.Context(), http.MethodPost, strings.NewReader(payload), nil); err != nil || got.status != http.StatusOK {
				t.Errorf("%s: %d, %v: %s", payload, got.status, err, got.text)
			}
		})
	}
	all.Wait()
}

// What Redis does not take is one caller's doing, and no reason to refuse others.
func TestPayloadsThatRedisDoesNotTakeDoNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	overEachWay(t, 64<<20, func(t *testing.T, server *redistest.Server, p *publishServer) {
		server.Do("CONFIG", "SET", "proto-max-bulk-len", "1mb")
		for _, size := range []int{1<<20 + 1, 2 << 20, 8 << 20, 32 << 20} {
			p.post(strings.Repeat("x", size)).want(t, http.StatusBadGateway, dropRejected, 1)
			if state := p.hub.publisher.breaker.state(); state != gobreaker.StateClosed {
				t.Fatalf("the breaker is %v after a payload of %d bytes", state, size)
			}
			p.post("small").want(t, http.StatusOK, "", 1)
		}
	})
}

// A payload over Redis's client-query-buffer-limit has Redis close the connection without a word.
func TestPayloadsThatRedisHasNoRoomForDoNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--client-query-buffer-limit", "1mb")
	p := startPublishing(t, &Hub{Redis: server.URL(), Publisher: &Publisher{Attempts: 1, BreakerFailures: 1}}, &PublishHandler{MaxSize: 64 << 20})
	for _, size := range []int{2 << 20, 32 << 20} { // all of it fits into what the kernel buffers, or not
		if got := p.post(strings.Repeat("x", size)); got.status == http.StatusOK || got.status == http.StatusBadGateway {
			t.Errorf("%d bytes: %d %s", size, got.status, got.text)
		}
		p.post("small").want(t, http.StatusOK, "", 1)
	}
}

// A large payload that times out says nothing while Redis answers a PING; a small one does.
func TestLargePayloadsThatTakeTooLongDoNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 1<<20)
	for name, test := range map[string]struct {
		payload string
		mute    bool
		state   gobreaker.State
	}{
		"large":                 {large, false, gobreaker.StateClosed},
		"large, without a PONG": {large, true, gobreaker.StateOpen},
		"small":                 {"small", false, gobreaker.StateOpen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := startFakeRedis(t)
			p := startPublishing(t, &Hub{Redis: fake.url(), Publisher: &Publisher{Attempts: 1, BreakerFailures: 1}}, &PublishHandler{MaxSize: 64 << 20})
			p.hub.publisher.trusted = time.Hour
			p.post("before").want(t, http.StatusOK, "", 1)
			hold := make(chan struct{})
			fake.set(func() { fake.holds, fake.mute = hold, test.mute })
			p.post(test.payload).want(t, http.StatusGatewayTimeout, dropUnknown, 1)
			if state := p.hub.publisher.breaker.state(); state != test.state {
				t.Errorf("the breaker is %v, want %v", state, test.state)
			}
			close(hold)
		})
	}
}

// Callers of large payloads that take long leave connections to the others.
func TestLargePayloadsDoNotTakeAllConnections(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	p := startPublishing(t, &Hub{Redis: fake.url(), Publisher: &Publisher{Attempts: 1}}, &PublishHandler{MaxSize: 1 << 20})
	hold := make(chan struct{})
	fake.set(func() { fake.holds = hold })
	large, end := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 * maxCommandConns {
		all.Go(func() { _, _, _ = p.hub.publisher.publish(large, "news", make([]byte, largePayload+1)) })
	}
	await(t, "large payloads", func() bool { return fake.count("PUBLISH") >= largeAtOnce })
	fake.set(func() { fake.holds = nil })
	p.post("small").want(t, http.StatusOK, "", 1)
	end() // those that wait for a place
	close(hold)
	all.Wait()
	if n := len(p.hub.publisher.large); n != 0 {
		t.Errorf("%d places are taken for ever", n)
	}
}

func TestALargePayloadWaitsForItsPlaceForATimeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			within time.Duration // the request is over
			reason dropReason
			waited time.Duration
		}{
			"others are at it":  {time.Hour, dropBusy, poolTimeout},
			"the caller leaves": {poolTimeout / 2, dropCanceled, poolTimeout / 2},
		} {
			p := &publisher{large: make(chan struct{})}
			ctx, cancel := context.WithTimeout(t.Context(), test.within)
			begin := time.Now()
			_, err := p.attempt(ctx, "news", make([]byte, largePayload+1))
			v := verdictOf(err)
			if v.reason != test.reason || v.weight != weightNone || v.again || time.Since(begin) != test.waited {
				t.Errorf("%s: %+v after %s: %v", name, v, time.Since(begin), err)
			}
			cancel()
		}
	})
}

// Who waits for one of the connections that the callers have taken has heard nothing of Redis.
func TestWithAllConnectionsTakenRedisIsNotSilent(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	p := startPublishing(t, &Hub{Redis: fake.url()}, &PublishHandler{})
	release := p.takeAll()
	if p.hub.publisher.isSilent() {
		t.Error("it seems silent")
	}
	release()
	fake.set(func() { fake.mute = true })
	if !p.hub.publisher.isSilent() {
		t.Error("it does not seem silent though it is")
	}
}

// takeAll takes all connections that there may be, until they are released.
func (p *publishServer) takeAll() (release func()) {
	p.t.Helper()
	hold := make(chan struct{})
	var taken, all sync.WaitGroup
	taken.Add(maxCommandConns)
	for range maxCommandConns {
		all.Go(func() {
			has := sync.OnceFunc(taken.Done) // the connection may have gone while it was idle: then there is another call
			err := p.hub.publisher.oneConn(p.t.Context(), func(ctx context.Context, conn *redis.Conn) error {
				defer func() { <-hold }()
				defer has()
				return conn.Ping(ctx).Err()
			})
			if err != nil {
				p.t.Error(err)
			}
		})
	}
	taken.Wait()
	return func() {
		close(hold)
		all.Wait()
	}
}

// All connections of the pool are as old as the first that is found forgotten.
func TestAllConnectionsAreForgottenWhileIdle(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := startPublishing(t, &Hub{Redis: proxy.URL(), Publisher: &Publisher{Attempts: 1, BreakerFailures: 1}}, &PublishHandler{})
	p.hub.publisher.trusted = 0
	forget := func() {
		p.takeAll()()
		proxy.Forget()
	}
	a := listen(t, server)
	forget()
	crowd(t, p, "a", "b", "c", "d")
	if n := len(a.heard()); n != 4 {
		t.Errorf("%d messages are published, want 4", n)
	}
	forget()
	if p.hub.publisher.isSilent() {
		t.Error("redis seems silent")
	}
	forget()
	err := p.hub.publisher.oneConn(t.Context(), func(ctx context.Context, conn *redis.Conn) error { // as a probe
		_ = conn.Time(ctx)
		return conn.Publish(ctx, "news", "probe").Err()
	})
	if err != nil {
		t.Errorf("a probe: %v", err)
	}
	a.wantHeard("probe")
	before := proxy.Accepted()
	crowd(t, p, "e", "f", "g", "h")
	if n := proxy.Accepted() - before; n >= maxCommandConns {
		t.Errorf("%d connections are made after one was found forgotten", n)
	}
}

// scriptedConn says some things, and fails to write after so many bytes.
type scriptedConn struct {
	net.Conn
	says    bytes.Buffer
	written bytes.Buffer
	room    int
}

var errScripted = errors.New("broken pipe")

func (c *scriptedConn) Read(p []byte) (int, error) { return c.says.Read(p) }

func (c *scriptedConn) Write(p []byte) (int, error) {
	if c.written.Len()+len(p) > c.room {
		return 0, errScripted
	}
	return c.written.Write(p)
}

func (c *scriptedConn) SetReadDeadline(time.Time) error { return nil }

// go-redis would keep a connection that has given a reply.
func TestAConnectionWithAProtocolErrorIsOver(t *testing.T) {
	for says, want := range map[string]bool{
		":1\r\n": false, "-NOPERM no\r\n": false, "-ERR Protocol error: invalid bulk length\r\n": true, "-ERR Protocol error": true,
	} {
		inner := new(scriptedConn)
		inner.says.WriteString(says)
		n, err := pooled(inner, time.Hour).Read(make([]byte, 100))
		if isProtocolError(err) != want || want != (n == 0) {
			t.Errorf("%q: %d bytes, %v", says, n, err)
		}
	}
}

// Each reply would be taken for the answer to the command behind its own.
func TestAPooledConnectionThatHasSaidMoreIsNotUsed(t *testing.T) {
	inner := &scriptedConn{room: 100}
	inner.says.WriteString(":1\r\n:2\r\n")
	conn, buf, command := pooled(inner, time.Hour), make([]byte, 100), []byte("*1\r\n")
	if n, err := conn.Read(buf); string(buf[:n]) != ":1\r\n" || err != nil {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
	if _, err := conn.Write(command); !errors.Is(err, errWentIdle) || !isWriteError(err) || inner.written.Len() > 0 {
		t.Errorf("written is %q, %v", inner.written.String(), err)
	}
	if n, err := conn.Read(buf); string(buf[:n]) != ":2\r\n" || err != nil {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
	if _, err := conn.Write(command); err != nil || inner.written.String() != string(command) {
		t.Errorf("once all has been read, written is %q, %v", inner.written.String(), err)
	}
}

func TestWhatAPooledConnectionSays(t *testing.T) {
	const command, ping = "*3\r\n", "*1\r\n$4\r\nPING\r\n"
	for name, test := range map[string]struct {
		idle          bool
		says          string
		room          int
		written       string
		idleGone      bool
		protocolError bool
		failed        bool
	}{
		"in use":                         {room: 100, written: command},
		"idle, answers":                  {idle: true, says: "+PONG\r\n", room: 100, written: ping + command},
		"idle, answers with an error":    {idle: true, says: "-LOADING x\r\n", room: 100, written: ping + command},
		"idle, closed":                   {idle: true, room: 100, written: ping, idleGone: true, failed: true},
		"idle, cannot be written to":     {idle: true, idleGone: true, failed: true},
		"idle, babbles":                  {idle: true, says: strings.Repeat("x", 2*maxPong), room: 100, written: ping, idleGone: true, failed: true},
		"closed in use":                  {failed: true},
		"closed in use, with an error":   {says: "-ERR Protocol error: invalid bulk length\r\n", failed: true, protocolError: true},
		"closed in use, with other news": {says: "-ERR max number of clients reached\r\n", failed: true},
		"closed in use, with a reply":    {says: "+OK\r\n", failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			inner := &scriptedConn{room: test.room}
			inner.says.WriteString(test.says)
			conn := pooled(inner, time.Hour).(*pooledConn)
			if test.idle {
				conn.used = time.Now().Add(-2 * time.Hour)
			}
			_, err := conn.Write([]byte(command))
			if got := inner.written.String(); got != test.written {
				t.Errorf("written is %q, want %q", got, test.written)
			}
			if (err != nil) != test.failed || errors.Is(err, errWentIdle) != test.idleGone || isProtocolError(err) != test.protocolError {
				t.Errorf("the error is %v", err)
			}
			if test.idleGone && !isWriteError(err) {
				t.Errorf("%v does not say that nothing was written", err)
			}
			if test.failed && !test.idleGone && !errors.Is(err, errScripted) {
				t.Errorf("%v hides its cause", err)
			}
		})
	}
}
