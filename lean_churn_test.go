//go:build linux

package redissse

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// leanChurnStreams are how many streams come and go below.
const leanChurnStreams = 10_000

// TestWhatIsWrittenAfterAStreamsEndReachesNobody: descriptors are used again at once, while outlets write to streams that have just
// ended. Each client gets bytes of its own channel only, as whole chunks from the headers on, and nothing is left behind.
func TestWhatIsWrittenAfterAStreamsEndReachesNobody(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	const atOnce, channels = 32, 16
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "keep channel*", `
		redis_sse {http.request.uri.path.0} {
			lean on
			drain 0s 0s
		}
	`)
	g.openLean("/channel0", 0).reset() // the outlets have been there, too
	g.wait("the stream to end", func() bool { return g.hub().streams.Load() == 0 })
	before := openFiles(t)
	halt := publishTo(server, channels)
	next := make(chan int)
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			for i := range next {
				if err := visitLean(g.addr, fmt.Sprintf("channel%d", i%channels)); err != nil {
					t.Errorf("stream %d: %v", i, err)
				}
			}
		})
	}
	for i := 0; i < leanChurnStreams && !t.Failed(); i++ {
		next <- i
	}
	close(next)
	clients.Wait()
	halt()
	g.wait("the streams to end", func() bool { return g.hub().streams.Load() == 0 })
	g.wait("the descriptors to be as many as before", func() bool { return openFiles(t) <= before })
}

// publishTo publishes to the channels, each its own name, until it is told to halt.
func publishTo(server *redistest.Server, channels int) (halt func()) {
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() {
		ticker := time.NewTicker(500 * time.Microsecond)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-ticker.C:
				name := fmt.Sprintf("channel%d", i%channels)
				server.Publish(name, strings.Repeat(name+" ", 1+rand.IntN(400)))
			}
		}
	})
	return func() { close(stop); publishing.Wait() }
}

// visitLean opens a stream, takes some messages of its channel or none, and goes in one of the ways in which clients do.
func visitLean(addr, channel string) error {
	c, err := dialLean(addr, "/"+channel, 0)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for range rand.IntN(3) {
		data, err := c.message()
		if err != nil {
			return err
		}
		if strings.ReplaceAll(data, channel+" ", "") != "" {
			return fmt.Errorf("a client of %s got %.40q", channel, data)
		}
	}
	switch rand.IntN(4) {
	case 0:
		c.reset()
	case 1:
		_ = c.conn.CloseWrite()
		if _, err := c.end(); !errors.Is(err, errCut) && err != nil {
			return err
		}
	case 2:
		_, _ = io.WriteString(c.conn, "GET /"+channel+" HTTP/1.1\r\n") // it may have been cut
	}
	return nil
}
