package redissse

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// presenceRoute streams any channel of the query, and says so in Redis.
const presenceRoute = `
	metrics /metrics
	redis_sse /events {query.channel} {
		presence listening:{channel} 3s
		drain 0s 0s
	}
`

// exists is what a worker asks.
func exists(server *redistest.Server, key string) bool { return server.Do("EXISTS", key) == int64(1) }

// awaitKey returns when a key is there, or no more.
func awaitKey(t *testing.T, server *redistest.Server, key string, there bool) {
	t.Helper()
	await(t, fmt.Sprintf("%q to be there: %v", key, there), func() bool { return exists(server, key) == there })
}

// awaitWritten returns when a key has been written again.
func awaitWritten(t *testing.T, server *redistest.Server, key string) {
	t.Helper()
	left := func() int64 { return server.Do("PTTL", key).(int64) }
	before := left()
	await(t, fmt.Sprintf("%q to be written again", key), func() bool {
		now := left()
		again := now > before
		before = now
		return again
	})
}

func TestAWorkerSeesWhetherSomebodyListens(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", presenceRoute)
	one, two := g.opened("/events?channel=answer:1"), g.opened("/events?channel=answer:1")
	g.opened("/events?channel=answer:2")
	awaitKey(t, server, "listening:answer:1", true)
	awaitKey(t, server, "listening:answer:2", true)
	if exists(server, "listening:answer:3") || server.Do("GET", "listening:answer:1") != "1" {
		t.Error("there is a key of a channel that nobody reads, or one is not 1")
	}
	g.wait("the metric", func() bool { return g.scrape()[`presence_keys{hub="default"}`] == 2 })
	one.Close()
	awaitWritten(t, server, "listening:answer:1")
	awaitWritten(t, server, "listening:answer:1")
	two.Close()
	awaitKey(t, server, "listening:answer:1", false)
	if n := statistic(t, server, "del", "calls") + statistic(t, server, "unlink", "calls"); n != 0 {
		t.Errorf("keys were deleted %d times: another gateway may have listeners", n)
	}
	g.wait("the metric", func() bool { return g.scrape()[`presence_keys{hub="default"}`] == 1 })
}

func TestAKeyStaysWhileAnotherGatewayHasAListener(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", presenceRoute)
	there := startProbed(t, server.URL(), time.Minute)
	here := g.opened("/events?channel=answer:1")
	k := there.presence.join("listening:answer:1", 3*time.Second)
	awaitKey(t, server, "listening:answer:1", true)
	here.Close()
	g.wait("the stream to be over", func() bool { return g.hub().streams.Load() == 0 })
	for range 4 { // a third of the time each
		awaitWritten(t, server, "listening:answer:1")
	}
	there.presence.leave(k, 3*time.Second)
	awaitKey(t, server, "listening:answer:1", false)
}

func TestWithoutTheRightToSetStreamsAreServed(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "limited", "on", ">pw", "allchannels", "allkeys", "+@all", "-set")
	g := startGateway(t, "redis://limited:pw@"+server.Addr(), "", presenceRoute)
	s := g.opened("/events?channel=answer:1")
	g.waitLog(presenceRefused)
	server.Publish("answer:1", "one")
	if e := s.NextAfterCursors(); e.Data != "one" {
		t.Errorf("got %+q", e)
	}
	refused := func() int { return statistic(t, server, "set", "rejected_calls") }
	was := refused()
	g.wait("another refusal", func() bool { return refused() > was+1 })
	if n := strings.Count(gatewayLogs.text(), presenceRefused); n != 1 {
		t.Errorf("%d warnings", n)
	}
	g.scrape().want(t, series{`presence_keys{hub="default"}`: 0})
	server.Do("ACL", "SETUSER", "limited", "+set")
	awaitKey(t, server, "listening:answer:1", true)
	g.waitLog(presenceAgain)
	if n := strings.Count(gatewayLogs.text(), presenceRefused); n != 1 {
		t.Errorf("%d warnings", n)
	}
}

func TestKeysAreThereAgainOnceRedisIsBack(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), quickHub, `
		redis_sse /events {query.channel} {
			presence listening:{channel} 10m
			drain 0s 0s
		}
	`)
	s := g.opened("/events?channel=answer:1")
	awaitKey(t, server, "listening:answer:1", true)
	server.Kill()
	late := g.opened("/events?channel=answer:2")
	server.Restart() // empty
	awaitKey(t, server, "listening:answer:1", true)
	awaitKey(t, server, "listening:answer:2", true)
	for channel, stream := range map[string]*ssetest.Stream{"answer:1": s, "answer:2": late} {
		server.WaitNumSub(channel, 1)
		server.Publish(channel, "back")
		if e := stream.NextOf("message"); e.Data != "back" {
			t.Errorf("%s: got %+q", channel, e)
		}
	}
	if strings.Contains(gatewayLogs.text(), presenceRefused) {
		t.Error("an outage is told as a refusal")
	}
}

func TestKeysLiveOnOverAReloadAndAreLeftToExpireAtTheExit(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	const route = "redis_sse /events {query.channel} {\npresence listening:{channel} %s\ndrain %s 0s\n}\n" +
		"redis_sse /other {query.channel} {\npresence listening:{channel} %[1]s\ndrain 0s 0s\n}"
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", fmt.Sprintf(route, "10m", "1h"))
	old := g.opened("/events?channel=answer:1")
	awaitKey(t, server, "listening:answer:1", true)
	g.load(server.URL(), "", fmt.Sprintf(route, "6s", "0s")) // the stream stays: its own configuration drains for an hour
	g.opened("/events?channel=answer:2")
	g.opened("/other?channel=answer:2") // of another handler
	awaitKey(t, server, "listening:answer:2", true)
	keys := g.hub().presence
	if n := keys.kept(); n != 2 {
		t.Errorf("%d keys are kept", n)
	}
	old.Close()
	g.wait("the old stream to be over", func() bool { return g.hub().streams.Load() == 2 })
	g.stop()
	if !exists(server, "listening:answer:1") || !exists(server, "listening:answer:2") {
		t.Error("a key was deleted")
	}
	awaitKey(t, server, "listening:answer:2", false)
	if len(keys.keys) != 0 { // nobody else is there any more
		t.Errorf("keys are held by nobody: %v", keys.keys)
	}
}

func TestKeysAreInTheDatabaseOfTheURL(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, "redis://"+server.Addr()+"/3", "", presenceRoute+"redis_sse_publish /publish news")
	s := g.opened("/events?channel=news")
	await(t, "the key in database 3", func() bool {
		return strings.Contains(server.Do("INFO", "keyspace").(string), "db3:keys=1")
	})
	if exists(server, "listening:news") {
		t.Error("the key is in database 0")
	}
	response, err := g.client.Post(g.URL("/publish"), "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("publishing is answered with %d", response.StatusCode)
	}
	if got := s.Messages(1); got[0] != "hello" {
		t.Errorf("got %q", got)
	}
}

// TestADatabaseThatRedisRefusesHasNoKeyElsewhere: the keys of the app are there.
func TestADatabaseThatRedisRefusesHasNoKeyElsewhere(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "limited", "on", ">pw", "allchannels", "allkeys", "+@all", "-select")
	g := startGateway(t, "redis://limited:pw@"+server.Addr()+"/3", "", presenceRoute)
	g.opened("/events?channel=news")
	g.waitLog(presenceRefused)
	if n := statistic(t, server, "set", "calls"); n != 0 {
		t.Errorf("SET was called %d times", n)
	}
}

func TestTwoDatabasesOfOneHubAreAnErrorWithPresence(t *testing.T) {
	server := redistest.Start(t)
	const first, second = "redis_sse /one a {\nredis redis://%s/1\n}\n", "redis_sse /two a {\nredis redis://%s/%d\npresence listening:{channel}\n}\n"
	g := newGateway(t)
	err := g.tryConfig("", fmt.Sprintf(first+second, server.Addr(), server.Addr(), 2))
	if err == nil || !strings.Contains(err.Error(), `presence "listening:{channel}": redis at "`+server.Addr()+`" is given twice, with database 1 and with 2`) {
		t.Errorf("got %v", err)
	}
	if err := g.tryConfig("", fmt.Sprintf(first+second, server.Addr(), server.Addr(), 1)); err != nil {
		t.Error(err)
	}
}

// TestPresenceTakesNoConnectionOfItsOwn: it goes over the pool, however many keys there are.
func TestPresenceTakesNoConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	const channels = 10_000
	server := redistest.Start(t)
	h := startProbed(t, server.URL(), time.Minute, "a") // all is written once more when it connects
	for i := range channels {
		h.presence.join("listening:"+strconv.Itoa(i), maxPresenceTTL)
	}
	await(t, "all keys", func() bool { return server.Do("DBSIZE") == int64(channels) })
	if n := statistic(t, server, "set", "calls"); n != channels {
		t.Errorf("SET was called %d times", n)
	}
	if n := strings.Count(server.Do("CLIENT", "LIST").(string), "user=default"); n > 1+maxCommandConns {
		t.Errorf("the hub has %d connections", n)
	}
}

func TestAHandlerOfPatternsHasOneKey(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", `
		redis_sse /all news {
			pattern job:*
			presence each:{channel}
			drain 0s 0s
		}
		redis_sse /jobs {
			pattern job:*
			presence jobs
			drain 0s 0s
		}
	`)
	g.opened("/all")
	g.opened("/jobs")
	awaitKey(t, server, "each:news", true)
	awaitKey(t, server, "jobs", true)
	if n := server.Do("DBSIZE"); n != int64(2) {
		t.Errorf("there are %v keys", n)
	}
}

func TestPlaceholdersOfAKeyAreReplacedAtLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "presence")
	t.Setenv("PRESENCE_PREFIX", "of-env")
	t.Setenv("PRESENCE_TRICK", "a{channel}b")
	if err := os.WriteFile(file, []byte("of-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"{env.PRESENCE_PREFIX}:{file." + file + "}:{channel}:x": "of-env:of-file:news:x",
		"{env.PRESENCE_TRICK}:{channel}":                        "ab:news",
		"all":                                                   "all",
	} {
		p := &Presence{Key: key}
		if err := p.check(false); err != nil {
			t.Error(err)
		}
		of, err := p.replaced()
		if err != nil {
			t.Error(err)
		}
		got := of.before
		if of.each {
			got += "news" + of.behind
		}
		if got != want || of.ttl != defaultPresenceTTL {
			t.Errorf("%q is %q for %v, want %q", key, got, of.ttl, want)
		}
	}
}

func TestAKeyThatCannotBeIsAnErrorThatNamesIt(t *testing.T) {
	t.Setenv("PRESENCE_LONG", strings.Repeat("x", maxPresenceKey))
	for key, want := range map[string]string{
		"":                                  `^presence without a key$`,
		strings.Repeat("x", 1025):           `^presence "x{32}"\.\.\. has 1025 bytes, at most 1024 are allowed$`,
		"{channel}":                         `text must stand before \{channel\}, as in listening:\{channel\}`,
		"a:{channel}:{channel}":             `stands in it twice`,
		"a:{http.request.uri.query.id}":     `"\{http.request.uri.query.id\}" is not replaced in it`,
		"a:{time.now}":                      `"\{time.now\}" is not replaced in it`,
		"a:{chanel}":                        `"\{chanel\}" is not replaced in it: \{channel\} is`,
		"a:{channel":                        `a brace stands alone`,
		"a:{env.PRESENCE_NONE}":             `\{env.PRESENCE_NONE\} is not set, cannot be read, or is empty`,
		"a:{env.PRESENCE_LONG}":             `has 1026 bytes once it is replaced`,
		"a:{file./nowhere/at/all}{channel}": `\{file./nowhere/at/all\} is not set`,
	} {
		p := &Presence{Key: key}
		err := p.check(false)
		if err == nil {
			_, err = p.replaced()
		}
		if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) || key != "" && !strings.Contains(err.Error(), strconv.Quote(key[:min(32, len(key))])[:min(8, len(key))]) {
			t.Errorf("%.40q: %v", key, err)
		}
	}
	for _, d := range []time.Duration{minPresenceTTL - 1, maxPresenceTTL + 1, -1} {
		p := &Presence{Key: "a", TTL: caddy.Duration(d)}
		if err := p.check(false); err == nil || !strings.HasPrefix(err.Error(), "presence is ") {
			t.Errorf("%v: %v", d, err)
		}
	}
}

// TestAKeyIsNotThereIfRedisLetsNobodyIn: what is sent over a connection that could not be made has no answer of its own.
func TestAKeyIsNotThereIfRedisLetsNobodyIn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Do("CONFIG", "SET", "requirepass", "the-old-one")
	h := startProbed(t, strings.Replace(server.URL(), "//", "//:the-old-one@", 1), time.Minute, "a")
	h.awaitProved(1)
	server.Do("CONFIG", "SET", "requirepass", "the-new-one")
	server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") // those of the pool
	h.presence.join("listening:a", 3*time.Second)
	told := func() int { return h.logs.FilterMessage(presenceRefused).Len() }
	await(t, "the warning", func() bool { return told() > 0 })
	if n := h.presence.kept(); n != 0 || exists(server, "listening:a") {
		t.Errorf("%d keys are kept", n)
	}
	server.Do("CONFIG", "SET", "requirepass", "the-old-one")
	awaitKey(t, server, "listening:a", true)
	if n := told(); n != 1 {
		t.Errorf("%d warnings", n)
	}
}
