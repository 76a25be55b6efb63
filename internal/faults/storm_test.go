//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// The storm: so many subscriptions a second come and go, by streams that have many channels each.
const (
	stormRate = 2000
	stormTick = time.Second * wideChannels / stormRate
	stormStay = 250 * time.Millisecond // of a stream, once it is open
	stormAsks = 4                      // one stream of so many waits for a message
)

// storm is the clients that come and go, and what they saw.
type storm struct {
	r      *rig
	client *http.Client
	open   sync.WaitGroup

	begun, opened  atomic.Int64
	answered, told atomic.Int64 // of those who asked for a message: who got it, and who got a gap
}

// subscribeStorm begins the storm.
func subscribeStorm(r *rig) (end func()) {
	r.t.Helper()
	s := &storm{r: r, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	r.awaitReady = s.awaitRate
	stop := every(stormTick, func() {
		n := s.begun.Add(1)
		s.open.Go(func() { s.comeAndGo(n) })
	})
	r.t.Cleanup(func() { // unless it has ended
		stop()
		s.open.Wait()
	})
	began := time.Now()
	return func() {
		stop()
		s.open.Wait()
		r.t.Logf("%d streams of %d channels opened in %v; %d got their message, %d a gap", s.opened.Load(), wideChannels,
			time.Since(began), s.answered.Load(), s.told.Load())
	}
}

// awaitRate returns when the storm has been at nine tenths of its rate for a second, at Redis, too.
func (s *storm) awaitRate() {
	s.r.t.Helper()
	var rate float64
	if !proctest.Within(proctest.Patience, func() bool {
		opened, unsubscribed, began := s.opened.Load(), s.unsubscribed(), time.Now()
		time.Sleep(time.Second)
		if s.unsubscribed() == unsubscribed {
			return false
		}
		rate = float64(s.opened.Load()-opened) * wideChannels / time.Since(began).Seconds()
		return rate >= stormRate*9/10
	}) {
		s.r.t.Fatalf("the storm has only %.0f subscriptions a second", rate)
	}
	s.r.t.Logf("the storm has %.0f subscriptions a second", rate)
}

// unsubscribed is how many UNSUBSCRIBE there have been.
func (s *storm) unsubscribed() int {
	s.r.t.Helper()
	_, after, _ := strings.Cut(s.r.redis.Do("INFO", "commandstats").(string), "cmdstat_unsubscribe:calls=")
	calls, _, _ := strings.Cut(after, ",")
	n, err := strconv.Atoi(calls)
	if err != nil {
		return 0 // none yet
	}
	return n
}

// comeAndGo is one client.
func (s *storm) comeAndGo(n int64) {
	ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience)
	defer cancel()
	key := fmt.Sprintf("storm-%d", n)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.r.gateway.url("/wide/"+key), nil)
	if err != nil {
		panic(err) // it is the same for all
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := s.client.Do(request)
	if err != nil {
		s.r.t.Errorf("%s: %v", key, err)
		return
	}
	defer response.Body.Close()
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); response.StatusCode != http.StatusOK || kind != "text/event-stream" {
		s.r.t.Errorf("%s was answered %d, with %s", key, response.StatusCode, kind)
		return
	}
	s.opened.Add(1)
	if channel := fmt.Sprintf("%s:%d", key, wideChannels-1); n%stormAsks == 0 {
		if _, err := s.r.traffic.server().TryPublish(channel, key); err == nil {
			s.wantAnswer(response.Body, channel, key)
			return
		}
	}
	time.AfterFunc(stormStay, cancel)
	if _, err := io.Copy(io.Discard, response.Body); !errors.Is(err, context.Canceled) {
		s.r.t.Errorf("%s ended with %v", key, err)
	}
}

// wantAnswer wants a stream to have what Redis took after it had opened, or to be told of a gap (P2).
func (s *storm) wantAnswer(body io.Reader, channel, message string) {
	parser, buf := ssetest.NewParser(), make([]byte, 4<<10)
	for {
		n, err := body.Read(buf)
		for _, e := range parser.Push(buf[:n]) {
			var told gap
			if e.Type == "message" && e.Data == message {
				s.answered.Add(1)
				return
			}
			if e.Type == "gap" && json.Unmarshal([]byte(e.Data), &told) == nil && told.Channel == channel {
				s.told.Add(1)
				return
			}
		}
		if err != nil {
			s.r.t.Errorf("%s has neither a message nor a gap: %v", channel, err)
			return
		}
	}
}
