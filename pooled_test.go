package redissse

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// A Redis that closes idle connections, as hosted ones do, closes them over TLS unseen: what is published next goes over a new one.
func TestAConnectionThatHasGoneWhileIdleCarriesNoMessage(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"plain", "TLS"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			server, url, trusted := startSecureRedis(t)
			p := startPublishing(t, &Hub{Redis: server.URL(), Publisher: &Publisher{BreakerFailures: 1}}, &PublishHandler{})
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
			p.hub.publisher.trusted = 0 // each connection has been idle for long
			a := listen(t, server)
			crowd(t, p, "a", "b", "c", "d")
			server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			for _, payload := range []string{"e", "f", "g", "h"} {
				if got := p.post(payload); got.status != http.StatusOK || got.Attempts > 2 {
					t.Errorf("%s: %d after %d attempts: %s", payload, got.status, got.Attempts, got.text)
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
	server := redistest.Start(t, "--proto-max-bulk-len", "1mb")
	p := startPublishing(t, &Hub{Redis: server.URL(), Publisher: &Publisher{BreakerFailures: 1}}, &PublishHandler{MaxSize: 64 << 20})
	for _, size := range []int{2 << 20, 8 << 20, 32 << 20} {
		p.post(strings.Repeat("x", size)).want(t, http.StatusBadGateway, dropRejected, 1)
		if state := p.hub.publisher.breaker.state(); state != gobreaker.StateClosed {
			t.Fatalf("the breaker is %v after a payload of %d bytes", state, size)
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
