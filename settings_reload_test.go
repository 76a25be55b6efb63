package redissse

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func TestTwoHubsAtOneRedisAreTwo(t *testing.T) { overEachProtocol(t, judgeTwoHubs) }

func judgeTwoHubs(t *testing.T, proto string) {
	server := redistest.Start(t)
	g := newGatewayOver(t, proto)
	load := func() {
		t.Helper()
		g.loadConfig(fmt.Sprintf(`
			redis_sse one {
				redis %s
				buffer {
					messages 5
				}
			}
			redis_sse two {
				redis %[1]s
			}`, server.URL()), `
			redis_sse /one jobs {
				hub one
				drain 0s 0s
			}
			redis_sse /two jobs {
				hub two
				drain 0s 0s
			}`)
	}
	load()
	paths := []string{"/one", "/two"}
	first, ids := map[string]string{}, map[string]string{}
	var sent []string
	for range 3 {
		one, _ := g.hubCalled("one")
		two, _ := g.hubCalled("two")
		if one == two {
			t.Fatal("both names are one hub")
		}
		streams := map[string]*ssetest.Stream{}
		for _, path := range paths {
			streams[path] = g.opened(path, ssetest.WithLastEventID(ids[path]))
			first[path] = cmp.Or(first[path], streams[path].LastEventID())
		}
		if n := server.PubSubClients(); n != 2 {
			t.Errorf("%d pub/sub connections, want 2", n)
		}
		for i := range 10 {
			sent = append(sent, fmt.Sprint(len(sent)))
			if n := server.Publish("jobs", sent[len(sent)-1]); n != 2 {
				t.Fatalf("%d receivers of message %d, want 2", n, i)
			}
			for _, path := range paths {
				resumeMessages(t, streams[path], sent[len(sent)-1])
			}
		}
		load()
		for _, path := range paths {
			awaitEnd(t, streams[path])
			ids[path] = streams[path].LastEventID()
		}
		for i, was := range []*redisHub{one, two} {
			if now, _ := g.hubCalled(paths[i][1:]); now != was {
				t.Fatalf("the reload replaced the hub of %s", paths[i])
			}
		}
	}
	small := g.opened("/one", ssetest.WithLastEventID(first["/one"]))
	resumeMustGap(t, small, "jobs", gapEvicted)
	resumeMessages(t, small, sent[len(sent)-5:]...)
	resumeMessages(t, g.opened("/two", ssetest.WithLastEventID(first["/two"])), sent...)
}

func TestARotatedPasswordKeepsTheHubAndItsStreams(t *testing.T) {
	overEachProtocol(t, judgeRotatedPassword)
}

func judgeRotatedPassword(t *testing.T, proto string) {
	const before, after = "the-0ld-s3cr3t", "the-n3w-s3cr3t"
	server := redistest.Start(t, "--requirepass", before)
	at := func(password string) string { return "redis://:" + password + "@" + server.Addr() + "/0" }
	const routes = "redis_sse /events jobs {\ndrain 1h 0s\n}" // a reload leaves streams open
	g := newGatewayOver(t, proto)
	g.load(at(before), quickHub, routes)
	hub := g.hub()
	s := g.opened("/events")
	resumeMessages(t, s, resumePublish(t, server, "jobs", "old ", 2)...)

	server.Do("CONFIG", "SET", "requirepass", after)
	resumeMessages(t, s, resumePublish(t, server, "jobs", "between ", 2)...)
	g.load(at(after), quickHub, routes)
	if now, _ := g.hubCalled(defaultHub); now != hub {
		t.Fatal("another password made another hub")
	}
	resumeMessages(t, s, resumePublish(t, server, "jobs", "new ", 2)...)
	fresh := g.opened("/events")

	if n := server.KillPubSub(); n != 1 {
		t.Errorf("%d pub/sub connections were killed, want 1", n)
	}
	resumeMustGap(t, s, "jobs", gapDisconnected)
	resumeMustGap(t, fresh, "jobs", gapDisconnected)
	sent := resumePublish(t, server, "jobs", "again ", 2)
	resumeMessages(t, s, sent...)
	resumeMessages(t, fresh, sent...)
	for _, secret := range []string{before, after} {
		if strings.Contains(gatewayLogs.text(), secret) {
			t.Errorf("the password %q is in the log", secret)
		}
	}
}

// buffered is how many messages of the channel the hub holds, and their counted bytes.
func buffered(h *redisHub, channel string) (messages int, bytes int64) {
	held := h.held(channel)
	return held.messages, held.bytes
}

// shrunkLimit is a smaller buffer, and how much is left in it.
type shrunkLimit struct {
	buffer   string
	messages int
	bytes    int64
}

const shrunkTotal = 50 // messages before

// TestAShrunkLimitEvictsAtOnce: with a gap for who needs what is gone, and for nobody else.
func TestAShrunkLimitEvictsAtOnce(t *testing.T) {
	for name, limit := range map[string]shrunkLimit{
		"messages":     {buffer: "messages 10", messages: 10, bytes: defaultChannelSize},
		"channel_size": {buffer: "channel_size 4KiB", messages: shrunkTotal - 1, bytes: 4 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			overEachProtocol(t, func(t *testing.T, proto string) { judgeShrunkLimit(t, proto, limit) })
		})
	}
}

func judgeShrunkLimit(t *testing.T, proto string, test shrunkLimit) {
	const total = shrunkTotal
	server, g := resumeGatewayOver(t, proto, "")
	s := g.open("/one/jobs")
	history := []ssetest.Event{s.SkipCursor()} // history[n] is message n
	sent := resumePublish(t, server, "jobs", strings.Repeat("x", 200), total)
	for range sent {
		history = append(history, s.NextAfterCursors())
	}
	g.load(server.URL(), quickHub+"buffer {\n"+test.buffer+"\n}", resumeRoutes)
	left, bytes := buffered(g.hub(), "jobs")
	if left == 0 || left > test.messages || bytes > test.bytes {
		t.Fatalf("%d messages of %d bytes are buffered right after the load, want at most %d of %d", left, bytes,
			test.messages, test.bytes)
	}
	kept := sent[total-left:]
	for at, e := range history {
		if !slices.Contains([]int{0, 1, total - left - 1, total - left, total - left + 1, total - 1, total}, at) {
			continue
		}
		again := g.opened("/one/jobs", ssetest.WithLastEventID(e.ID))
		want := sent[at:]
		if at < total-left {
			resumeMustGap(t, again, "jobs", gapEvicted)
			want = kept
		}
		resumeMessages(t, again, want...)
		again.Close()
	}

	// Back to what it was: from now on all is kept again.
	end := history[total].ID
	g.load(server.URL(), quickHub, resumeRoutes)
	more := resumePublish(t, server, "jobs", strings.Repeat("y", 200), total)
	again := g.opened("/one/jobs", ssetest.WithLastEventID(end))
	resumeMessages(t, again, more...)
	resumeNothingElse(t, server, again, "jobs")
	again = g.opened("/one/jobs", ssetest.WithLastEventID(history[total-left].ID))
	resumeMessages(t, again, kept...)
	resumeMessages(t, again, more...)
}

func TestOneRedisWithTwoPasswordsIsAnErrorWithoutThem(t *testing.T) {
	server := redistest.Start(t)
	g := newGateway(t)
	routes := "redis_sse /one jobs {\nredis redis://:the-first@%s/0\n}\nredis_sse /two jobs {\nredis redis://:%s@%[1]s/%[3]d\n}\n"
	err := g.tryConfig("", fmt.Sprintf(routes, server.Addr(), "the-second", 0))
	if err == nil || !strings.Contains(err.Error(), server.Addr()) || strings.Contains(err.Error(), "the-") {
		t.Errorf("got %v, want an error that names the address and no password", err)
	}
	if err := g.tryConfig("", fmt.Sprintf(routes, server.Addr(), "the-first", 3)); err != nil {
		t.Errorf("another database: %v", err) // it does not matter to pub/sub
	}
}
