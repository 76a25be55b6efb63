package redissse

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// massChannels are more than Redis can confirm in one command: it closes a connection once 32 MB wait to be sent, which the
// replies to 540,000 channels are. They take some 700 MB of heap here and as much of Redis.
const massChannels = 900_000

// resubscribeWait bounds one resubscription, which takes some seconds.
const resubscribeWait = 2 * time.Minute

// BenchmarkResubscribe is a lost connection of a hub with 900,000 channels, until Redis has confirmed all of them again, in one
// generation, while another client of Redis pings it. Left out with TESTFLAGS=-short as others that take long.
func BenchmarkResubscribe(b *testing.B) {
	skipLong(b)
	server := redistest.Start(b)
	h := resubscribeHub(b, server.URL())
	lives := resubscribed(b, h, server, nil)
	var kill, ping time.Duration
	var output int
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		began := time.Now()
		server.KillPubSub() // Redis forgets them all in one go, which is not our doing
		kill = max(kill, time.Since(began))
		watch := watchRedis(b, server)
		b.StartTimer()
		lives = resubscribed(b, h, server, lives)
		b.StopTimer()
		worst, most := watch()
		ping, output = max(ping, worst), max(output, most)
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/op")
	b.ReportMetric(float64(kill.Milliseconds()), "CLIENT-KILL-ms")
	b.ReportMetric(float64(ping.Microseconds())/1000, "worst-PING-ms")
	b.ReportMetric(float64(output)/1e6, "worst-omem-MB")
}

func skipLong(b *testing.B) {
	b.Helper()
	if testing.Short() {
		b.Skip("takes a quarter of a minute or more")
	}
}

func resubscribeHub(b *testing.B, url string) *redisHub {
	config := Hub{Redis: url, ReconnectMin: 1e7, Buffer: &Buffer{MaxChannels: massChannels, TotalSize: 4 << 30}}
	s, err := config.resolve()
	if err != nil {
		b.Fatal(err)
	}
	h := newHub("bench", s, zap.NewNop())
	h.start()
	b.Cleanup(func() { _ = h.Destruct() })
	w := hub.NewWaiter()
	for i := range massChannels {
		if _, err := h.memory.Open(0, []string{fmt.Sprintf("job:00000000-0000-%d", i)}, nil, w); err != nil {
			b.Fatal(err)
		}
	}
	return h
}

// resubscribed waits until all channels are confirmed in a generation after last, and checks that it is the first one.
func resubscribed(b *testing.B, h *redisHub, server *redistest.Server, last *generation) *generation {
	var first *generation
	for end := time.Now().Add(resubscribeWait); ; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("only %d of %d channels after %v", liveChannels(h), massChannels, resubscribeWait)
		}
		g := h.subscriber.generation.Load()
		if g == nil || g == last {
			continue
		}
		if first == nil {
			first = g
		}
		if g != first {
			b.Fatalf("the connection was lost again, with %d of %d channels", liveChannels(h), massChannels)
		}
		// Redis counts the probe's channel, too.
		if resubscribeInfo(server, "pubsub_channels") == massChannels+1 && liveChannels(h) == massChannels {
			return g
		}
	}
}

func liveChannels(h *redisHub) (n int) {
	for _, held := range h.holdings() {
		if held.live {
			n++
		}
	}
	return n
}

// resubscribeInfo returns a number of INFO stats.
func resubscribeInfo(server *redistest.Server, key string) int {
	_, after, _ := strings.Cut(server.Do("INFO", "stats").(string), key+":")
	line, _, _ := strings.Cut(after, "\r\n")
	n, _ := strconv.Atoi(line)
	return n
}

// watchRedis pings Redis and looks at what waits to be sent to subscribers all the time, until the function that it returns is
// called, which tells the worst of both.
func watchRedis(b *testing.B, server *redistest.Server) func() (ping time.Duration, output int) {
	client, other := server.Client(), server.Client()
	var worst time.Duration
	var most int
	done := make(chan struct{})
	var watching sync.WaitGroup
	each := func(pause time.Duration, look func()) {
		for {
			select {
			case <-done:
				return
			case <-time.After(pause):
				look()
			}
		}
	}
	watching.Go(func() {
		each(time.Millisecond, func() {
			began := time.Now()
			if err := client.Ping(b.Context()).Err(); err != nil {
				b.Error(err)
			}
			worst = max(worst, time.Since(began))
		})
	})
	watching.Go(func() {
		each(time.Millisecond, func() {
			list, err := other.Do(b.Context(), "CLIENT", "LIST", "TYPE", "pubsub").Text()
			if err != nil {
				b.Error(err)
			}
			_, after, _ := strings.Cut(list, " omem=")
			digits, _, _ := strings.Cut(after, " ")
			n, _ := strconv.Atoi(digits)
			most = max(most, n)
		})
	})
	return func() (time.Duration, int) {
		close(done)
		watching.Wait()
		return worst, most
	}
}
