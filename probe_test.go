package redissse

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

func TestARedisThatAnswersButDoesNotDeliverIsLeft(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	t.Parallel()
	fake := startFakeRedis(t)
	h := startProbed(t, fake.url(), time.Second, "a")
	h.awaitProved(1)
	first := h.subscriber.generation.Load()
	fake.set(func() { fake.deaf = true })
	deaf := h.memory.Clock.Now()
	awaitFor(t, "the end of the generation", 5*probeTimeout, func() bool { return h.subscriber.generation.Load() != first })
	fake.set(func() { fake.deaf = false })
	h.wantLost(lossDeaf)
	h.awaitLive("a")
	if h.gaps("a") != 1 {
		t.Errorf("%d gaps, want 1", h.gaps("a"))
	}
	// It has answered pings all the time.
	if after := h.gapAfter("a"); after.MS == 0 || after.MS > deaf {
		t.Errorf("the gap is after %d, want %d at most", after.MS, deaf)
	}
	fake.publish("a", "again")
	h.awaitMessage("a", "again")
}

// TestALargeMessageOnASlowLinkIsNoFalseAlarm: a probe waits behind it for longer than probeTimeout.
func TestALargeMessageOnASlowLinkIsNoFalseAlarm(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	t.Parallel()
	const rate, size = 20_000, 600_000 // 30 s, more on a busy machine
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	h := startProbed(t, proxy.URL(), time.Second, "a")
	h.awaitProved(1)
	first := h.subscriber.generation.Load()
	proxy.SetRate(rate)
	large := strings.Repeat("x", size)
	server.Publish("a", large)
	h.rounds(1)
	awaitFor(t, "the large message", 5*size/rate*time.Second, func() bool { return h.newest("a") == large })
	proxy.SetRate(0)
	await(t, "the late probe", func() bool {
		histogram := measured(t, h.metrics.probe).GetHistogram()
		within := histogram.GetBucket()[len(histogram.GetBucket())-1]
		return within.GetUpperBound() == probeTimeout.Seconds() && histogram.GetSampleCount() > within.GetCumulativeCount()
	})
	if h.subscriber.generation.Load() != first || len(h.lost()) > 0 {
		t.Errorf("the generation has ended: %q", h.lost())
	}
}

func TestPingsThatDoNotArriveAreNoticedWhileMessagesDo(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	h := startProbed(t, fake.url(), time.Second, "a")
	s := *h.settings.Load()
	s.pingInterval, s.deadAfter = 100*time.Millisecond, 3*time.Second
	h.settings.Store(&s)
	h.awaitProved(1)
	first := h.subscriber.generation.Load()
	// The subscription's PINGs do not come, but its messages keep the socket alive.
	fake.set(func() { fake.lost = true })
	await(t, "the end of the generation", func() bool {
		fake.publish("a", "x")
		return h.subscriber.generation.Load() != first
	})
	fake.set(func() { fake.lost = false })
	h.wantLost(lossSilent)
	if causes := h.causes(); !strings.Contains(causes[0], errUnheard.Error()) {
		t.Errorf("the cause is %q", causes[0])
	}
}

func TestAMasterThatBecomesACutOffReplica(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	h := startProbed(t, server.URL(), time.Second, "a")
	h.awaitProved(1)
	server.Do("REPLICAOF", "127.0.0.1", "1")
	published := h.memory.Clock.Now()
	server.Publish("a", "to what was the master") // others publish to another one by now
	await(t, "the end of the generation", func() bool { return len(h.causes()) > 0 })
	asked := statistic(t, server, "role", "calls")
	await(t, "attempts to connect", func() bool { return statistic(t, server, "role", "calls") > asked+3 })
	if len(h.lost()) > 0 || h.subscriber.connected.Load() || h.proved() {
		t.Error("a replica without a link counts as connected")
	}
	server.Do("REPLICAOF", "NO", "ONE")
	h.wantLost(lossRole)
	h.awaitLive("a")
	server.Publish("a", "again")
	h.awaitMessage("a", "again")
	if h.gaps("a") != 1 {
		t.Errorf("%d gaps, want 1", h.gaps("a"))
	}
	if e := h.events("a")[0]; e.Data != "to what was the master" {
		t.Errorf("the first event is %+v, want the message that proves nothing", e)
	}
	if after := h.gapAfter("a"); after.MS == 0 || after.MS > published {
		t.Errorf("the gap is after %d, and others may have published elsewhere since %d", after.MS, published)
	}
	// Both tell the same, but the first was seen in a probe round, the others at connect.
	if causes := h.causes(); len(causes) > 2 || !strings.Contains(causes[0], errCutOff.Error()+" 127.0.0.1:1") {
		t.Errorf("the causes are %q", causes)
	}
}

// replicate makes one server the other's replica, and returns when the link is up.
func replicate(t *testing.T, replica, master *redistest.Server) {
	t.Helper()
	replica.Do("REPLICAOF", "127.0.0.1", strconv.Itoa(master.Port()))
	await(t, "the replica's link", func() bool { return parseRole(replica.Do("ROLE").([]any)).kind == roleReplica })
}

func TestReplicasWithALinkAreFine(t *testing.T) {
	t.Parallel()
	master, other := redistest.Start(t, "--repl-diskless-sync-delay", "0"), redistest.Start(t)
	h := startProbed(t, other.URL(), time.Minute, "a")
	h.awaitProved(1)

	// The master becomes a replica: once.
	replicate(t, other, master)
	first := h.subscriber.generation.Load()
	first.probe(t.Context())
	h.wantLost(lossRole)
	h.awaitLive("a")
	if causes := h.causes(); len(causes) != 1 || !strings.Contains(causes[0], errDemoted.Error()) {
		t.Errorf("the causes are %q", causes)
	}

	// From then on it is a replica from the start.
	second := h.subscriber.generation.Load()
	h.rounds(5)
	h.awaitProved(3)
	if g := h.subscriber.generation.Load(); g != second || g == first || len(h.lost()) != 1 {
		t.Errorf("a replica with a link was left: %q", h.lost())
	}
	master.Publish("a", "from the master")
	h.awaitMessage("a", "from the master")

	// A replica that is promoted stays, until it is demoted again.
	other.Do("REPLICAOF", "NO", "ONE")
	h.rounds(2)
	if h.subscriber.generation.Load() != second {
		t.Error("a promoted replica was left")
	}
	replicate(t, other, master)
	h.rounds(1)
	h.wantLost(lossRole, lossRole)
}

// TestOnlyTheRoleOfTheSubscriptionsServerCounts: behind an address there may be a master and its replicas.
func TestOnlyTheRoleOfTheSubscriptionsServerCounts(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	h := startProbed(t, fake.url(), time.Minute, "a")
	h.awaitProved(1)
	first := h.subscriber.generation.Load()
	fake.set(func() { fake.role, fake.receivers = fakeReplica, ":0\r\n" })
	h.rounds(3)
	if h.subscriber.generation.Load() != first {
		t.Fatal("another server's role has ended the generation")
	}
	fake.set(func() { fake.receivers = "" })
	h.rounds(1)
	h.wantLost(lossRole)
}

// TestAWeakProbeIsOneThatAnotherReplicaTook: what another replica is told to publish may reach nobody else.
func TestAWeakProbeIsOneThatAnotherReplicaTook(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		role, receivers string
		weak            bool
	}{
		{fakeReplica, ":0\r\n", true},
		{fakeReplica, ":1\r\n", false},
		{fakeMaster, ":0\r\n", false},
		{"", ":0\r\n", false},
	} {
		fake := startFakeRedis(t)
		fake.role = test.role
		h := startProbed(t, fake.url(), time.Minute, "a")
		h.awaitProved(1)
		fake.set(func() { fake.deaf, fake.receivers = true, test.receivers })
		h.rounds(1)
		p := &h.subscriber.generation.Load().probing
		p.mu.Lock()
		if p.payload == "" || p.acked == 0 || p.weak != test.weak {
			t.Errorf("role %q, receivers %q: %+v, want weak %v", test.role, test.receivers, p, test.weak)
		}
		p.mu.Unlock()
	}
}

// statistic is a number that Redis counts for a command.
func statistic(t *testing.T, server *redistest.Server, command, field string) int {
	t.Helper()
	stats := server.Do("INFO", "commandstats").(string)
	found := regexp.MustCompile("cmdstat_" + command + ":.*\\b" + field + `=(\d+)`).FindStringSubmatch(stats)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatTheACLRefusesIsDoneWithout(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rights   []any
		refused  []string
		commands []string // in Redis's statistics
	}{
		"commands": {[]any{"&*", "+ping", "+subscribe", "+unsubscribe"}, []string{"PUBLISH", "ROLE", "TIME"}, []string{"publish", "role", "time"}},
		"channel":  {[]any{"&a", "+@all"}, []string{"SUBSCRIBE"}, []string{"subscribe"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			server.Do(append([]any{"ACL", "SETUSER", "limited", "on", ">pw", "resetchannels"}, test.rights...)...)
			h := startProbed(t, "redis://limited:pw@"+server.Addr(), time.Minute, "a")
			await(t, "the warnings", func() bool { return len(h.refusals()) >= len(test.refused) })
			rejected := func(command string) int { return statistic(t, server, command, "rejected_calls") }
			for generation := 1; generation <= 3; generation++ {
				h.awaitLive("a")
				for _, command := range test.commands {
					// Each generation asks again, once.
					await(t, command+" to be refused", func() bool { return rejected(command) == generation })
				}
				h.rounds(3)
				server.Publish("a", fmt.Sprint(generation))
				h.awaitMessage("a", fmt.Sprint(generation))
				for _, command := range test.commands {
					if n := rejected(command); n != generation {
						t.Errorf("%s was refused %d times in %d generations", command, n, generation)
					}
				}
				if h.proved() {
					t.Error("delivery is proved without a probe")
				}
				server.KillPubSub()
				await(t, "the loss", func() bool { return len(h.lost()) == generation })
			}
			if got := h.refusals(); !slices.Equal(got, test.refused) {
				t.Errorf("warned of %q, want %q once each", got, test.refused)
			}
			h.awaitLive("a") // a connection that is only being made would not be killed
			h.otherOptions()
			server.KillPubSub()
			await(t, "new warnings", func() bool { return len(h.refusals()) == 2*len(test.refused) })

			server.Do("ACL", "SETUSER", "limited", "allchannels", "+@all")
			server.KillPubSub()
			await(t, "a proof", h.proved)
			if got := h.refusals(); len(got) != 2*len(test.refused) {
				t.Errorf("warned of %q", got)
			}
		})
	}
}

// TestOurOwnMessagesAreNeverBuffered also if somebody got around the check of names.
func TestOurOwnMessagesAreNeverBuffered(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	h := startProbed(t, server.URL(), time.Minute, "a")
	h.awaitProved(1)
	for _, ours := range []string{hub.Reserved + "x", h.subscriber.prober.channel} {
		h.memory.Open(0, []string{ours}, nil, hub.NewWaiter())
		h.awaitLive(ours)
		server.Publish(ours, "forged")
		server.Publish("a", ours)
		h.awaitMessage("a", ours)
		if n := h.held(ours).messages; n != 0 {
			t.Errorf("%d messages of %q are buffered", n, ours)
		}
	}
	counted := func() float64 { return measured(t, h.metrics.received).GetCounter().GetValue() }
	await(t, "the count", func() bool { return counted() >= 2 }) // a message is there before it is counted
	if n := counted(); n != 2 {
		t.Errorf("%v messages are counted, want 2", n)
	}
}
