package redissse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/resp"
)

// probeMillis is probeTimeout in the unit of the monotonic clock.
const probeMillis = int64(probeTimeout / time.Millisecond)

func startedProbing(t *testing.T, now int64) *probing {
	t.Helper()
	p := new(probing)
	if p.begin("early", time.Now(), now, hub.Mark{}) {
		t.Error("a probe began before Redis had confirmed its channel")
	}
	p.listens()
	if !p.begin("one", time.Now(), now, hub.Mark{}) {
		t.Fatal("no probe began")
	}
	return p
}

func TestAProbeIsLostOnlyIfAPongOvertookIt(t *testing.T) {
	const hour = 3600_000
	for name, test := range map[string]struct {
		happens func(*probing)
		at      int64
		overdue bool
	}{
		"PUBLISH is not answered": {func(p *probing) { p.answered(hour) }, 2 * hour, false},
		"no PONG since":           {func(p *probing) { p.acknowledged("one", 100, false); p.answered(99) }, 2 * hour, false},
		"of a PING that was written in the same millisecond": {
			func(p *probing) { p.acknowledged("one", 100, false); p.answered(100) }, 2 * hour, false,
		},
		"a PONG since, but in time": {
			func(p *probing) { p.acknowledged("one", 100, false); p.answered(101) }, 100 + probeMillis, false,
		},
		"a PONG since":         {func(p *probing) { p.acknowledged("one", 100, false); p.answered(101) }, 101 + probeMillis, true},
		"another acknowledged": {func(p *probing) { p.acknowledged("two", 100, false); p.answered(101) }, 2 * hour, false},
		"it is weak":           {func(p *probing) { p.acknowledged("one", 100, true); p.answered(101) }, 2 * hour, false},
		"it was given up":      {func(p *probing) { p.acknowledged("one", 100, false); p.abandoned("one"); p.answered(101) }, 2 * hour, false},
		"it came":              {func(p *probing) { p.acknowledged("one", 100, false); p.arrived("one"); p.answered(101) }, 2 * hour, false},
		"it came before PUBLISH was answered": {
			func(p *probing) { p.arrived("one"); p.acknowledged("one", 100, false); p.answered(101) }, 2 * hour, false,
		},
		"another came": {func(p *probing) { p.acknowledged("one", 100, false); p.arrived("two"); p.answered(101) }, 2 * hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := startedProbing(t, 50)
			test.happens(p)
			if got := p.overdue(test.at, &pauses{}); got != test.overdue {
				t.Errorf("overdue is %v", got)
			}
		})
	}
}

func TestOnlyTheNewestProbeProvesDelivery(t *testing.T) {
	p := startedProbing(t, 0)
	step := func(what string, proved bool) {
		t.Helper()
		if p.isProved() != proved {
			t.Errorf("%s: proved is %v", what, !proved)
		}
	}
	step("under way", false)
	if p.begin("two", time.Now(), 1, hub.Mark{}) {
		t.Error("two are under way")
	}
	if sent, _, ok := p.arrived("one"); !ok || sent != 0 {
		t.Errorf("arrived, sent at %d: %v", sent, ok)
	}
	step("it came", true)
	for _, strange := range []string{"one", "", "two"} {
		if _, _, ok := p.arrived(strange); ok {
			t.Errorf("%q is taken for a probe under way", strange)
		}
	}
	p.begin("two", time.Now(), 1, hub.Mark{})
	step("the next is under way", true)
	p.abandoned("two")
	step("its PUBLISH failed", false)
	p.begin("three", time.Now(), 1, hub.Mark{})
	p.arrived("three")
	p.begin("four", time.Now(), 1, hub.Mark{})
	p.acknowledged("four", 1, true)
	p.overdue(2+probeMillis, &pauses{})
	step("a weak one did not come", false)
	if !p.begin("five", time.Now(), 1, hub.Mark{}) {
		t.Error("a weak probe is under way for ever")
	}
	p.acknowledged("five", 1, false)
	p.arrived("five")
	p.begin("six", time.Now(), 2, hub.Mark{})
	p.acknowledged("six", 2, false)
	p.overdue(3+probeMillis, &pauses{})
	step("one is late, behind a backlog", false)
	p.arrived("six")
	step("it came after all", true)
}

// TestAProbeTellsThatPingsDoNotReachRedis: what Redis executes in order comes back in order.
func TestAProbeTellsThatPingsDoNotReachRedis(t *testing.T) {
	const dead = 3 * time.Second
	for name, test := range map[string]struct {
		ping    bool          // there is a PING without an answer
		age     time.Duration // of that PING at the PUBLISH
		transit time.Duration // of the probe
		reply   time.Duration // before the PUBLISH, another command was answered; 0: never
		unheard bool
	}{
		"no PING is unanswered": {transit: time.Hour},
		"one is, not for long":  {ping: true, age: dead, transit: time.Second},
		"a backlog of an hour":  {ping: true, age: dead, transit: time.Hour},
		"one is, for long":      {ping: true, age: dead + time.Millisecond, transit: time.Second, unheard: true},
		"for long, a backlog":   {ping: true, age: time.Minute, transit: time.Hour, unheard: true},
		"a slow way to Redis":   {ping: true, age: time.Minute, transit: time.Second, reply: dead},
		"no reply since":        {ping: true, age: time.Minute, transit: time.Second, reply: dead + time.Millisecond, unheard: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				s := *w.hub.settings.Load()
				s.deadAfter = dead
				w.hub.settings.Store(&s)
				g := w.gen
				now := w.hub.memory.Clock.Monotonic
				time.Sleep(time.Hour)                    // hubs are older than their PINGs
				at := now() + time.Minute.Milliseconds() // of the PUBLISH
				until := func(then int64) { time.Sleep(time.Duration(then-now()) * time.Millisecond) }
				if test.ping {
					until(at - test.age.Milliseconds())
					if _, err := w.hub.memory.Open(0, []string{"a", "b"}, nil, hub.NewWaiter()); err != nil {
						t.Fatal(err)
					}
					g.replies.Next()
					g.replies.Ping()
				}
				if test.reply > 0 {
					until(at - test.reply.Milliseconds())
					if err := g.confirmed(resp.Reply{Kind: "subscribe", Channel: "a"}); err != nil && test.ping {
						t.Fatal(err)
					}
				}
				until(at)
				if test.ping {
					g.replies.Ping()
				}
				g.probing.listens()
				g.probing.begin("x", time.Now(), now(), hub.Mark{})
				time.Sleep(test.transit)
				err := g.heard(resp.Reply{Channel: w.hub.subscriber.prober.channel, Payload: "x"})
				if errors.Is(err, errUnheard) != test.unheard || !test.unheard && err != nil {
					t.Errorf("the error is %v", err)
				}
			})
		})
	}
}

func TestADeafRedisIsNoticedWithinTheBound(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := *w.hub.settings.Load()
		s.pingInterval, s.deadAfter, s.Linger = defaultPingInterval, defaultDeadAfter, time.Hour
		w.hub.settings.Store(&s)
		g, life := newGeneration(t.Context(), &w.hub.subscriber)
		w.hub.subscriber.generation.Store(g)
		w.hub.running.Go(func() { w.hub.tick(life) })
		conn := &watchedConn{clock: w.hub.memory.Clock}
		g.conn.Store(conn)
		g.probing.listens()
		now := w.hub.memory.Clock.Monotonic
		// The worst case: it falls deaf right after a probe, and the PUBLISH of the next takes all its time.
		begin := time.Now()
		answering := func(until time.Duration) {
			for life.Err() == nil && time.Since(begin) < until {
				conn.read.Store(now())
				g.probing.answered(now())
				time.Sleep(defaultPingInterval)
			}
		}
		answering(defaultProbeInterval)
		g.probing.begin("x", time.Now(), now(), hub.Mark{})
		answering(defaultProbeInterval + commandTimeout)
		g.probing.acknowledged("x", now(), false)
		answering(time.Hour)
		if err := context.Cause(life); !errors.Is(err, errDeaf) {
			t.Errorf("ended by %v", err)
		}
		took := time.Since(begin)
		if took > 25*time.Second || took < defaultProbeInterval+probeTimeout { // P3 has 30 s
			t.Errorf("noticed after %s", took)
		}
		w.hub.running.Wait()
	})
}

func TestRolesAreRead(t *testing.T) {
	slave := func(state string) []any { return []any{"slave", "10.0.0.1", int64(6379), state, int64(0)} }
	for i, test := range []struct {
		reply []any
		want  role
	}{
		{nil, role{}},
		{[]any{"master", int64(1), []any{}}, role{kind: roleMaster}},
		{slave("connected"), role{roleReplica, "10.0.0.1:6379"}},
		{slave("connect"), role{roleCutOff, "10.0.0.1:6379"}},
		{slave("connecting"), role{roleCutOff, "10.0.0.1:6379"}},
		{slave("sync"), role{roleCutOff, "10.0.0.1:6379"}},
		{[]any{"slave"}, role{}},
		{[]any{"sentinel", []any{}}, role{}},
		{[]any{int64(1)}, role{}},
	} {
		if got := parseRole(test.reply); got != test.want {
			t.Errorf("%d: %v is %+v, want %+v", i, test.reply, got, test.want)
		}
	}
}

// What a server answered since it was last known to be well proves nothing, if it turns out that it was not.
func TestWhereAllIsCompleteWhenAGenerationEnds(t *testing.T) {
	p := &probing{completeAtRole: hub.Mark{MS: 1, Seq: 1}, completeAtProbe: hub.Mark{MS: 2, Seq: 2}}
	now := hub.Mark{MS: 9, Seq: 9}
	want := func(when string, role, deaf hub.Mark) {
		t.Helper()
		for err, want := range map[error]hub.Mark{errCutOff: role, errDemoted: role, errDeaf: deaf, errSilent: now, errUnheard: now, io.EOF: now} {
			if got := p.completeBefore(fmt.Errorf("ending: %w", err), now); got != want {
				t.Errorf("%s, %q: complete before %v, want %v", when, err, got, want)
			}
		}
	}
	want("before the first round", hub.Mark{MS: 1, Seq: 1}, hub.Mark{MS: 2, Seq: 2})
	p.listens()
	p.begin("one", time.Now(), 1, hub.Mark{MS: 3, Seq: 3})
	if err := p.become(role{kind: roleMaster}, hub.Mark{MS: 4, Seq: 4}); err != nil {
		t.Error(err)
	}
	want("a probe under way", hub.Mark{MS: 4, Seq: 4}, hub.Mark{MS: 2, Seq: 2})
	p.arrived("one")
	want("a probe back", hub.Mark{MS: 4, Seq: 4}, hub.Mark{MS: 3, Seq: 3})
	p.begin("two", time.Now(), 2, hub.Mark{MS: 5, Seq: 5})
	p.abandoned("two")
	p.begin("three", time.Now(), 2, hub.Mark{MS: 6, Seq: 6})
	if err := p.become(role{kind: roleCutOff}, hub.Mark{MS: 7, Seq: 7}); !errors.Is(err, errCutOff) {
		t.Errorf("cut off: %v", err)
	}
	want("a probe lost, and cut off", hub.Mark{MS: 4, Seq: 4}, hub.Mark{MS: 3, Seq: 3})
}

func TestRolesThatEndAGeneration(t *testing.T) {
	unknown, master := role{}, role{kind: roleMaster}
	linked, cut := role{roleReplica, "m:1"}, role{roleCutOff, "m:1"}
	for i, test := range []struct {
		before, now role
		want        error
	}{
		{unknown, master, nil},
		{unknown, linked, nil},
		{unknown, cut, errCutOff},
		{master, master, nil},
		{master, linked, errDemoted},
		{master, cut, errCutOff},
		{linked, linked, nil},
		{linked, master, nil},
		{linked, cut, errCutOff},
	} {
		if err := test.now.since(test.before); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", strconv.Itoa(i), err)
		}
	}
}

// unanswered reports whether something that was written is not answered.
func unanswered(g *generation) bool { kind, _ := g.replies.Asked(); return kind != "" }

func TestStrangeRepliesToTheProbeChannelEndTheGeneration(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		g := w.gen
		g.replies.Probe(w.hub.subscriber.prober.channel)
		for _, r := range []resp.Reply{
			{Kind: "subscribe", Channel: "a"}, {Kind: "unsubscribe", Channel: w.hub.subscriber.prober.channel},
		} {
			if g.confirmed(r) == nil {
				t.Errorf("%+v is taken", r)
			}
		}
		if err := g.errorReply(rejection("NOAUTH no")); lossReasonOf(err) != lossErrorReply {
			t.Errorf("the error is %v", err)
		}
		if err := g.errorReply(rejection("NOPERM no")); err != nil || unanswered(g) {
			t.Errorf("a refusal is not done without: %v", err)
		}
	})
}
