package redissse

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

func TestPublishingWhileRedisIsDown(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := startPublishing(t, &Hub{Redis: server.URL()}, &PublishHandler{})
	p.post("before").want(t, http.StatusOK, "", 1)
	server.Kill()
	p.post("down").want(t, http.StatusServiceUnavailable, dropUnreachable, defaultAttempts)
	server.Restart()
	a := listen(t, server)
	p.post("after").want(t, http.StatusOK, "", 1)
	a.wantHeard("after")
}

// A frozen Redis has the message in its kernel: it will execute it once it goes on, or never.
func TestPublishingToAFrozenRedisIsUnknownAndHappensOnceAtMost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := startPublishing(t, &Hub{Redis: server.URL()}, &PublishHandler{})
	a := listen(t, server)
	p.hub.publisher.trusted = time.Hour            // it is asked for no PING first
	p.post("before").want(t, http.StatusOK, "", 1) // there is a connection now
	server.Freeze()
	p.post("frozen").want(t, http.StatusGatewayTimeout, dropUnknown, 1)
	server.Thaw()
	p.post("after").want(t, http.StatusOK, "", 1)
	a.wantHeard("before", "frozen", "after") // it has executed it, and only once
	if n := metricValue(t, p.h.metrics.published[publishUnknown]); n != 1 {
		t.Errorf("%v are counted as unknown, want 1", n)
	}
}

// On a new connection a frozen Redis does not answer; so nothing is sent, and that is known.
func TestANewConnectionToAFrozenRedisCarriesNoMessage(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := startPublishing(t, &Hub{Redis: server.URL(), Publisher: &Publisher{Attempts: 2}}, &PublishHandler{})
	a := listen(t, server)
	server.Freeze()
	p.post("frozen").want(t, http.StatusServiceUnavailable, dropUnreachable, 2)
	server.Thaw()
	a.wantHeard()
}

// HELLO may be answered with an error that means nothing, or that there are too many clients. A PING tells.
func TestAConnectionThatDoesNotAnswerAPingCarriesNoMessage(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	fake.set(func() { fake.mute = true })
	p := startPublishing(t, &Hub{Redis: fake.url(), Publisher: &Publisher{Attempts: 1}}, &PublishHandler{})
	p.post("x").want(t, http.StatusServiceUnavailable, dropUnreachable, 1)
	if n := fake.count("PUBLISH"); n != 0 {
		t.Errorf("%d messages are sent, want none", n)
	}
}

// The connection breaks after Redis has taken the message and before its answer is back.
func TestALostAnswerIsUnknownAndIsNotRepeated(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := startPublishing(t, &Hub{Redis: proxy.URL()}, &PublishHandler{})
	p.hub.publisher.trusted = time.Hour // it is asked for no PING first
	a := listen(t, server)
	p.post("before").want(t, http.StatusOK, "", 1)
	proxy.SetDropToClient(true)
	answered := make(chan publishResult, 1)
	go func() {
		got, err := p.try(t.Context(), http.MethodPost, strings.NewReader("lost"), nil)
		if err != nil {
			t.Error(err)
		}
		answered <- got
	}()
	for _, want := range []string{"before", "lost"} {
		if m, err := a.sub.ReceiveMessage(t.Context()); err != nil || m.Payload != want {
			t.Fatalf("%v, %v, want %s", m, err, want)
		}
	}
	proxy.Reset()
	proxy.SetDropToClient(false)
	(<-answered).want(t, http.StatusGatewayTimeout, dropUnknown, 1)
	a.wantHeard()
}

func TestPublishingWhileRedisLoadsItsData(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
	p := startPublishing(t, &Hub{Redis: server.URL()}, &PublishHandler{})
	a := listen(t, server)
	server.Do("DEBUG", "POPULATE", "20000")
	server.Do("CONFIG", "SET", "key-load-delay", "500") // microseconds: ten seconds in all
	loader, loaded := server.Client(), make(chan struct{})
	go func() {
		defer close(loaded)
		_ = loader.Do(t.Context(), "DEBUG", "RELOAD").Err() // takes longer than the client waits
	}()
	loading := func() bool { return strings.Contains(server.Do("INFO", "persistence").(string), "\r\nloading:1\r\n") }
	await(t, "redis to load", loading)
	p.post("loading").want(t, http.StatusOK, "", 1)
	if !loading() {
		t.Error("redis had loaded its data before")
	}
	a.wantHeard("loading")
	server.Kill() // else it would load on
	<-loaded
}

// Redis does not say so to PUBLISH; what speaks its protocol may.
func TestALoadingReplyIsFollowedByAnotherAttempt(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	fake.set(func() { fake.receivers = "-LOADING Redis is loading the dataset in memory\r\n" })
	p := startPublishing(t, &Hub{Redis: fake.url()}, &PublishHandler{})
	p.post("x").want(t, http.StatusServiceUnavailable, dropUnavailable, defaultAttempts)
	if n := fake.count("PUBLISH"); n != defaultAttempts {
		t.Errorf("%d attempts, want %d", n, defaultAttempts)
	}
	if n := metricValue(t, p.h.metrics.retries); n != defaultAttempts-1 {
		t.Errorf("%v retries are counted, want %d", n, defaultAttempts-1)
	}
}

func TestAFullRedisPublishes(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
	p := startPublishing(t, &Hub{Redis: server.URL()}, &PublishHandler{})
	a := listen(t, server)
	if err := server.Client().Set(t.Context(), "key", "x", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		t.Fatalf("SET: %v, want OOM", err)
	}
	p.post("full").want(t, http.StatusOK, "", 1)
	a.wantHeard("full")
}

func TestPublishingToAReplicaReachesItsOwnSubscribers(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := redistest.Start(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(master.Port()))
	await(t, "the link to the master", func() bool {
		return strings.Contains(replica.Do("INFO", "replication").(string), "master_link_status:up")
	})
	p := startPublishing(t, &Hub{Redis: replica.URL()}, &PublishHandler{})
	here, there := listen(t, replica), listen(t, master)
	p.post("to the replica").want(t, http.StatusOK, "", 1)
	here.wantHeard("to the replica")
	there.wantHeard()
}

func TestPublishingToARedisThatIsOutOfClients(t *testing.T) {
	t.Parallel()
	for name, password := range map[string]string{"without a password": "", "with a password": "secret"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			url := server.URL()
			if password != "" {
				server.Do("CONFIG", "SET", "requirepass", password)
				url = strings.Replace(url, "//", "//:"+password+"@", 1)
			}
			p := startPublishing(t, &Hub{Redis: url}, &PublishHandler{})
			a := listen(t, server)
			server.Do("CONFIG", "SET", "maxclients", "1")
			got := p.post("too many")
			got.want(t, http.StatusServiceUnavailable, got.Reason, defaultAttempts)
			if got.Reason != dropUnreachable && got.Reason != dropUnavailable {
				t.Errorf("reason %q", got.Reason)
			}
			server.Do("CONFIG", "SET", "maxclients", "100")
			p.post("fits").want(t, http.StatusOK, "", 1)
			a.wantHeard("fits")
		})
	}
}

func TestPublishingAfterThePasswordWasRotated(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Do("CONFIG", "SET", "requirepass", "old-secret")
	p := startPublishing(t, &Hub{Redis: strings.Replace(server.URL(), "//", "//:old-secret@", 1)}, &PublishHandler{})
	core, logs := observer.New(zap.DebugLevel)
	p.hub.logger.Store(zap.New(core))
	a := listen(t, server)
	p.post("old").want(t, http.StatusOK, "", 1)
	server.Do("CONFIG", "SET", "requirepass", "new-secret")
	p.post("on an old connection").want(t, http.StatusOK, "", 1)
	server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	for range defaultBreakerFailures {
		got := p.post("denied")
		got.want(t, http.StatusBadGateway, dropDenied, 1)
		if strings.Contains(got.text, "secret") {
			t.Errorf("the answer tells the password: %s", got.text)
		}
	}
	p.post("denied").want(t, http.StatusServiceUnavailable, dropOpen, 0)
	for _, entry := range logs.All() {
		for _, value := range entry.ContextMap() {
			if text, ok := value.(string); ok && strings.Contains(text, "secret") {
				t.Errorf("the log tells the password: %s %v", entry.Message, entry.ContextMap())
			}
		}
	}
	a.wantHeard("old", "on an old connection")
}

func TestAChannelThatTheACLForbidsIsDeniedAndOpensNoBreaker(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "app", "on", ">secret", "+@all", "&other")
	p := startPublishing(t, &Hub{Redis: strings.Replace(server.URL(), "//", "//app:secret@", 1)}, &PublishHandler{})
	core, logs := observer.New(zap.WarnLevel)
	p.hub.logger.Store(zap.New(core))
	for range 2 * defaultBreakerFailures {
		p.post("x").want(t, http.StatusBadGateway, dropDenied, 1)
	}
	told := logs.All() // nothing else says so
	if len(told) != 1 || told[0].Message != "publishing failed" || told[0].ContextMap()["reason"] != string(dropDenied) ||
		told[0].ContextMap()["redis"] != server.Addr() || told[0].ContextMap()["held_back"] != int64(0) {
		t.Errorf("%d warnings, want the first denial: %v", len(told), told)
	}
	if state := p.hub.publisher.breaker.state(); state != gobreaker.StateClosed {
		t.Errorf("the breaker is %v: one channel's denial stops the others", state)
	}
}

// A caller that has no patience says nothing of Redis.
func TestARequestThatEndsEarlyCountsForNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := startPublishing(t, &Hub{Redis: server.URL(), Publisher: &Publisher{BreakerFailures: 1}}, &PublishHandler{})
	a := listen(t, server)
	p.post("before").want(t, http.StatusOK, "", 1)
	server.Freeze()
	fails := p.h.metrics.published[publishFailed]
	unknown := p.h.metrics.published[publishUnknown]
	over := func() float64 { return metricValue(t, fails) + metricValue(t, unknown) }
	for i := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		before := p.arrived.Load()
		go func() { // has patience only from when it is being served
			_ = proctest.Within(proctest.Patience, func() bool { return p.arrived.Load() != before })
			time.AfterFunc(200*time.Millisecond, cancel)
		}()
		if got, err := p.try(ctx, http.MethodPost, strings.NewReader("early"), nil); err == nil {
			t.Errorf("got %+v", got)
		}
		cancel()
		await(t, "the end of the request", func() bool { return over() == float64(i+1) })
	}
	if state := p.hub.publisher.breaker.state(); state != gobreaker.StateClosed {
		t.Errorf("the breaker is %v", state)
	}
	server.Thaw()
	p.post("after").want(t, http.StatusOK, "", 1)
	// The first of them was on its way already.
	a.wantHeard("before", "early", "after")
}

// It ends while another attempt is waited for.
func TestARequestThatEndsBetweenAttemptsIsNotFailedByRedis(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	fake.set(func() { fake.receivers = "-LOADING Redis is loading the dataset in memory\r\n" })
	p := startPublishing(t, &Hub{Redis: fake.url(), Publisher: &Publisher{Backoff: caddy.Duration(maxPublishWait)}}, &PublishHandler{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error)
	go func() {
		_, _, err := p.hub.publisher.publish(ctx, "news", nil)
		failed <- err
	}()
	of := p.hub.publisher.settings.Load().publishing.breaker
	await(t, "the first attempt to fail", func() bool { return p.hub.publisher.breaker.circuit(of).Counts().TotalFailures == 1 })
	cancel()
	if err := <-failed; verdictOf(err).reason != dropCanceled || !errors.Is(err, context.Canceled) {
		t.Errorf("%v: %+v, want that it was canceled", err, verdictOf(err))
	}
}

// All connections are taken for longer than anybody should wait: that is too much to do, not a failure of Redis.
func TestMoreThanTheConnectionsCanDoIsRefused(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	for tries := 10; ; tries-- {
		holds := make(chan struct{})
		fake.set(func() { fake.holds = holds })
		p := startPublishing(t, &Hub{Redis: fake.url(), Publisher: &Publisher{BreakerFailures: 1}}, &PublishHandler{})
		answers := make(chan publishResult)
		taken := fake.count("PUBLISH") + maxCommandConns
		for range maxCommandConns {
			go func() {
				got, err := p.try(t.Context(), http.MethodPost, strings.NewReader("x"), nil)
				if err != nil {
					t.Error(err)
				}
				answers <- got
			}()
		}
		await(t, "as many messages as connections", func() bool { return fake.count("PUBLISH") == taken })
		got := p.post("one more")
		state := p.hub.publisher.breaker.state()
		close(holds)
		late := 0
		for range maxCommandConns {
			switch got := <-answers; got.status {
			case http.StatusOK:
			case http.StatusGatewayTimeout:
				late++
			default:
				t.Errorf("%d %s", got.status, got.text)
			}
		}
		if late > 0 && tries > 1 { // this machine is slow: they were not taken for all that time
			continue
		}
		got.want(t, http.StatusServiceUnavailable, dropBusy, 1)
		if state != gobreaker.StateClosed {
			t.Errorf("the breaker is %v", state)
		}
		return
	}
}
