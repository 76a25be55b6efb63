package redissse

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// keepRoutes have streams stay over a reload.
const keepRoutes = `
	redis_sse /one/* {http.request.uri.path.1} {
		client_from
		open_timeout 1m
		drain 1h 0s
	}
	redis_sse /jobs {
		pattern job:*
		client_from
		open_timeout 1m
		drain 1h 0s
	}
`

// keeping is a gateway that keeps patterns.
type keeping struct {
	*gateway
	server *redistest.Server
}

func startKeeping(t *testing.T, keep ...string) *keeping {
	t.Helper()
	server := redistest.Start(t)
	k := &keeping{newGateway(t), server}
	k.keep("1h", keep...)
	return k
}

// keep loads a configuration that keeps these patterns, and returns when Redis has all of them.
func (k *keeping) keep(linger string, patterns ...string) {
	k.t.Helper()
	hub := "reconnect_min 100ms\nreconnect_max 500ms\nlinger " + linger
	if len(patterns) > 0 {
		hub += "\nkeep " + strings.Join(patterns, " ")
	}
	k.load(k.server.URL(), hub, keepRoutes)
	k.wait("the patterns to be confirmed", func() bool {
		all := k.hub().holdings()
		return !slices.ContainsFunc(patterns, func(name string) bool { return !all[name].live })
	})
}

// subscribed checks what Redis has: how many patterns, and exactly these channels.
func (k *keeping) subscribed(patterns int64, channels ...string) {
	k.t.Helper()
	if n := k.server.Do("PUBSUB", "NUMPAT").(int64); n != patterns {
		k.t.Errorf("%d patterns are subscribed to, want %d", n, patterns)
	}
	have := subscribedChannels(k.server)
	slices.Sort(have)
	if !slices.Equal(have, channels) {
		k.t.Errorf("%q are subscribed to, want %q", have, channels)
	}
}

func (k *keeping) awaitPatterns(n int64) {
	k.t.Helper()
	k.wait(fmt.Sprintf("%d patterns", n), func() bool { return k.server.Do("PUBSUB", "NUMPAT").(int64) == n })
}

func TestAKeptPatternHasWhatCameBeforeItsFirstClient(t *testing.T) {
	k := startKeeping(t, "job:*")
	sent := resumePublish(t, k.server, "job:1", "one ", 5)
	more := resumePublish(t, k.server, "job:2", "two ", 5)
	one := k.opened("/one/job:1?from=start")
	resumeMessages(t, one, sent...)
	k.wait("all of it to be there", func() bool { return heldMessages(k.hub()) == 10 })
	two := k.opened("/one/job:2?last=2")
	resumeMessages(t, two, more[3:]...)
	// Nothing has to be asked: a Redis that answers nothing delays no stream.
	k.server.Freeze()
	quiet, silent := k.opened("/one/job:3?from=start"), k.opened("/one/job:1?last=1")
	resumeMessages(t, silent, sent[4])
	k.server.Thaw()
	k.subscribed(1)

	resumeMessages(t, quiet, resumePublish(t, k.server, "job:3", "three ", 3)...)
	jobs := k.opened("/jobs?from=start")
	resumeMessages(t, jobs, append(slices.Concat(sent, more), "three 1", "three 2", "three 3")...)
	resumeMessages(t, k.opened("/jobs?last=4"), "two 5", "three 1", "three 2", "three 3")
	for _, s := range []*ssetest.Stream{one, silent} {
		resumeNothingElse(t, k.server, s, "job:1")
	}
	resumeNothingElse(t, k.server, two, "job:2")
	k.subscribed(1)
}

// TestACursorOfAPatternIsOneOfItsChannels, and the other way round: it is a place in all that the hub has.
func TestACursorOfAPatternIsOneOfItsChannels(t *testing.T) {
	k := startKeeping(t, "job:*")
	jobs := k.opened("/jobs")
	var ids []string
	for i := range 10 {
		channel := fmt.Sprintf("job:%d", i%2)
		k.server.Publish(channel, fmt.Sprint(i))
		resumeMessages(t, jobs, fmt.Sprint(i))
		ids = append(ids, jobs.LastEventID())
	}
	var all []*ssetest.Stream
	for i, id := range ids {
		onto := k.opened("/one/job:0", ssetest.WithLastEventID(id))
		for n := i/2*2 + 2; n < 10; n += 2 {
			resumeMessages(t, onto, fmt.Sprint(n))
		}
		back := k.opened("/jobs", ssetest.WithLastEventID(onto.LastEventID()))
		for n := max(i, 8) + 1; n < 10; n++ { // 8 is the channel's newest
			resumeMessages(t, back, fmt.Sprint(n))
		}
		all = append(all, onto, back)
	}
	k.server.Publish("job:0", "live")
	for _, s := range all {
		resumeMessages(t, s, "live")
	}
	k.subscribed(1)
}

func TestAKeptPatternStaysTheOnlySubscriptionOverAnOutage(t *testing.T) {
	k := startKeeping(t, "job:*")
	jobs, one, quiet := k.opened("/jobs"), k.opened("/one/job:1"), k.opened("/one/job:2")
	resumePublish(t, k.server, "job:1", "before ", 2)
	resumeMessages(t, one, "before 1", "before 2")
	resumeMessages(t, jobs, "before 1", "before 2")
	k.server.Kill()
	k.server.Restart()
	k.awaitPatterns(1)
	if _, g := resumeGap(t, jobs); g.Pattern != "job:*" || g.Reason != gapDisconnected {
		t.Errorf("the pattern's stream got the gap %+v", g)
	}
	resumeMustGap(t, one, "job:1", gapDisconnected)
	resumeMustGap(t, quiet, "job:2", gapDisconnected)
	for _, channel := range []string{"job:1", "job:2"} {
		sent := resumePublish(t, k.server, channel, "after ", 2)
		resumeMessages(t, jobs, sent...)
		resumeMessages(t, map[string]*ssetest.Stream{"job:1": one, "job:2": quiet}[channel], sent...)
	}
	again := k.opened("/one/job:1?from=start")
	resumeMessages(t, again, "before 1", "before 2")
	resumeMustGap(t, again, "job:1", gapDisconnected)
	resumeMessages(t, again, "after 1", "after 2")
	k.subscribed(1)
}

// monitored has Redis tell of all commands. What it returns says which (un)subscribe commands there have been since.
func (k *keeping) monitored() (commands func() []string) {
	k.t.Helper()
	conn, err := net.Dial("tcp", k.server.Addr())
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = conn.Close() })
	lines := bufio.NewScanner(conn)
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil || !lines.Scan() {
		k.t.Fatalf("asking for what Redis does: %v, %v", err, lines.Err())
	}
	return func() (got []string) {
		const end = "that is all"
		k.server.Do("ECHO", end)
		_ = conn.SetReadDeadline(time.Now().Add(gatewayWait))
		for lines.Scan() && !strings.Contains(lines.Text(), end) {
			if _, command, _ := strings.Cut(strings.ToLower(lines.Text()), "] "); strings.Contains(command, "subscribe") {
				got = append(got, command)
			}
		}
		if err := lines.Err(); err != nil {
			k.t.Errorf("reading what Redis does: %v", err)
		}
		return got
	}
}

// TestAPatternIsGivenUpAfterItsChannels: a reload that keeps it no longer loses nothing of what is open.
func TestAPatternIsGivenUpAfterItsChannels(t *testing.T) {
	k := startKeeping(t, "job:*")
	channels := []string{"job:1", "job:2", "job:3"}
	var witnesses []*witness
	for _, channel := range channels {
		witnesses = append(witnesses, newWitness(t, k.opened("/one/"+channel), channel))
	}
	traffic := startTraffic(t, k.server, channels...)
	until := func() {
		sent := traffic.sent()
		for _, w := range witnesses {
			w.until(sent)
		}
	}
	until()
	k.subscribed(1)
	commands := k.monitored()
	k.keep("100ms")
	k.awaitPatterns(0)
	until()
	k.subscribed(0, channels...)
	got := commands()
	gone := slices.IndexFunc(got, func(c string) bool { return strings.HasPrefix(c, `"punsubscribe"`) })
	before := strings.Join(got[:max(gone, 0)], "\n")
	if gone != len(got)-1 || slices.ContainsFunc(channels, func(c string) bool { return !strings.Contains(before, c) }) {
		t.Errorf("Redis was sent %q, want all channels first", got)
	}

	// Kept again, the pattern takes over from the next connection on: until then the channels stay as they are.
	k.keep("100ms", "job:*")
	until()
	k.subscribed(1, channels...)
	traffic.end()
	sent := traffic.sent()
	for _, w := range witnesses {
		w.until(map[string]int{w.channels[0]: sent[w.channels[0]] - 2})
		w.judge(traffic, 0, true)
	}
}

func TestEachConfigurationKeepsItsOwnPatterns(t *testing.T) {
	k := startKeeping(t, "job:*")
	job := k.opened("/one/job:1")
	resumePublish(t, k.server, "job:1", "kept ", 2)
	resumeMessages(t, job, "kept 1", "kept 2")

	k.keep("100ms", "note:*", "job:[0-4]")
	k.awaitPatterns(2)
	k.wait("the old pattern to be given up", func() bool {
		return !k.hub().held("job:*").there
	})
	k.server.Publish("job:1", "still kept")
	resumeMessages(t, job, "still kept")
	sent := resumePublish(t, k.server, "note:1", "noted ", 3)
	resumeMessages(t, k.opened("/one/note:1?from=start"), sent...)
	resumeMessages(t, k.opened("/one/job:1?from=start"), "kept 1", "kept 2", "still kept")

	k.keep("100ms", "note:*")
	k.awaitPatterns(1)
	resumeNothingElse(t, k.server, job, "job:1")
	resumeMessages(t, k.opened("/one/note:1?last=2"), sent[1:]...)
	k.subscribed(1, "job:1")
}

// TestAForbiddenKeptPattern does not keep its channels from clients.
func TestAForbiddenKeptPattern(t *testing.T) {
	r := startRefusals(t, "+@all resetchannels &__redis_sse:* &job:1 &job:2", "keep job:*", "")
	one := r.opened("/one/job:1")
	r.delivers("job:1", one)
	two := r.opened("/one/job:2")
	r.delivers("job:2", two)
	r.warned("job:*")

	r.acl("&job:*")
	r.periodOver()
	r.wait("the pattern", func() bool { return r.server.Do("PUBSUB", "NUMPAT").(int64) == 1 })
	three := r.opened("/one/job:3")
	for channel, s := range map[string]*ssetest.Stream{"job:1": one, "job:2": two, "job:3": three} {
		r.delivers(channel, s)
	}
	if r.server.NumSub("job:3") != 0 || r.server.NumSub("job:1") != 1 {
		t.Error("channels from before the pattern stay subscribed, later ones are not")
	}
}

// TestAKeptPatternThatIsForbiddenLater leaves its channels to themselves: Redis closes the connection, and of the next one it
// refuses the pattern.
func TestAKeptPatternThatIsForbiddenLater(t *testing.T) {
	r := startRefusals(t, "+@all resetchannels &__redis_sse:* &job:*", "keep job:*", "")
	one, two := r.opened("/one/job:1"), r.opened("/one/job:2")
	r.delivers("job:1", one)
	r.acl("resetchannels", "&__redis_sse:*", "&job:1")
	resumeMustGap(t, one, "job:1", gapDisconnected)
	resumeMustGap(t, two, "job:2", gapRefused)
	r.delivers("job:1", one)

	r.acl("&job:*")
	r.periodOver()
	resumeMustGap(t, two, "job:2", gapDisconnected)
	r.delivers("job:2", two)
	if n := r.server.KillPubSub(); n != 1 {
		t.Errorf("%d connections were closed, want 1", n)
	}
	for channel, s := range map[string]*ssetest.Stream{"job:1": one, "job:2": two} {
		resumeMustGap(t, s, channel, gapDisconnected)
		if n := r.server.NumSub(channel); n != 0 {
			t.Errorf("%q is subscribed to %d times beside the pattern", channel, n)
		}
		r.delivers(channel, s)
	}
}
