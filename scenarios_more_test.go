package redissse

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

const (
	waveStreams  = 500
	waveChannels = 20 // of each stream
	waveSize     = waveStreams * waveChannels

	// heapFirstWave is what the first wave may leave. By measurement it is 1.4 MB, and 2.6 MB for the first in a process: the
	// maps of the channels, ours and go-redis's, and the list of ages, which keep their size (1.0 MB), a connection for commands
	// (0.26 MB for go-redis's buffers), and what the runtime keeps of ended goroutines (1.2 MB).
	heapFirstWave = 4 << 20
	// heapFurther is what all further ones may add. By measurement it is 30 kB up or down; the room is for the 3 connections for
	// commands that a busy machine may need meanwhile. It is 35 bytes a channel: of a leak, a buffer by itself is 576.
	heapFurther = 1 << 20
)

// comings is a gateway whose streams, of waveChannels channels each, come and go by waves.
type comings struct {
	*gateway
	server    *redistest.Server
	publisher *redis.Client
	resting   resting // before the first wave
}

// resting is what there is with no stream open.
type resting struct {
	goroutines, connections int
	heap                    uint64
	subscribed              string // of CLIENT LIST: how many channels and patterns the subscription has
}

func startComings(t *testing.T) *comings {
	t.Helper()
	var channels strings.Builder
	for i := range waveChannels {
		fmt.Fprintf(&channels, " wave:{path.1}:{path.2}:%d", i)
	}
	server := redistest.Start(t)
	c := &comings{server: server, publisher: server.Client(), gateway: startGateway(t, server.URL(), "linger 100ms", fmt.Sprintf(`
		redis_sse /wave/* %s {
			drain 0s 0s
		}
		metrics /metrics
	`, channels.String()))}
	c.gateway.in(t).opened("/wave/0/0").Close()
	c.awaitGone()
	if err := c.publisher.Ping(t.Context()).Err(); err != nil { // it has its connection from here on
		t.Fatal(err)
	}
	c.rest(&c.resting)
	return c
}

// in is the same gateway for a subtest, with which its streams are forgotten.
func (c *comings) in(t *testing.T) *comings {
	sub := *c
	sub.gateway = c.gateway.in(t)
	return &sub
}

func (c *comings) channels(wave, stream int) (names []string) {
	for i := range waveChannels {
		names = append(names, fmt.Sprintf("wave:%d:%d:%d", wave, stream, i))
	}
	return names
}

// wave opens all streams, has each channel bring a message, and closes them.
func (c *comings) wave(n int) {
	c.t.Helper()
	var streams []*ssetest.Stream
	for i := range waveStreams {
		streams = append(streams, c.opened(fmt.Sprintf("/wave/%d/%d", n, i)))
	}
	if held := len(subscribedChannels(c.server)); held != waveSize {
		c.t.Errorf("%d channels are subscribed to, want %d", held, waveSize)
	}
	if clients := c.server.PubSubClients(); clients != 1 {
		c.t.Errorf("%d pub/sub connections, want 1", clients)
	}
	for i, s := range streams {
		names := c.channels(n, i)
		pipe := c.publisher.Pipeline()
		for _, name := range names {
			pipe.Publish(c.t.Context(), name, name)
		}
		if _, err := pipe.Exec(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		resumeMessages(c.t, s, names...)
	}
	c.scrape().want(c.t, series{
		`active_subscriptions{hub="default"}`: waveSize,
		`buffer_messages{hub="default"}`:      waveSize,
	})
	for _, s := range streams {
		s.Close()
	}
}

// awaitGone returns when the gateway says that it holds nothing, and Redis that nobody is subscribed.
func (c *comings) awaitGone() {
	c.t.Helper()
	for _, name := range []string{"active_subscriptions", "buffer_messages", "buffer_bytes"} {
		c.wait(name+" to be 0", func() bool {
			value, ok := c.scrape()[name+`{hub="default"}`]
			return ok && value == 0
		})
	}
	c.wait("Redis to have been told", func() bool { return len(subscribedChannels(c.server)) == 0 })
}

var subscribedCounts = regexp.MustCompile(`\b(sub|psub|ssub)=\d+`)

// rest measures what there is now.
func (c *comings) rest(r *resting) {
	c.client.CloseIdleConnections()
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	*r = resting{
		goroutines: runtime.NumGoroutine(), connections: loadConnections(c.server), heap: memory.HeapAlloc,
		subscribed: strings.Join(subscribedCounts.FindAllString(c.server.Do("CLIENT", "LIST", "TYPE", "pubsub").(string), -1), " "),
	}
}

// awaitRest returns when all is as before the first wave, but for at most so much more heap.
func (c *comings) awaitRest(n int, heap uint64) (now resting) {
	c.t.Helper()
	c.awaitGone()
	for _, stream := range []int{0, waveStreams - 1} {
		for _, name := range c.channels(n, stream) {
			if have := c.server.NumSub(name); have != 0 {
				c.t.Errorf("%d are subscribed to %q", have, name)
			}
		}
	}
	before := c.resting
	for end := time.Now().Add(gatewayWait); ; time.Sleep(5 * time.Millisecond) {
		c.rest(&now)
		if now.goroutines <= before.goroutines && now.connections <= before.connections && now.subscribed == before.subscribed &&
			now.heap <= heap {
			return now
		}
		if time.Now().After(end) {
			c.t.Fatalf("after wave %d there is still %+v, before the first %+v; want a heap of at most %d", n, now, before, heap)
		}
	}
}

func TestScenarioTenThousandSubscriptionsComeAndGo(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	c := startComings(t)
	heap := c.resting.heap + heapFirstWave
	for n := range 4 {
		t.Run(fmt.Sprintf("wave %d", n+1), func(t *testing.T) { c.in(t).wave(n + 1) })
		now := c.awaitRest(n+1, heap)
		t.Logf("wave %d: the heap is %d bytes more than before the first", n+1, int64(now.heap)-int64(c.resting.heap))
		if n == 0 {
			heap = now.heap + heapFurther
		}
	}
}

func TestScenarioBufferOverflowIsToldByAGap(t *testing.T) {
	t.Run("to a client that was away", func(t *testing.T) {
		server := redistest.Start(t)
		g := startGateway(t, server.URL(), "buffer {\nmessages 10\n}", publishRoutes)
		s := g.opened("/events")
		resumeMessages(t, s, resumePublish(t, server, "news", "received ", 3)...)
		id := g.leave(s)
		before := g.scrape()
		missed := resumePublish(t, server, "news", "missed ", 25)
		g.awaitReceived(before, 25)

		back := g.opened("/events", ssetest.WithLastEventID(id))
		gap := resumeMustGap(t, back, "news", gapEvicted)
		if gap.After == nil || *gap.After != id {
			t.Errorf("the gap is after %v, want the client's last id %q", gap.After, id)
		}
		if gap.Missed != nil {
			t.Errorf("%d messages are said to be missing, which only a stream that was open can know", *gap.Missed)
		}
		resumeMessages(t, back, missed[15:]...)
		resumeNothingElse(t, server, back, "news")
		g.mustGoOn(back, before, 1)
	})
	t.Run("to a client that took nothing", func(t *testing.T) {
		server := redistest.Start(t)
		g := startGateway(t, server.URL(), "buffer {\nmessages 10\nchannel_size 64MiB\n}", `
			redis_sse /events news {
				drain 0s 0s
				stall_timeout 10m
			}
			metrics /metrics
		`)
		before := g.scrape()
		slow := ssetest.Do(t, g.client, g.URL("/events"))
		for i := range stallMessages {
			if n := server.Publish("news", strconv.Itoa(i)+strings.Repeat(" ", stallSize)); n != 1 {
				t.Fatalf("%d receivers", n)
			}
		}
		g.awaitReceived(before, stallMessages)
		missed := readCounted(t, slow.Body)
		t.Logf("%d of %d messages are missing", missed, stallMessages)
		if missed < 1 {
			t.Error("nothing is missing: the client was not slow enough")
		}
	})
}

// awaitReceived returns when Redis has handed over so many messages since a scrape.
func (g *gateway) awaitReceived(since series, n float64) {
	g.t.Helper()
	g.wait(fmt.Sprintf("%v messages", n), func() bool {
		return g.scrape().since(since)[`messages_received_total{hub="default"}`] == n
	})
}

// readCounted reads a stream up to its last message. Each is there, or counted by the gap in its place. It returns how many are
// not there.
func readCounted(t *testing.T, body io.ReadCloser) (missed int) {
	t.Helper()
	late := time.AfterFunc(gatewayWait, func() { _ = body.Close() })
	defer late.Stop()
	parser, buf := ssetest.NewParser(), make([]byte, 64<<10)
	for next := 0; next < stallMessages; {
		n, err := body.Read(buf)
		for _, e := range parser.Push(buf[:n]) {
			switch e.Type {
			case "cursor":
			case "gap":
				g, err := decodeGap(e.Data)
				if err != nil || g.Channel != "news" || g.Reason != gapSlowClient || g.Missed == nil {
					t.Fatalf("got the gap %q, want one that counts: %v", e.Data, err)
				}
				missed += int(*g.Missed)
				next += int(*g.Missed)
			default:
				if got := strings.TrimRight(e.Data, " "); got != strconv.Itoa(next) {
					t.Fatalf("got message %.20q, want %d", got, next)
				}
				next++
			}
		}
		if err != nil {
			t.Fatalf("the stream ended before message %d: %v", next, err)
		}
	}
	return missed
}

func TestScenarioMessagesExpireByAge(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	const maxAge = time.Second
	start := func(t *testing.T) (*redistest.Server, *gateway) {
		server := redistest.Start(t)
		return server, startGateway(t, server.URL(), fmt.Sprintf("buffer {\nmax_age %v\n}", maxAge), publishRoutes)
	}
	t.Run("all of them", func(t *testing.T) {
		server, g := start(t)
		some, all := g.opened("/events"), g.opened("/events")
		received := resumePublish(t, server, "news", "received ", 3)
		resumeMessages(t, some, received...)
		some.Close()
		old := resumePublish(t, server, "news", "old ", 5)
		resumeMessages(t, all, append(received, old...)...)
		id, end := some.LastEventID(), g.leave(all)
		g.awaitSeries("buffer_messages", 0)
		g.scrape().want(t, series{`active_subscriptions{hub="default"}`: 1}) // it was not linger
		before := g.scrape()

		back := g.opened("/events", ssetest.WithLastEventID(id))
		whole := g.opened("/events", ssetest.WithLastEventID(end)) // who had all of them misses nothing
		gap := resumeMustGap(t, back, "news", gapExpired)
		if gap.After == nil || *gap.After != id || gap.Missed != nil {
			t.Errorf("got gap %+v, want one after %q that does not count", gap, id)
		}
		young := resumePublish(t, server, "news", "young ", 10)
		resumeMessages(t, back, young...)
		resumeMessages(t, whole, young...)
		g.mustGoOn(back, before, 1)
		g.mustGoOn(whole, before, 1)
	})
	t.Run("none before its time", func(t *testing.T) {
		server, g := start(t)
		id := g.leave(g.opened("/events"))
		before := g.scrape()
		var began []time.Time // of each PUBLISH
		publish := func() {
			began = append(began, time.Now())
			server.Publish("news", strconv.Itoa(len(began)-1))
		}
		g.wait("some to expire", func() bool {
			publish()
			now := g.scrape()
			// More than one, as the two are not read at the same moment.
			return now.since(before)[`messages_received_total{hub="default"}`] > now[`buffer_messages{hub="default"}`]+1
		})
		back := g.opened("/events", ssetest.WithLastEventID(id))
		publish()
		if expired := judgeExpired(t, back, began, maxAge); expired == 0 || expired == len(began) {
			t.Errorf("%d of %d messages have expired, want some", expired, len(began))
		}
	})
}

// judgeExpired takes all messages, which began to be published at these times, and returns how many are missing. In the place of
// those must be a gap, from a time when each was too old.
func judgeExpired(t *testing.T, s *ssetest.Stream, began []time.Time, maxAge time.Duration) (missing int) {
	t.Helper()
	var told time.Time // of a gap since the last message
	for next := 0; next < len(began); {
		e := s.NextAfterCursors()
		if e.Type == "gap" {
			told = time.Now()
			continue
		}
		n, err := strconv.Atoi(e.Data)
		if err != nil || n < next || n >= len(began) {
			t.Fatalf("got %+q after message %d", e, next-1)
		}
		for lost := next; lost < n; lost++ {
			if age := told.Sub(began[lost]); age < maxAge {
				t.Errorf("message %d is missing; it was %v old at the gap", lost, age)
			}
			missing++
		}
		next, told = n+1, time.Time{}
	}
	return missing
}
