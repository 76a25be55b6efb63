//go:build promises && linux

package promises

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// posts are what the gateway answered, by payload.
type posts struct {
	mu      sync.Mutex
	answers map[string]int // a status; 0 is none
}

// send posts steadily, each message for itself, until ctx ends, and returns when all are answered.
func (p *posts) send(ctx context.Context, url string) {
	client := &http.Client{Timeout: proctest.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	ticker := time.NewTicker(time.Second / rate)
	defer ticker.Stop()
	var all sync.WaitGroup
	defer all.Wait()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			all.Go(func() { p.post(client, url, fmt.Sprintf("post-%d", n)) })
		}
	}
}

func (p *posts) post(client *http.Client, url, payload string) {
	status := 0
	if response, err := client.Post(url, "text/plain", strings.NewReader(payload)); err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		status = response.StatusCode
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[payload] = status
}

// heard counts what a subscriber that no fault touches gets, until the message last.
func heard(t *testing.T, redis *redistest.Server, last string) (wait func() map[string]int) {
	t.Helper()
	sub := redis.Client().Subscribe(t.Context(), "posts")
	t.Cleanup(func() { _ = sub.Close() })
	redis.WaitNumSub("posts", 1)
	counts, done := map[string]int{}, make(chan error, 1)
	go func() {
		for {
			message, err := sub.ReceiveMessage(t.Context())
			if err != nil || message.Payload == last {
				done <- err
				return
			}
			counts[message.Payload]++
		}
	}()
	return func() map[string]int {
		t.Helper()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return counts
	}
}

// measurePublishing has messages posted to the gateway while its way to Redis breaks in several ways.
func measurePublishing(t *testing.T, caddy string) Publishing {
	const last = "the last"
	redis := redistest.Start(t)
	proxy := redistest.NewProxy(t, redis.Addr())
	g := newGateway(t, caddy, proxy.URL())
	wait := heard(t, redis, last)
	p := &posts{answers: map[string]int{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		p.send(ctx, "http://"+g.addr+"/publish/posts")
	}()
	phases := []func(){
		func() {}, redis.Freeze, redis.Thaw, func() { proxy.SetBlackhole(true) }, func() { proxy.SetBlackhole(false) }, proxy.Reset,
		func() { proxy.SetRefuse(true); proxy.Reset() }, func() { proxy.SetRefuse(false) },
	}
	for _, begin := range phases {
		begin()
		time.Sleep(4 * time.Second)
	}
	stop()
	<-sent
	proxy.SetRefuse(true)
	proxy.Reset() // what a connection still holds does not count as arrived: it never will
	redis.Publish("posts", last)
	return CountPosts(p.answers, wait())
}
