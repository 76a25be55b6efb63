package redissse

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

const troubleshootingFile = "docs/operations/redis-troubleshooting.md"

// troubleshooting is the page that quotes what is said. What is said by this module is provoked here, or is in the code.
type troubleshooting struct {
	t    *testing.T
	text string
}

func readTroubleshooting(t *testing.T) *troubleshooting {
	t.Helper()
	text, err := os.ReadFile(troubleshootingFile)
	if err != nil {
		t.Fatal(err)
	}
	return &troubleshooting{t, string(text)}
}

func (p *troubleshooting) has(said string) {
	p.t.Helper()
	if !strings.Contains(p.text, said) {
		p.t.Errorf("%s does not have %s", troubleshootingFile, said)
	}
}

func TestTroubleshootingHasEachAnswerToARequestThatIsNotValid(t *testing.T) {
	p := readTroubleshooting(t)
	for _, q := range invalidRequestList() {
		p.has("`" + q.told + "`") // TestARequestThatIsNotValidIsToldWhy provokes them
	}
	for _, err := range []error{bodyError(os.ErrDeadlineExceeded, bodyTotal), bodyError(os.ErrClosed, bodyTotal)} {
		p.has("`" + strings.SplitN(err.Error(), ": ", 3)[2] + "`") // behind Caddy's id and the status
	}
}

func TestTroubleshootingHasEachReason(t *testing.T) {
	p := readTroubleshooting(t)
	for _, reason := range hub.GapReasons {
		p.has("| `" + string(reason) + "` |")
	}
	for _, reason := range dropReasons {
		if reason == dropCanceled || reason == dropTooLarge { // of no answer
			p.has("`" + string(reason) + "`")
			continue
		}
		p.has(" `" + string(reason) + "` |")
	}
	for _, end := range endReasons {
		p.has("`" + string(end) + "`")
	}
	for _, err := range []error{errTooManyStreams, errTooManyClientStreams, hub.ErrTooManyChannels, errCutOff} {
		p.has(err.Error())
	}
}

// TestTroubleshootingQuotesTheLog: the texts of its lines, and their fields, are literals of the code.
func TestTroubleshootingQuotesTheLog(t *testing.T) {
	p := readTroubleshooting(t)
	literals := map[string]bool{"level": true, "logger": true, "msg": true, "error": true} // those are zap's and Caddy's
	inspectRoot(t, func(_ *token.FileSet, n ast.Node) {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, _ := strconv.Unquote(lit.Value)
			literals[text] = true
		}
	})
	lines := regexp.MustCompile(`(?m)^\{"level":.*$`).FindAllString(p.text, -1)
	if len(lines) < 5 {
		t.Fatalf("the page has %d lines of a log", len(lines))
	}
	for _, line := range lines {
		msg := regexp.MustCompile(`"msg":"([^"]*)"`).FindStringSubmatch(line)
		if msg == nil || !literals[msg[1]] {
			t.Errorf("no such text is logged: %s", line)
		}
		for _, field := range regexp.MustCompile(`[{,]"([a-z_]+)":`).FindAllStringSubmatch(line, -1) {
			if !literals[field[1]] {
				t.Errorf("no field is called %q: %s", field[1], line)
			}
		}
	}
}

// TestTroubleshootingQuotesRedis provokes what makes a hub have no connection, or not all of Redis.
func TestTroubleshootingQuotesRedis(t *testing.T) {
	p := readTroubleshooting(t)
	at := func(credentials string) func(*redistest.Server) string {
		return func(s *redistest.Server) string { return "redis://" + credentials + s.Addr() }
	}
	user := func(rules string) []string {
		return append([]string{"--user", "app", "on", ">pw", "~*"}, strings.Fields(rules)...)
	}
	for name, test := range map[string]struct {
		flags []string
		url   func(*redistest.Server) string
		said  string
	}{
		"a password is missing": {user("+@all allchannels"), func(s *redistest.Server) string {
			s.Do("CONFIG", "SET", "requirepass", "other")
			return s.URL()
		}, "pinging redis: NOAUTH Authentication required."},
		"a wrong password": {user("+@all allchannels"), at("app:wrong@"),
			"connecting to redis: failed to authenticate: WRONGPASS invalid username-password pair or user is disabled."},
		"a right is missing": {user("+@all -role allchannels"), at("app:pw@"), `"msg":"redis refuses a command","hub":"default","command":"ROLE",` +
			`"lost":"a replica that is cut off from its master is not noticed",`},
		"nobody listens": {nil, func(*redistest.Server) string { return adaptDead }, "connect: connection refused"},
		"a replica without a link": {[]string{"--replicaof", "127.0.0.1 1"}, at(""),
			"connecting to redis: redis is a replica without a link to its master"},
		"it goes away": {nil, at(""), "reading from redis: EOF"}, // see below
	} {
		t.Run(name, func(t *testing.T) {
			p := &troubleshooting{t, p.text}
			server := redistest.Start(t, test.flags...)
			g := newGateway(t)
			g.load(test.url(server), quickHub, "redis_sse news")
			if test.said == "reading from redis: EOF" {
				g.waitLog("redis connected")
				g.wait("a probe", g.hub().subscriber.isProved) // what is under way would have it reset
				server.Kill()
			}
			g.waitLog(test.said)
			p.has(test.said)
		})
	}
}

// TestTroubleshootingShowsWhatCurlGets does what the page does with curl.
func TestTroubleshootingShowsWhatCurlGets(t *testing.T) {
	p := readTroubleshooting(t)
	r := startRefusals(t, "+@all resetchannels &__redis_sse:* &ok* &news &job:2", "", `
		redis_sse /few news {
			max_streams 1
			drain 0s 0s
		}
		redis_sse /named job:2 {
			event channel
			drain 0s 0s
		}
		redis_sse_publish /publish/* {path.1}
	`)
	r.opened("/one/job:1").NextOf("gap")
	r.waitLog(`"msg":"redis refused a subscription","hub":"default","name":"job:1",` +
		`"error":"NOPERM this user has no permissions to access one of the channels used as arguments"`)
	p.has(`"msg":"redis refused a subscription","hub":"default","name":"job:1",` +
		`"error":"NOPERM this user has no permissions to access one of the channels used as arguments"`)
	p.has(`"channel":"job:1","reason":"refused"`)

	named := r.opened("/named")
	r.server.Publish("job:2", "hello")
	if e := named.Next(); e.Type != "job:2" {
		t.Errorf("got %+v, want an event with a name", e)
	}
	held := r.opened("/few")
	full := ssetest.Do(t, r.client, r.URL("/few"), ssetest.WithHeader("Accept", "*/*"))
	if full.StatusCode != 503 {
		t.Errorf("got %s", full.Status)
	}
	r.waitLog(`"msg":"streams are turned away","route":"news","newest_reason":"too many streams","held_back":0`)
	p.has(`"msg":"streams are turned away","route":"news","newest_reason":"too many streams","held_back":0`)
	held.Close()
	if nothing := ssetest.Do(t, r.client, r.URL("/event")); nothing.StatusCode != 200 || nothing.ContentLength != 0 {
		t.Errorf("a path that nothing answers: %s with %d bytes", nothing.Status, nothing.ContentLength)
	}

	// The numbers that PUBLISH returns.
	for channel, n := range map[string]int64{"News": 0, "news": 1} {
		if channel == "news" {
			r.opened("/one/news")
		}
		if got := r.server.Do("PUBLISH", channel, "hello"); fmt.Sprint(got) != fmt.Sprint(n) {
			t.Errorf("PUBLISH %s returns %v, want %d", channel, got, n)
		}
	}
	r.server.Kill()
	r.waitLog("no redis connection")
	answer := ssetest.Do(t, r.client, r.URL("/publish/news"), ssetest.WithMethod("POST"), ssetest.WithBody(strings.NewReader("hi")))
	if answer.StatusCode != 503 {
		t.Errorf("got %s", answer.Status)
	}
	p.has(`{"channel":"news","outcome":"not_published","reason":"unreachable","attempts":3}`)
}

// TestTroubleshootingGivesEnoughRights has a user of just the rights that the page names.
func TestTroubleshootingGivesEnoughRights(t *testing.T) {
	p := readTroubleshooting(t)
	const rights = "-@all +subscribe +unsubscribe +psubscribe +punsubscribe +ping +publish +role +time"
	p.has(rights)
	r := startRefusals(t, "resetchannels &job:* &__redis_sse:* "+rights, "linger 0s", "redis_sse_publish /publish/* {path.1}")
	jobs, one := r.opened("/jobs"), r.opened("/one/job:1")
	r.delivers("job:1", jobs, one)
	answer := ssetest.Do(t, r.client, r.URL("/publish/job:1"), ssetest.WithMethod("POST"), ssetest.WithBody(strings.NewReader("hi")))
	if answer.StatusCode != 200 {
		t.Errorf("publishing is answered with %s", answer.Status)
	}
	resumeMessages(t, one, "hi")
	if text := gatewayLogs.text(); strings.Contains(text, `"level":"warn","ts"`) && strings.Contains(text, "refuse") {
		t.Error("a right is missing")
	}
}
