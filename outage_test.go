package redissse

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// outageRoutes serve three channels, together and one alone.
const outageRoutes = `
	redis_sse /all a b c {
		open_timeout 300ms
		drain 0s 0s
	}
	redis_sse /a a {
		open_timeout 300ms
		drain 0s 0s
	}
	redis_sse /late late {
		open_timeout 300ms
		drain 0s 0s
	}
`

// outages is a gateway with traffic, and two streams that watch it.
type outages struct {
	*gateway
	server    *redistest.Server
	proxy     *redistest.Proxy
	traffic   *traffic
	witnesses []*witness
}

func startOutage(t *testing.T) *outages {
	t.Helper()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	o := &outages{gateway: startGateway(t, proxy.URL(), quickHub, outageRoutes), server: server, proxy: proxy}
	o.witnesses = []*witness{
		newWitness(t, o.opened("/all"), "a", "b", "c"),
		newWitness(t, o.opened("/a"), "a"),
		newWitness(t, o.opened("/a"), "a"),
	}
	o.traffic = startTraffic(t, server, "a", "b", "c")
	o.live()
	return o
}

// live returns when all streams have brought trafficShown messages of each channel that were published after the call.
func (o *outages) live() {
	o.t.Helper()
	beyond := map[string]int{}
	for channel, n := range o.traffic.sent() {
		beyond[channel] = n + trafficShown
	}
	for _, w := range o.witnesses {
		w.until(beyond)
	}
}

func (o *outages) judge(gaps int, clean bool) {
	o.t.Helper()
	o.traffic.end()
	for _, w := range o.witnesses {
		w.judge(o.traffic, gaps, clean)
	}
	if n := o.server.PubSubClients(); n != 1 {
		o.t.Errorf("%d pub/sub connections, want 1", n)
	}
}

// awaitNoticed returns when the hub has given up the n-th connection.
func (o *outages) awaitNoticed(n int) {
	o.t.Helper()
	o.wait("the outage to be noticed", func() bool {
		return strings.Count(gatewayLogs.text(), "no redis connection") >= n
	})
}

func TestAnOutageIsOneGapPerChannelInItsPlace(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	for name, test := range map[string]struct {
		cut   func(*outages, int)
		clean bool
	}{
		"kill and restart": {clean: true, cut: func(o *outages, _ int) {
			failed := o.traffic.failed()
			o.server.Kill()
			o.wait("a PUBLISH to fail", func() bool { return o.traffic.failed() > failed })
			o.server.Restart()
		}},
		"CLIENT KILL": {clean: true, cut: func(o *outages, _ int) {
			if n := o.server.KillPubSub(); n != 1 {
				o.t.Errorf("%d pub/sub connections were killed, want 1", n)
			}
		}},
		"reset":      {cut: func(o *outages, _ int) { o.proxy.Reset() }},
		"FIN":        {cut: func(o *outages, _ int) { o.proxy.CloseConns() }},
		"black hole": {cut: func(o *outages, n int) { o.hole(o.proxy.SetBlackhole, n) }},
		"half open":  {cut: func(o *outages, n int) { o.hole(o.proxy.SetDropToClient, n) }},
		"frozen": {cut: func(o *outages, n int) {
			o.server.Freeze()
			o.awaitNoticed(n)
			o.server.Thaw()
			o.server.Do("PING") // by then Redis has executed what it had been sent
			o.traffic.release()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := startOutage(t)
			const times = 2
			for n := range times {
				test.cut(o, n+1)
				o.awaitNoticed(n + 1)
				o.liveAgain(n + 1)
			}
			o.judge(times, test.clean)
		})
	}
}

// hole lets nothing through until the hub has given the connection up.
func (o *outages) hole(set func(bool), n int) {
	o.t.Helper()
	set(true)
	o.awaitNoticed(n)
	set(false)
}

// liveAgain is live, and every channel has had its n-th gap.
func (o *outages) liveAgain(n int) {
	o.t.Helper()
	for _, w := range o.witnesses {
		end := time.Now().Add(gatewayWait)
		for slices.ContainsFunc(w.channels, func(channel string) bool { return w.gaps(channel) < n }) {
			if time.Now().After(end) { // the traffic goes on without it
				o.t.Fatalf("not every channel has its gap number %d after %v", n, gatewayWait)
			}
			w.take(w.Next())
		}
	}
	o.live()
}

func (w *witness) gaps(channel string) int {
	n := 0
	for _, d := range w.got[channel] {
		if d.gap != nil {
			n++
		}
	}
	return n
}

func TestAShortFreezeLosesNothing(t *testing.T) {
	o := startOutage(t)
	o.server.Freeze()
	time.Sleep(1500 * time.Millisecond) // how long the fault lasts: less than dead_after
	o.server.Thaw()
	o.live()
	o.judge(0, true)
}

// TestAHoleTowardsRedisLosesNothing: Redis hears nothing more, but its messages arrive.
func TestAHoleTowardsRedisLosesNothing(t *testing.T) {
	o := startOutage(t)
	o.proxy.SetDropToServer(true)
	o.live()
	late := o.opened("/late") // its SUBSCRIBE is in the hole
	o.proxy.SetDropToServer(false)
	o.server.WaitNumSub("late", 1)
	o.live()
	if e := late.NextAfterCursors(); e.Type != "gap" {
		t.Errorf("a stream that was opened unconfirmed got %+q, want a gap", e)
	}
	o.judge(0, true)
}

// TestTheJudgeSeesALossWithoutItsGap is the negative control of the tests above.
func TestTheJudgeSeesALossWithoutItsGap(t *testing.T) {
	book := []published{{receivers: 1}, {receivers: 1}, {err: errors.New("down")}, {receivers: 0}, {receivers: 1}, {receivers: 1}}
	at := func(seq uint64) place { return place{Seq: seq} }
	place := at(1).ID()
	g := &told{Channel: "a", Reason: gapDisconnected, After: &place}
	good := []delivered{{n: 0, id: at(1)}, {n: -1, gap: g, id: at(5)}, {n: 4, id: at(6)}, {n: 5, id: at(7)}}
	if err := judgeOutage(book, good, 1, true); err != nil {
		t.Errorf("a good history: %v", err)
	}
	for name, change := range map[string]func([]delivered) []delivered{
		"no gap":              func(d []delivered) []delivered { return slices.Delete(d, 1, 2) },
		"gap too late":        func(d []delivered) []delivered { d[1], d[2] = d[2], d[1]; d[1].id, d[2].id = at(5), at(6); return d },
		"twice":               func(d []delivered) []delivered { return append(d, delivered{n: 5, id: at(8)}) },
		"out of order":        func(d []delivered) []delivered { d[2].n, d[3].n = 5, 4; return d },
		"lost after recovery": func(d []delivered) []delivered { return slices.Delete(d, 2, 3) },
		"two gaps":            func(d []delivered) []delivered { return slices.Insert(d, 1, d[1]) },
		"id goes back":        func(d []delivered) []delivered { d[3].id = at(2); return d },
	} {
		if judgeOutage(book, change(slices.Clone(good)), 1, true) == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func TestRedisMayComeAfterCaddy(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	g := startGateway(t, server.URL(), quickHub, outageRoutes)
	g.waitLog("no redis connection")
	s := g.opened("/all")
	server.Restart()
	var gapped []string
	for range 3 {
		_, gap := resumeGap(t, s)
		if gap.Reason != gapNotBuffered {
			t.Errorf("the reason is %q, want %q", gap.Reason, gapNotBuffered)
		}
		gapped = append(gapped, gap.Channel)
	}
	slices.Sort(gapped)
	if !slices.Equal(gapped, []string{"a", "b", "c"}) {
		t.Errorf("gaps for %q, want one for each channel", gapped)
	}
	for _, channel := range gapped {
		if n := server.Publish(channel, "hello"); n != 1 {
			t.Errorf("%d receivers of %q", n, channel)
		}
	}
	s.Messages(3)
}

func TestAWrongPasswordIsRetriedAndNeverLogged(t *testing.T) {
	const password = "s3cr3t-of-the-gateway"
	for name, fix := range map[string][]any{
		"CONFIG SET":  {"CONFIG", "SET", "requirepass", password},
		"ACL SETUSER": {"ACL", "SETUSER", "default", ">" + password},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t, "--requirepass", "another one")
			g := startGateway(t, "redis://:"+password+"@"+server.Addr()+"/0", quickHub, outageRoutes)
			g.waitLog("WRONGPASS")
			s := g.opened("/a")
			server.Do(fix...)
			resumeMustGap(t, s, "a", gapNotBuffered)
			server.Publish("a", "hello")
			resumeMessages(t, s, "hello")

			// The password changes under a running hub, and back.
			server.Do("CONFIG", "SET", "requirepass", "yet another")
			server.Do("ACL", "SETUSER", "default", "resetpass", ">yet another")
			server.KillPubSub()
			g.wait("the new refusal", func() bool { return strings.Count(gatewayLogs.text(), "WRONGPASS") > 1 })
			server.Do(fix...)
			resumeMustGap(t, s, "a", gapDisconnected)
			server.Publish("a", "again")
			resumeMessages(t, s, "again")
			if strings.Contains(gatewayLogs.text(), password) {
				t.Error("the password is in the log")
			}
		})
	}
}

// TestAGenerationDialsOnce: go-redis would connect again behind our back, and what was published meanwhile would be missing
// without a gap.
func TestAGenerationDialsOnce(t *testing.T) {
	server := redistest.Start(t)
	s, err := (&Hub{Redis: server.URL()}).resolve()
	if err != nil {
		t.Fatal(err)
	}
	g, over := newGeneration(t.Context(), &newHub("", s, zap.NewNop()).subscriber)
	defer g.fail(nil)
	dial := g.options(over).Dialer
	conn, err := dial(t.Context(), "tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if conn, err := dial(t.Context(), "tcp", server.Addr()); !errors.Is(err, errGenerationOver) {
		t.Errorf("a second dial returns %v, %v", conn, err)
	}
}
