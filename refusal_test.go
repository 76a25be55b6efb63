package redissse

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// refusals is a gateway whose Redis user may not have all channels. A refusal counts as an answer: with this open_timeout a
// stream that waited for another one would fail its test.
type refusals struct {
	*gateway
	server *redistest.Server
}

const refusalRoutes = `
	redis_sse /one/* {http.request.uri.path.1} {
		open_timeout 1m
		drain 0s 0s
	}
	redis_sse /jobs {
		pattern job:*
		open_timeout 1m
		drain 0s 0s
	}
	redis_sse /mixed job:1 {
		pattern job:*
		open_timeout 1m
		drain 0s 0s
	}
`

// startRefusals starts Redis with a user of these rules, which outlive a restart.
func startRefusals(t *testing.T, rules, hub, routes string) *refusals {
	t.Helper()
	user := append([]string{"--user", "app", "on", ">pw", "~*"}, strings.Fields(rules)...)
	server := redistest.Start(t, user...)
	return &refusals{startGateway(t, "redis://app:pw@"+server.Addr(), quickHub+hub, refusalRoutes+routes), server}
}

func (r *refusals) acl(rules ...any) {
	r.t.Helper()
	r.server.Do(append([]any{"ACL", "SETUSER", "app"}, rules...)...)
}

var commandStats = regexp.MustCompile(`cmdstat_(\w+):calls=(\d+),.*rejected_calls=(\d+)`)

// asked is how often Redis was sent a command, and how often it refused it for the user's rights.
func (r *refusals) asked(command string) (sent, refused int) {
	r.t.Helper()
	for _, m := range commandStats.FindAllStringSubmatch(r.server.Do("INFO", "commandstats").(string), -1) {
		if m[1] == command {
			done, _ := strconv.Atoi(m[2])
			refused, _ = strconv.Atoi(m[3])
			return done + refused, refused
		}
	}
	return 0, 0
}

// awaitRefused returns when Redis has refused a command n times.
func (r *refusals) awaitRefused(command string, n int) {
	r.t.Helper()
	r.wait(fmt.Sprintf("%d refusals of %s", n, command), func() bool {
		_, refused := r.asked(command)
		return refused >= n
	})
}

var clientID = regexp.MustCompile(`id=(\d+) .*sub=`)

// connection is the client id of the hub's connection for subscriptions.
func (r *refusals) connection() string {
	r.t.Helper()
	list := r.server.Do("CLIENT", "LIST", "TYPE", "pubsub").(string)
	ids := clientID.FindAllStringSubmatch(list, -1)
	if len(ids) != 1 {
		r.t.Fatalf("the connections for subscriptions are %q, want one", list)
	}
	return ids[0][1]
}

// periodOver has what was refused be asked for again, as if it had been long ago.
func (r *refusals) periodOver() { r.hub().memory.RetryDenied() }

// warned checks that the refusals were logged once, and for this name.
func (r *refusals) warned(name string) {
	r.t.Helper()
	var lines []string
	for line := range strings.Lines(gatewayLogs.text()) {
		if strings.Contains(line, "redis refused a subscription") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.Contains(lines[0], strconv.Quote(name)) || strings.Contains(lines[0], "pw") {
		r.t.Errorf("the refusals are logged as %q, want one line that names %q", lines, name)
	}
}

// delivers publishes a message that each stream must bring next.
func (r *refusals) delivers(channel string, streams ...*ssetest.Stream) {
	r.t.Helper()
	payload := "for " + channel
	if n := r.server.Publish(channel, payload); n == 0 {
		r.t.Errorf("nobody receives messages of %q", channel)
	}
	for _, s := range streams {
		resumeMessages(r.t, s, payload)
	}
}

func manyChannels(n int) (channels []string) {
	for i := range n {
		channels = append(channels, fmt.Sprintf("ok%d", i))
	}
	return channels
}

func TestOneForbiddenChannelAmongManyHurtsNoOther(t *testing.T) {
	allowed := manyChannels(599)
	names := slices.Insert(slices.Clone(allowed), 300, "forbidden")
	r := startRefusals(t, "+@all resetchannels &__redis_sse:* &ok*", "", `
		redis_sse /many `+strings.Join(names, " ")+` {
			open_timeout 1m
			drain 0s 0s
		}
	`)
	many := r.opened("/many")
	connection := r.connection()
	resumeMustGap(t, many, "forbidden", gapRefused)
	for _, channel := range allowed {
		if n := r.server.Publish(channel, channel); n != 1 {
			t.Errorf("%d receivers of %q, want 1", n, channel)
		}
	}
	resumeMessages(t, many, allowed...)
	sent, refused := r.asked("subscribe")
	if refused != 2 { // with others, and alone
		t.Errorf("Redis refused %d commands, want 2", refused)
	}

	one := r.opened("/one/forbidden")
	resumeMustGap(t, one, "forbidden", gapRefused)
	r.delivers(allowed[0], many)
	if now, _ := r.asked("subscribe"); now != sent {
		t.Errorf("a channel that has just been refused was asked for %d times", now-sent)
	}

	// It is refused once more: that is no news to the streams that know.
	r.periodOver()
	r.awaitRefused("subscribe", 3)
	r.delivers(allowed[1], many)

	r.acl("&forbidden")
	r.periodOver()
	for _, s := range []*ssetest.Stream{many, one} {
		resumeMustGap(t, s, "forbidden", gapNotBuffered)
	}
	r.delivers("forbidden", many, one, r.opened("/one/forbidden"))
	if now, _ := r.asked("subscribe"); now != sent+2 {
		t.Errorf("it was asked for %d times in two periods", now-sent)
	}
	if now := r.connection(); now != connection {
		t.Errorf("the connection is number %s, and was %s", now, connection)
	}
	r.warned("forbidden")
}

// TestForbiddenChannelsOfAnOutage: what was opened while Redis was down is asked for in one command.
func TestForbiddenChannelsOfAnOutage(t *testing.T) {
	r := startRefusals(t, "+@all resetchannels &__redis_sse:* &ok*", "", "")
	r.waitLog("redis connected")
	r.server.Kill()
	r.waitLog("no redis connection")
	type viewing struct {
		name string
		s    *hub.Stream
		wake *hub.Waiter
	}
	h := r.hub()
	var all []viewing
	for _, name := range append(manyChannels(597), "no1", "no2", "no3") {
		v := viewing{name: name, wake: hub.NewWaiter()}
		var err error
		if v.s, err = h.memory.Open(0, []string{name}, nil, v.wake); err != nil {
			t.Fatal(err)
		}
		v.s.Begin(hub.Start{}, h.memory.Clock.Now())
		all = append(all, v)
	}
	defer func() {
		for _, v := range all {
			h.memory.Close(v.s)
		}
	}()
	r.server.Restart()
	for _, v := range all {
		r.wait("an answer for "+v.name, v.s.Settled)
		want := map[bool]string{true: gapNotBuffered, false: gapRefused}[strings.HasPrefix(v.name, "ok")]
		var b hub.Batch
		v.s.Read(&b)
		if len(b.Items) != 1 {
			t.Fatalf("the stream of %q brings %d events, want a gap %q", v.name, len(b.Items), want)
		}
		if reason, isGap := b.Items[0].IsGap(); !isGap || string(reason) != want {
			t.Errorf("the stream of %q brings %q, want a gap %q", v.name, reason, want)
		}
		if n := r.server.Publish(v.name, "hello"); (n == 1) != (want != gapRefused) {
			t.Errorf("%d receivers of %q", n, v.name)
		}
	}
	if _, refused := r.asked("subscribe"); refused != 4 && refused != 5 { // two commands, of which one or both had any
		t.Errorf("Redis refused %d commands", refused)
	}
}

func TestAForbiddenPatternIsAskedForAgain(t *testing.T) {
	r := startRefusals(t, "+@all resetchannels &__redis_sse:* &job:1 &job:2", "", "")
	one := r.opened("/one/job:1")
	connection := r.connection()
	jobs, mixed := r.opened("/jobs"), r.opened("/mixed")
	for _, s := range []*ssetest.Stream{jobs, mixed} {
		if _, g := resumeGap(t, s); g.Pattern != "job:*" || g.Reason != gapRefused {
			t.Errorf("got gap %+v, want that of a refused pattern", g)
		}
	}
	r.delivers("job:1", one, mixed)
	sent, _ := r.asked("psubscribe")
	r.opened("/jobs").NextOf("gap")
	r.acl("&job:*")
	r.delivers("job:1", one, mixed)
	if now, _ := r.asked("psubscribe"); now != sent {
		t.Errorf("a pattern that has just been refused was asked for %d times", now-sent)
	}
	r.periodOver()
	for _, s := range []*ssetest.Stream{jobs, mixed} {
		if _, g := resumeGap(t, s); g.Pattern != "job:*" || g.Reason != gapNotBuffered {
			t.Errorf("got gap %+v, want that of a first confirmation", g)
		}
	}
	r.delivers("job:1", one, mixed, jobs)
	r.delivers("job:3", mixed, jobs)
	if now := r.connection(); now != connection {
		t.Errorf("the connection is number %s, and was %s", now, connection)
	}
	r.warned("job:*")
}

// TestAUserWhoMayNotUnsubscribe keeps subscriptions that nobody wants. What they bring is nobody's.
func TestAUserWhoMayNotUnsubscribe(t *testing.T) {
	r := startRefusals(t, "+@all -unsubscribe -punsubscribe allchannels", "linger 0s", "")
	stay := r.opened("/one/stay")
	connection := r.connection()
	for n := range 3 {
		one, jobs := r.opened("/one/job:1"), r.opened("/jobs")
		r.delivers("job:1", one, jobs)
		r.delivers("job:1", one, jobs)
		one.Close()
		jobs.Close()
		r.awaitRefused("unsubscribe", n+1)
		r.awaitRefused("punsubscribe", n+1)
		r.server.Publish("job:1", "for nobody")
		r.delivers("stay", stay)
	}
	if now := r.connection(); now != connection {
		t.Errorf("the connection is number %s, and was %s", now, connection)
	}
}

// TestARightThatIsTakenAway: Redis closes the connection of a user who has a channel that is forbidden from now on.
func TestARightThatIsTakenAway(t *testing.T) {
	r := startRefusals(t, "+@all resetchannels &__redis_sse:* &ok1 &ok2 &bad", "", "redis_sse /all ok1 bad ok2 {\ndrain 0s 0s\n}")
	bad, ok, all := r.opened("/one/bad"), r.opened("/one/ok1"), r.opened("/all")
	r.delivers("bad", bad, all)
	r.delivers("ok1", ok, all)
	r.acl("resetchannels", "&__redis_sse:*", "&ok1", "&ok2")
	if g := resumeMustGap(t, bad, "bad", gapRefused); g.After == nil {
		t.Errorf("the gap %+v does not say since when", g)
	}
	resumeMustGap(t, ok, "ok1", gapDisconnected)
	reasons := map[string]string{}
	for range 3 {
		_, g := resumeGap(t, all)
		reasons[g.Channel] = g.Reason
	}
	if reasons["bad"] != gapRefused || reasons["ok1"] != gapDisconnected || reasons["ok2"] != gapDisconnected {
		t.Errorf("the gaps are %v", reasons)
	}
	r.delivers("ok1", ok, all)
	r.delivers("ok2", all)

	r.acl("&bad")
	r.periodOver()
	resumeMustGap(t, bad, "bad", gapDisconnected)
	resumeMustGap(t, all, "bad", gapDisconnected)
	r.delivers("bad", bad, all)
	r.warned("bad")
}
