package redissse

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
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

// published is what became of one PUBLISH.
type published struct {
	receivers int64
	err       error
}

// traffic publishes to its channels in turn, without a pause at a broken Redis, and keeps the books. The payload of the n-th
// message of channel a is "a n", counted from 0.
type traffic struct {
	server   *redistest.Server
	channels []string
	stop     chan struct{}
	done     sync.WaitGroup

	mu  sync.Mutex
	log map[string][]published
	// held is set when a PUBLISH timed out, which Redis may execute later: what follows must wait for that, or it would be
	// Redis that mixes up the order. release clears it.
	held bool
}

const (
	trafficPause = time.Millisecond
	// trafficShown is how many messages of each channel must pass for the traffic to count as going on.
	trafficShown = 50
)

func startTraffic(t *testing.T, server *redistest.Server, channels ...string) *traffic {
	p := &traffic{server: server, channels: channels, stop: make(chan struct{}), log: map[string][]published{}}
	p.done.Go(p.run)
	t.Cleanup(p.end)
	return p
}

func (p *traffic) run() {
	ticker := time.NewTicker(trafficPause)
	defer ticker.Stop()
	for i := 0; ; {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		channel := p.channels[i%len(p.channels)]
		n, held := len(p.log[channel]), p.held
		p.mu.Unlock()
		if held {
			continue
		}
		receivers, err := p.server.TryPublish(channel, channel+" "+strconv.Itoa(n))
		var timeout net.Error
		p.mu.Lock()
		p.log[channel] = append(p.log[channel], published{receivers, err})
		p.held = errors.As(err, &timeout) && timeout.Timeout()
		p.mu.Unlock()
		i++
	}
}

// end stops the traffic. Calls after the first do nothing.
func (p *traffic) end() {
	p.mu.Lock()
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.mu.Unlock()
	p.done.Wait()
}

// release lets the traffic go on after a PUBLISH timed out. Redis must have answered since.
func (p *traffic) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
}

// sent is how many messages of each channel have been tried.
func (p *traffic) sent() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := map[string]int{}
	for _, channel := range p.channels {
		counts[channel] = len(p.log[channel])
	}
	return counts
}

// entries is the book of one channel, which only grows.
func (p *traffic) entries(channel string) []published {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clip(p.log[channel])
}

// failed is how many messages have failed.
func (p *traffic) failed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, log := range p.log {
		for _, e := range log {
			if e.err != nil {
				n++
			}
		}
	}
	return n
}

// witness is a stream and what it brought of one channel after the other.
type witness struct {
	*ssetest.Stream
	t        *testing.T
	channels []string
	got      map[string][]delivered
	last     map[string]int // the newest number, -1 before the first
}

// delivered is a message's number, or a gap's data.
type delivered struct {
	n   int
	gap *gap
	id  cursor
}

func newWitness(t *testing.T, s *ssetest.Stream, channels ...string) *witness {
	w := &witness{Stream: s, t: t, channels: channels, got: map[string][]delivered{}, last: map[string]int{}}
	for _, channel := range channels {
		w.last[channel] = -1
	}
	return w
}

// until takes events until each channel has got beyond the numbers.
func (w *witness) until(beyond map[string]int) {
	w.t.Helper()
	for slices.ContainsFunc(w.channels, func(channel string) bool { return w.last[channel] <= beyond[channel] }) {
		w.take(w.Next())
	}
}

func (w *witness) take(e ssetest.Event) {
	w.t.Helper()
	id, ok := parseCursor(e.ID)
	if !ok {
		w.t.Fatalf("%+q has no id of ours", e)
	}
	switch e.Type {
	case "cursor":
	case "gap":
		g := outageGap(w.t, e)
		w.got[g.Channel] = append(w.got[g.Channel], delivered{n: -1, gap: g, id: id})
	default:
		channel, number, _ := strings.Cut(e.Data, " ")
		n, err := strconv.Atoi(number)
		if err != nil || !slices.Contains(w.channels, channel) {
			w.t.Fatalf("not one of our messages: %+q", e)
		}
		w.got[channel] = append(w.got[channel], delivered{n: n, id: id})
		w.last[channel] = n
	}
}

func outageGap(t *testing.T, e ssetest.Event) *gap {
	t.Helper()
	g, err := decodeGap(e.Data)
	if err != nil {
		t.Fatalf("the data of a gap is %q: %v", e.Data, err)
	}
	return g
}

// judge compares what was delivered with the publisher's book: all in order and once, and every message that is missing in
// the place of a gap. gaps is how many gaps each channel must have. With clean the way from Redis was cut cleanly: Redis counts
// no receiver that is gone, so in a gap nothing that had receivers follows what had none.
func (w *witness) judge(p *traffic, gaps int, clean bool) {
	w.t.Helper()
	for _, channel := range w.channels {
		if err := judgeOutage(p.entries(channel), w.got[channel], gaps, clean); err != nil {
			w.t.Errorf("channel %q: %v", channel, err)
		}
	}
}

func judgeOutage(book []published, got []delivered, gaps int, clean bool) error {
	first := slices.IndexFunc(got, func(d delivered) bool { return d.gap == nil })
	if first < 0 {
		return errors.New("no message was delivered")
	}
	last, id, seen := got[first].n-1, cursor{}, 0
	var open *delivered
	for i := range got {
		d := &got[i]
		if d.id.seq < id.seq {
			return fmt.Errorf("the id went back from %v to %v", id, d.id)
		}
		id = d.id
		if d.gap != nil {
			if open != nil {
				return fmt.Errorf("two gaps after %d without a message between: %+v and %+v", last, *open.gap, *d.gap)
			}
			if d.gap.Reason != gapDisconnected {
				return fmt.Errorf("the gap after %d has the reason %q", last, d.gap.Reason)
			}
			if err := judgeAfter(got[:i], d); err != nil {
				return err
			}
			open = d
			seen++
			continue
		}
		switch {
		case d.n <= last:
			return fmt.Errorf("%d was delivered after %d", d.n, last)
		case d.n > last+1 && open == nil:
			return fmt.Errorf("%d follows %d without a gap: lost %+v", d.n, last, book[last+1:d.n])
		case clean:
			if err := judgeLost(book[last+1 : d.n]); err != nil {
				return fmt.Errorf("the gap between %d and %d: %w", last, d.n, err)
			}
		}
		last, open = d.n, nil
	}
	if seen != gaps {
		return fmt.Errorf("%d gaps, want %d", seen, gaps)
	}
	return nil
}

// judgeAfter checks the place that a gap names: not before the last message that was delivered, not at or behind the gap.
func judgeAfter(before []delivered, g *delivered) error {
	if g.gap.After == nil {
		return fmt.Errorf("the gap %+v has no after", *g.gap)
	}
	after, ok := parseCursor(*g.gap.After)
	if !ok || after.seq >= g.id.seq {
		return fmt.Errorf("the gap at %v is after %q", g.id, *g.gap.After)
	}
	if len(before) > 0 && after.seq < before[len(before)-1].id.seq {
		return fmt.Errorf("the gap is after %v, but %v has been delivered", after, before[len(before)-1].id)
	}
	return nil
}

// judgeLost checks the messages lost in an outage: those that were on their way, then those without a receiver.
func judgeLost(lost []published) error {
	alone := slices.IndexFunc(lost, func(e published) bool { return e.err != nil || e.receivers == 0 })
	if alone < 0 {
		return nil
	}
	for _, e := range lost[alone:] {
		if e.err == nil && e.receivers > 0 {
			return fmt.Errorf("a message with %d receivers is lost behind one with none: %+v", e.receivers, lost)
		}
	}
	return nil
}

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
	at := func(seq uint64) cursor { return cursor{seq: seq} }
	place := at(1).String()
	g := &gap{Channel: "a", Reason: gapDisconnected, After: &place}
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
	g, over := newGeneration(t.Context(), newHub("", s, zap.NewNop()))
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
