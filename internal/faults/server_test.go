//go:build linux

package faults

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// serverFaults are what an operator does to a Redis that runs, and what happens to it.
func serverFaults() []fault {
	return []fault{
		rotation("password rotated", gatewayUser,
			func(s *redistest.Server, password string) {
				s.Do("ACL", "SETUSER", gatewayUser, "on", "resetpass", ">"+password, "~*", "&*", "+@all")
			}),
		rotation("requirepass changed", "",
			func(s *redistest.Server, password string) { s.Do("CONFIG", "SET", "requirepass", password) }),
		{
			key:     "channel forbidden",
			prepare: withUser, strike: (*rig).forbidChannel, breaks: true,
			// Streams of the forbidden channel are told that it is refused, once, beside the gap of the break.
			gaps: map[string]int{"refused": 1},
		},
		{
			key:     "commands forbidden",
			prepare: withUser, strike: (*rig).forbidCommands,
		},
		{key: "maxclients", strike: (*rig).outOfClients, breaks: true},
		{key: "oom", strike: (*rig).outOfMemory},
		{
			key:   "loading",
			start: slowLoader, prepare: populated, strike: func(r *rig) { r.reloadData(12 * time.Second) },
		},
		{
			key:   "killed and loading",
			start: slowLoader, prepare: populated, strike: (*rig).restartLoading, breaks: true,
		},
		{
			key:   "clock ahead",
			start: withClock, strike: func(r *rig) { r.stepClock(5 * time.Second) },
		},
		{
			key:   "clock back",
			start: withClock, backInTime: true, strike: func(r *rig) { r.stepClock(-5 * time.Second) },
		},
		// Less than what publishers wait.
		{key: "paused 2.5 s", times: 2, strike: func(r *rig) { r.pause(2500 * time.Millisecond) }},
	}
}

const (
	gatewayUser = "gateway"
	oldPassword = "0ld-s3cret"
	newPassword = "n3w-s3cret"
)

// urlFor is the URL of the gateway's Redis for a user.
func (r *rig) urlFor(user, password string) string {
	return fmt.Sprintf("redis://%s:%s@%s/0", user, password, r.proxy.Addr())
}

// withUser has the gateway use a user of its own, with all rights.
func withUser(r *rig) (url string) {
	r.redis.Do("ACL", "SETUSER", gatewayUser, "on", ">"+oldPassword, "~*", "&*", "+@all")
	return r.urlFor(gatewayUser, oldPassword)
}

// awaitLogged returns when the gateway has said something.
func (r *rig) awaitLogged(text string) {
	r.t.Helper()
	r.gateway.Poll(r.t, fmt.Sprintf("the gateway to log %q", text), func() bool { return strings.Contains(r.gateway.Log(), text) })
}

// atEnd has something be true when all is over, since a strike returns before the gateway has seen its fault.
func (r *rig) atEnd(what string, is func() bool) {
	r.t.Cleanup(func() {
		if !is() {
			r.t.Errorf("not so: %s", what)
		}
	})
}

// awaitAllBut is awaitAfter without some channels.
func (r *rig) awaitAllBut(after time.Time, channels ...string) {
	r.t.Helper()
	never := r.allowed.Never
	r.allowed.Never = slices.Concat(never, channels)
	r.awaitAfter(after)
	r.allowed.Never = never
}

// reconnections is how often the gateway has come back to Redis.
func (r *rig) reconnections() float64 {
	r.t.Helper()
	return r.gateway.metric("reconnections_total")
}

// client is the one of a name.
func (r *rig) client(name string) *client {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clients[slices.IndexFunc(r.clients, func(c *client) bool { return c.Name == name })]
}

// awaitGap returns when a client has been told of a gap.
func (r *rig) awaitGap(name string, of gap) {
	r.t.Helper()
	c := r.client(name)
	r.gateway.Poll(r.t, fmt.Sprintf("the gap %+v", of), func() bool {
		return slices.ContainsFunc(c.source.LogFrom(0), func(record ssetest.Record) bool {
			i, err := readItem(record)
			return err == nil && i.gap != nil && i.gap.Channel == of.Channel && i.gap.Reason == of.Reason
		})
	})
}

// wantNoBreak wants the gateway to have the connection that it had.
func (r *rig) wantNoBreak(reconnections float64, when string) {
	r.t.Helper()
	if n := r.reconnections() - reconnections; n != 0 || r.gateway.metric("redis_up") != 1 {
		r.t.Errorf("the connection broke %v times %s", n, when)
	}
}

// rotation is a new password, of which the gateway hears only after its connections were cut. It goes on with them till then, and
// after that tries the old one for ever.
func rotation(key, user string, set func(s *redistest.Server, password string)) fault {
	return fault{
		key: key, breaks: true,
		prepare: func(r *rig) string {
			set(r.redis, oldPassword)
			return r.urlFor(user, oldPassword)
		},
		strike: func(r *rig) {
			r.atEnd("no password is logged", func() bool {
				return !strings.Contains(r.gateway.Log(), oldPassword) && !strings.Contains(r.gateway.Log(), newPassword)
			})
			before := r.reconnections()
			set(r.redis, newPassword)
			time.Sleep(steady)
			r.awaitAfter(time.Now())
			r.wantNoBreak(before, "before it was cut")
			if n := r.redis.Do("CLIENT", "KILL", "USER", defaultUser(user)).(int64); n < 2 {
				r.t.Errorf("%d connections were cut, want that of the subscription and one for commands", n)
			}
			r.awaitLogged("WRONGPASS")
			r.awaitLogged("publishing is suspended") // from then on only the subscription is tried
			const again = 3
			tried := r.proxy.Accepted() + again
			r.gateway.Poll(r.t, "more attempts to connect", func() bool { return r.proxy.Accepted() >= tried })
			if up := r.gateway.metric("redis_up"); up != 0 {
				r.t.Errorf("redis_up is %v with the wrong password", up)
			}
			if metrics := r.gateway.get("/metrics"); strings.Contains(metrics, "s3cret") {
				r.t.Errorf("a metric tells a password:\n%s", metrics)
			}
			r.gateway.redis = r.urlFor(user, newPassword)
			r.gateway.reload()
		},
	}
}

// defaultUser is the name of the user that a URL without one means.
func defaultUser(user string) string {
	if user == "" {
		return "default"
	}
	return user
}

// forbidChannel takes one channel away from the gateway, for longer than it takes it to come back for the others. That it asks
// again for what was refused only after 30 s is within what P3 says, as it has been forbidden for some of them.
func (r *rig) forbidChannel() {
	const forbidden = "merged:1"
	rules := []any{
		"ACL", "SETUSER", gatewayUser, "resetchannels", "&__redis_sse:*", "&pattern:*",
		"&wide-*", "&storm-*", "&posts:*", "&" + replayedChannel, // of phases
	}
	for _, channel := range append(directChannels, postedChannel) {
		if channel != forbidden {
			rules = append(rules, "&"+channel)
		}
	}
	before := r.reconnections()
	r.redis.Do(rules...)
	r.awaitAllBut(time.Now(), forbidden)
	r.awaitGap("merged 1", gap{Channel: forbidden, Reason: "refused"})
	if n := r.reconnections() - before; n != 1 || r.redis.NumSub(forbidden) != 0 || r.redis.NumSub("merged:0") != 1 {
		r.t.Errorf("after %v reconnections %d subscriptions of the forbidden channel, %d of another", n,
			r.redis.NumSub(forbidden), r.redis.NumSub("merged:0"))
	}
	time.Sleep(8 * time.Second)
	r.redis.Do("ACL", "SETUSER", gatewayUser, "&"+forbidden)
}

// forbidCommands takes away what the gateway can do without. What is posted meanwhile is refused.
func (r *rig) forbidCommands() {
	before := r.reconnections()
	r.redis.Do("ACL", "SETUSER", gatewayUser, "-publish", "-time", "-role")
	for _, command := range []string{"PUBLISH", "TIME", "ROLE"} {
		r.awaitLogged(fmt.Sprintf("NOPERM this user has no permissions to run the '%s' command", strings.ToLower(command)))
		r.awaitLogged(fmt.Sprintf("%q", command))
	}
	r.awaitAllBut(time.Now(), r.posted...)
	if log, _ := r.traffic.log(); !slices.ContainsFunc(log[postedChannel], func(m Message) bool { return m.Outcome == Refused }) {
		r.t.Error("nothing that was posted was refused")
	}
	r.wantNoBreak(before, "without PUBLISH, TIME and ROLE")
	r.redis.Do("ACL", "SETUSER", gatewayUser, "+publish", "+time", "+role")
}

// outOfClients cuts the gateway's connections when all places but theirs are taken, and gives them away.
func (r *rig) outOfClients() {
	admin := r.redis.Client().Conn() // since there is no room for another
	defer admin.Close()
	do := func(args ...any) any {
		r.t.Helper()
		reply, err := admin.Do(r.t.Context(), args...).Result()
		if err != nil {
			r.t.Fatalf("%q: %v", args, err)
		}
		return reply
	}
	rejected := func() int { return r.number(do("INFO", "stats"), "rejected_connections") }
	do("CONFIG", "SET", "maxclients", "1")
	do("CLIENT", "KILL", "USER", "default")
	r.awaitLogged("no redis connection")
	r.awaitLogged("publishing is suspended") // from then on only the subscription is tried
	const again = 2
	all := rejected() + again
	r.gateway.Poll(r.t, "more attempts to connect", func() bool { return rejected() >= all })
	if strings.Contains(do("CLIENT", "LIST").(string), "user=default") {
		r.t.Error("the gateway has got a connection")
	}
	do("CONFIG", "SET", "maxclients", "10000")
}

// number is one of those that INFO tells.
func (r *rig) number(info any, name string) int {
	r.t.Helper()
	_, after, _ := strings.Cut(info.(string), "\r\n"+name+":")
	text, _, _ := strings.Cut(after, "\r\n")
	n, err := strconv.Atoi(text)
	if err != nil {
		r.t.Fatalf("INFO tells no %s: %v", name, err)
	}
	return n
}

// outOfMemory fills Redis for a while. PUBLISH needs no memory of it that counts.
func (r *rig) outOfMemory() {
	r.redis.Do("SETRANGE", "large", 2<<20, "x")
	r.redis.Do("CONFIG", "SET", "maxmemory", "1mb", "maxmemory-policy", "noeviction")
	if err := r.redis.Client().Set(r.t.Context(), "key", "x", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		r.t.Errorf("SET: %v, want OOM", err)
	}
	time.Sleep(3 * time.Second)
	r.awaitAfter(time.Now())
	r.redis.Do("CONFIG", "SET", "maxmemory", "0")
}

// slowLoader starts a Redis that takes minutes to load what populated puts there, until its key-load-delay is 0. It serves its
// clients all the time, as a larger one does.
func slowLoader(t *testing.T) *redistest.Server {
	return redistest.Start(t, "--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024", "--key-load-delay", "1000")
}

func populated(r *rig) (url string) {
	r.redis.Do("DEBUG", "POPULATE", "100000")
	r.redis.Do("SAVE")
	return r.proxy.URL()
}

func (r *rig) isLoading() bool {
	r.t.Helper()
	return r.number(r.redis.Do("INFO", "persistence"), "loading") == 1
}

// loadOn has Redis load the rest at once, of which there must be one.
func (r *rig) loadOn() {
	r.t.Helper()
	if !r.isLoading() {
		r.t.Error("redis had loaded its data before")
	}
	r.redis.Do("CONFIG", "SET", "key-load-delay", "0")
	r.gateway.Poll(r.t, "redis to have loaded its data", func() bool { return !r.isLoading() })
}

// reloadData has Redis load its data. It serves subscriptions and PUBLISH meanwhile, and refuses PING.
func (r *rig) reloadData(d time.Duration) {
	loader, loaded := r.redis.Client().WithTimeout(time.Minute), make(chan error, 1)
	go func() { loaded <- loader.Do(r.t.Context(), "DEBUG", "RELOAD").Err() }()
	r.gateway.Poll(r.t, "redis to load its data", r.isLoading)
	if err := r.redis.Client().Ping(r.t.Context()).Err(); err == nil || !strings.HasPrefix(err.Error(), "LOADING") {
		r.t.Errorf("PING: %v, want LOADING", err)
	}
	time.Sleep(d)
	r.awaitAfter(time.Now())
	r.loadOn()
	if err := <-loaded; err != nil {
		r.t.Errorf("reloading: %v", err)
	}
}

// restartLoading has the gateway come back to a Redis that loads. Messages flow again; what is posted may be refused until Redis
// is known to be well.
func (r *rig) restartLoading() {
	r.redis.Kill()
	r.awaitLogged("no redis connection")
	r.redis.Restart()
	reachable := time.Now()
	r.overs = append(r.overs, reachable)
	r.awaitAllBut(reachable, r.posted...)
	r.loadOn()
}

func (r *rig) pause(d time.Duration) {
	r.redis.Do("CLIENT", "PAUSE", d.Milliseconds(), "ALL")
	time.Sleep(d)
}

func withClock(t *testing.T) *redistest.Server { return redistest.StartWithClock(t) }

// stepClock sets the clock of Redis, from which event ids have their times, and returns when the gateway has followed.
func (r *rig) stepClock(d time.Duration) {
	r.redis.StepClock(d)
	stays := r.client("one 1")
	r.gateway.Poll(r.t, "ids to follow the clock", func() bool {
		log := stays.source.LogFrom(0)
		last := log[len(log)-1]
		place, err := parseID(last.Event.ID)
		ahead := time.UnixMilli(place.MS).Sub(last.At)
		const lag = 3 * time.Second // of the PING that the time in an id is of
		return err == nil && ahead <= d && ahead > d-lag
	})
	r.awaitAfter(time.Now())
}
