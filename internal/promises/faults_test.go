//go:build promises && linux

package promises

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/faults"
	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

var (
	figuresFile = flag.String("figures", "", "the `file` to write what was measured to, as JSON")
	quick       = flag.Bool("quick", false, "measure a few faults only, once")
)

// cases are how each of [Faults] is made; those that need more than traffic and a moment are in special.
var cases = map[string]func(*rig){
	"killed": func(r *rig) {
		r.redis.Kill()
		time.Sleep(2 * time.Second)
		r.redis.Restart()
	},
	"frozen":      func(r *rig) { freeze(r, 1500*time.Millisecond) },
	"frozen-long": func(r *rig) { freeze(r, 15*time.Second) },
	"kicked":      func(r *rig) { r.redis.KillPubSub() },
	"away": func(r *rig) {
		const away = 5 * time.Second
		for _, all := range r.clients {
			for _, c := range all {
				c.Leave(away)
			}
		}
		time.Sleep(away)
	},
	"reloaded":  reload,
	"restarted": restart,
}

var special = map[string]func(t *testing.T, caddy string) Result{
	"opened": measureOpened,
	"hole": func(t *testing.T, caddy string) Result {
		return throughHole(t, caddy, func(p *redistest.Proxy) { p.SetBlackhole(false) })
	},
	"forgotten": func(t *testing.T, caddy string) Result {
		return throughHole(t, caddy, func(p *redistest.Proxy) {
			p.Forget()
			p.SetBlackhole(false)
		})
	},
	"stalled": measureStalled,
}

func freeze(r *rig, d time.Duration) {
	r.redis.Freeze()
	time.Sleep(d)
	r.redis.Thaw()
}

// reload is over for a client when its stream has ended, which the gateway spreads.
func reload(r *rig) {
	for _, s := range r.servers {
		if s.reloadGateway != nil {
			s.reloadGateway()
			continue
		}
		s.stop(5 * time.Second) // uvicorn waits for its streams for ever
		s.start()
	}
	r.since = func(_ string, c *client) time.Time { return c.look().endedAt }
	proctest.Poll(r.t, "all streams to have ended", func() bool {
		return r.all(func(_ string, c *client) bool { return !c.look().endedAt.IsZero() })
	})
}

func restart(r *rig) {
	over := map[string]time.Time{}
	for _, s := range r.servers {
		s.Kill()
		s.start()
		over[s.name] = time.Now()
	}
	r.since = func(name string, _ *client) time.Time { return over[name] }
}

func throughHole(t *testing.T, caddy string, end func(*redistest.Proxy)) Result {
	redis := redistest.Start(t)
	proxy := redistest.NewProxy(t, redis.Addr())
	return newRig(t, caddy, redis, proxy.URL()).run(rate, func(*rig) {
		proxy.SetBlackhole(true)
		time.Sleep(12 * time.Second)
		end(proxy)
	})
}

// measureStalled has the first client of each server read nothing; the others are judged by how late messages come.
func measureStalled(t *testing.T, caddy string) Result {
	const perSecond, size, stall = 50, 32 << 10, 30 * time.Second
	redis := redistest.Start(t)
	r := newRig(t, caddy, redis, redis.URL())
	r.traffic.fill = filling(size)
	result := r.run(perSecond, func(r *rig) {
		for _, all := range r.clients {
			all[0].Hold(true)
		}
		time.Sleep(stall)
		for _, all := range r.clients {
			all[0].Hold(false)
		}
	})
	for name, figures := range result {
		for _, c := range r.clients[name][1:] {
			figures.Late = max(figures.Late, r.late(c).Seconds())
		}
		result[name] = figures
	}
	return result
}

// measureOpened publishes a message when the headers of a stream have arrived, for one stream after the other.
func measureOpened(t *testing.T, caddy string) Result {
	const streams = 40
	redis := redistest.Start(t)
	r := newRig(t, caddy, redis, redis.URL())
	own := map[*client]int{} // the number of the message published when it opened
	for _, s := range r.servers {
		for range streams {
			c := openClient(t, s.url())
			c.AwaitOpened()
			own[c] = len(r.traffic.sent())
			r.traffic.publish()
			r.clients[s.name] = append(r.clients[s.name], c)
		}
	}
	redis.WaitNumSub(channel, 1+streams)
	r.traffic.publish() // whoever has this one gets nothing that was before it any more
	r.awaitRest()
	result := Result{}
	for name, all := range r.clients {
		var sum Figures
		for _, c := range all {
			sum.Tally.Add(countOwn(r.traffic.taken(), c.look().numbers(), own[c]))
		}
		result[name] = sum
	}
	return result
}

// countOwn judges what a client got of message n alone.
func countOwn(taken []bool, got []int, n int) faults.Tally {
	var mine []int
	for _, m := range got {
		switch m {
		case faults.Gap:
			mine = append(mine, faults.Gap)
		case n:
			mine = append(mine, 0)
		}
	}
	return faults.Count(taken[n:n+1], mine)
}

// measureConns counts the connections of each server at a Redis of its own.
func measureConns(t *testing.T, caddy string, n int) Conns {
	conns := Conns{Clients: n, Of: map[string]int{}}
	for name, start := range map[string]func(url string) *server{
		Gateway: func(url string) *server { return newGateway(t, caddy, url) },
		Plain:   func(url string) *server { return newPlain(t, url) },
	} {
		redis := redistest.Start(t)
		s := start(redis.URL())
		for i := range n {
			c := openClient(t, strings.Replace(s.url(), channel, fmt.Sprintf("channel-%d", i), 1))
			c.AwaitOpened()
			redis.WaitNumSub(fmt.Sprintf("channel-%d", i), 1)
		}
		// The helpers of redistest are another user.
		conns.Of[name] = strings.Count(redis.Do("CLIENT", "LIST").(string), "user=default")
	}
	return conns
}

func TestFaults(t *testing.T) {
	faults, rounds, connected := Faults, 3, 100
	if *quick {
		faults, rounds, connected = QuickFaults(), 1, 20
	}
	results := Results{
		Rate: rate, Clients: clients, Rounds: rounds, Patience: int(patience.Seconds()), Versions: versions(t),
		Outcomes: map[string]Result{},
	}
	var mu sync.Mutex
	caddy := proctest.Caddy(t)
	round := func(t *testing.T) {
		for _, key := range Keys(faults) {
			t.Run(key, func(t *testing.T) {
				t.Parallel()
				result := measure(t, caddy, key)
				t.Logf("gateway %+v, plain %+v", result[Gateway], result[Plain])
				mu.Lock()
				defer mu.Unlock()
				addRound(&results, key, result)
			})
		}
	}
	t.Run("round 1", func(t *testing.T) {
		round(t)
		t.Run("publishing", func(t *testing.T) {
			t.Parallel()
			results.Posts = measurePublishing(t, caddy)
			t.Logf("%+v", results.Posts)
		})
	})
	for n := 2; n <= rounds; n++ {
		t.Run(fmt.Sprintf("round %d", n), round)
	}
	t.Run("connections", func(t *testing.T) { results.Conns = measureConns(t, caddy, connected) })
	if t.Failed() {
		return
	}
	if err := results.Check(Keys(faults)); err != nil {
		t.Error(err)
	}
	writeFigures(t, results)
}

// addRound takes in a round of one fault.
func addRound(r *Results, key string, round Result) {
	if r.Outcomes[key] == nil {
		r.Outcomes[key] = Result{}
	}
	r.Outcomes[key].Add(round)
}

func measure(t *testing.T, caddy, key string) Result {
	if do := special[key]; do != nil {
		return do(t, caddy)
	}
	fault := cases[key]
	if fault == nil {
		t.Fatal("nothing makes this fault")
	}
	redis := redistest.Start(t)
	return newRig(t, caddy, redis, redis.URL()).run(rate, fault)
}

func writeFigures(t *testing.T, results Results) {
	if *figuresFile == "" {
		return
	}
	text, err := json.MarshalIndent(results, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*figuresFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// versions are of what is compared.
func versions(t *testing.T) []string {
	t.Helper()
	run := func(program string, args ...string) string {
		out, err := exec.Command(program, args...).Output()
		if err != nil {
			t.Fatalf("running %s %q: %v", program, args, err)
		}
		return strings.TrimSpace(string(out))
	}
	_, redis, _ := strings.Cut(run("redis-server", "--version"), "v=")
	redis, _, _ = strings.Cut(redis, " ")
	packages := run(python, "-c", "import fastapi, redis, sys, uvicorn\n"+
		"print('Python %d.%d.%d' % sys.version_info[:3], 'FastAPI ' + fastapi.__version__, 'uvicorn ' + uvicorn.__version__, "+
		"'redis-py ' + redis.__version__, sep=', ')")
	caddy := run("go", "list", "-m", "-f", "{{.Version}}", "github.com/caddyserver/caddy/v2")
	return []string{"Caddy " + strings.TrimPrefix(caddy, "v"), "Redis " + redis, packages}
}
