package redissse

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// wantRecovered checks that the hub has left one connection, for that cause, and that its channel "a" goes on with a gap.
func (h *probed) wantRecovered(fake *fakeRedis, reason lossReason, cause string) {
	h.t.Helper()
	h.wantLost(reason)
	h.awaitLive("a")
	if causes := h.causes(); len(causes) == 0 || !strings.Contains(causes[0], cause) {
		h.t.Errorf("the causes are %q, want one of %q", causes, cause)
	}
	if n := h.gaps("a"); n != 1 {
		h.t.Errorf("%d gaps, want 1", n)
	}
	fake.publish("a", "again")
	h.awaitMessage("a", "again")
}

// What is said unasked leaves open what the replies after it belong to.
func TestARedisThatBreaksTheProtocolIsLeft(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		says   string
		reason lossReason
		cause  string
	}{
		"a PONG that nobody asked for":          {bulks("pong", "7"), lossProtocol, `a PONG of "7" was not asked for`},
		"a status that nobody asked for":        {"+OK\r\n", lossProtocol, `a PONG of "OK" was not asked for`},
		"a confirmation that nobody asked for":  {"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n", lossProtocol, `subscribe of "x" was not asked for`},
		"an error that nobody asked for":        {"-ERR enough\r\n", lossErrorReply, "ERR enough"},
		"a message on a channel without a name": {"*3\r\n$7\r\nmessage\r\n:1\r\n$1\r\nx\r\n", lossProtocol, `":1`},
		"a message of no known kind":            {bulks("massage", "a", "x"), lossProtocol, "massage"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := startFakeRedis(t)
			h := startProbed(t, fake.url(), time.Minute, "a")
			h.awaitProved(1)
			fake.tell("a", test.says)
			h.wantRecovered(fake, test.reason, test.cause)
		})
	}
}

// Other errors than NOPERM do not say that this user will never be allowed to.
func TestARedisThatFailsACommandOfTheSubscriptionIsLeft(t *testing.T) {
	t.Parallel()
	for command, cause := range map[string]string{
		"PING":        "pinging redis: ERR failing",
		"SUBSCRIBE b": `subscribe of 1 names, "b" first: ERR failing`,
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			fake := startFakeRedis(t)
			h := startProbed(t, fake.url(), time.Minute, "a")
			h.awaitProved(1)
			fake.set(func() { fake.says = map[string]string{command: "-ERR failing\r\n"} })
			if _, err := h.memory.Open(0, []string{"b"}, nil, hub.NewWaiter()); err != nil {
				t.Fatal(err)
			}
			await(t, "an outage", func() bool { return len(h.causes()) > 0 })
			fake.set(func() { fake.says = nil })
			h.wantRecovered(fake, lossErrorReply, cause)
			h.awaitLive("b")
		})
	}
}

// That the server does not answer a question of the greeting, which may pass, says nothing of what it delivers.
func TestARedisThatCannotTellItsRoleNowIsUsed(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	fake.set(func() { fake.says = map[string]string{"ROLE": "-TRYAGAIN not now\r\n"} })
	h := startProbed(t, fake.url(), time.Minute, "a")
	fake.publish("a", "1")
	h.awaitMessage("a", "1")
	if causes, refusals := h.causes(), h.refusals(); len(causes) > 0 || len(refusals) > 0 {
		t.Errorf("outages: %q, refusals: %q", causes, refusals)
	}
	fake.set(func() { fake.says = nil })
	h.subscriber.prober.soon <- struct{}{}
	h.awaitProved(1) // it is asked again
}

// A server that loads its data refuses PING, and goes on delivering.
func TestARedisThatLoadsItsDataKeepsItsSubscription(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
	h := startProbed(t, server.URL(), time.Second, "a")
	s := *h.settings.Load()
	s.pingInterval = 100 * time.Millisecond
	h.settings.Store(&s)
	h.awaitProved(1)
	first := h.subscriber.generation.Load()
	server.Do("DEBUG", "POPULATE", "20000")
	server.Do("CONFIG", "SET", "key-load-delay", "500") // microseconds: ten seconds in all
	loader, loaded := server.Client(), make(chan struct{})
	go func() {
		defer close(loaded)
		_ = loader.Do(t.Context(), "DEBUG", "RELOAD").Err() // takes longer than the client waits
	}()
	refused := regexp.MustCompile(`errorstat_LOADING:count=(\d+)`)
	await(t, "refused pings", func() bool {
		found := refused.FindStringSubmatch(server.Do("INFO", "errorstats").(string))
		if found == nil {
			return false
		}
		n, err := strconv.Atoi(found[1])
		return err == nil && n >= 3
	})
	server.Publish("a", "while it loads")
	h.awaitMessage("a", "while it loads")
	if !strings.Contains(server.Do("INFO", "persistence").(string), "\r\nloading:1\r\n") {
		t.Error("redis had loaded its data before")
	}
	if h.subscriber.generation.Load() != first || h.gaps("a") > 0 || len(h.causes()) > 0 {
		t.Errorf("the connection is lost: %q, %d gaps", h.causes(), h.gaps("a"))
	}
	server.Kill() // else it would load on
	<-loaded
}

// Redis keeps the replies that are not read, and closes the connection if these are too many.
func TestSubscriptionsWaitForTheRepliesOfThoseBefore(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	h := startProbed(t, proxy.URL(), time.Minute, "a")
	s := *h.settings.Load()
	s.pingInterval, s.deadAfter = 100*time.Millisecond, time.Minute
	h.settings.Store(&s)
	h.awaitProved(1)
	first, before := h.subscriber.generation.Load(), statistic(t, server, "subscribe", "calls")
	written := func() int { return statistic(t, server, "subscribe", "calls") - before }
	proxy.SetDropToClient(true)
	// As internal/hub has it.
	const maxBatch, maxUnanswered = 512, 8 * 512
	opened, err := h.memory.Open(0, jobNames(2*maxUnanswered), nil, hub.NewWaiter())
	if err != nil {
		t.Fatal(err)
	}
	const allowed = maxUnanswered / maxBatch
	await(t, "the first of them", func() bool { return written() >= allowed })
	pings := statistic(t, server, "ping", "calls")
	// The writer has gone on to other things.
	await(t, "pings", func() bool { return statistic(t, server, "ping", "calls") >= pings+2 })
	if n := written(); n != allowed {
		t.Errorf("%d commands are written without an answer, want %d", n, allowed)
	}
	proxy.SetDropToClient(false)
	await(t, "all of them", opened.Settled)
	if h.subscriber.generation.Load() != first {
		t.Errorf("the connection is lost: %q", h.causes())
	}
}

// What Redis says before it hangs up is the reason, not that it has hung up.
func TestTheLogSaysWhyRedisHangsUp(t *testing.T) {
	server := redistest.Start(t, "--maxclients", "1")
	server.Do("PING") // has the only connection
	g := newGateway(t)
	g.loadConfig("debug\n"+hubAt(server.URL(), quickHub), "redis_sse news")
	g.waitLog("ERR max number of clients reached")
	if text := gatewayLogs.text(); !strings.Contains(text, `"error":"connecting to redis: ERR max number of clients reached"`) {
		t.Error("the reason is not what the log says")
	}
	readTroubleshooting(t).has("`connecting to redis: ERR max number of clients reached`")
}

// Each attempt has a port of its own.
func TestAnOutageIsLoggedOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	of := &inForce{name: "test", metrics: newHubMetrics("test")}
	of.logger.Store(zap.New(core))
	at := func(port int, why error) error {
		local, far := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6379}
		return fmt.Errorf("connecting to redis: %w", &net.OpError{Op: "read", Net: "tcp", Source: local, Addr: far, Err: why})
	}
	var o outage
	for port := range 5 {
		o.began(of, broken{}, at(50000+port, syscall.ECONNRESET))
	}
	o.began(of, broken{}, at(50005, syscall.EPIPE))
	if n := logs.Len(); n != 2 {
		t.Errorf("%d lines tell of two causes: %v", n, logs.All())
	}
}
