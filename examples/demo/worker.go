package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

const (
	chatChannel = "chat:1"
	jobChannel  = "job:1"
)

// worker is any backend process: it PUBLISHes and knows nothing of browsers. What Redis does not take is lost, as for any plain
// PUBLISH; the page must learn of it from a gap.
type worker struct {
	client  *redis.Client
	tick    time.Duration
	run     string // tells the page that the numbers began anew
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	answers answers

	published, unreceived, failed atomic.Int64
}

// message is what the demo publishes. N counts by channel, so that the page can check that nothing is missing.
type message struct {
	Run      string `json:"run"`
	N        int64  `json:"n"`
	T        int64  `json:"t"` // unix milliseconds
	Question string `json:"question,omitempty"`
	Token    string `json:"token,omitempty"`
	Progress *int   `json:"progress,omitempty"`
	Done     bool   `json:"done,omitempty"` // the last of an answer
}

func newWorker(redisURL string, tick time.Duration) (*worker, error) {
	opts, err := redis.ParseURL(redisURL)
	if err != nil {
		return nil, fmt.Errorf("parsing REDIS_URL: %w", err)
	}
	logging.Disable() // a line for every failed dial; the page shows their number
	// A lost message is counted, not repeated: the next one is due in a moment.
	opts.MaxRetries = -1
	opts.DialerRetries = 1
	opts.DialTimeout = time.Second
	opts.ContextTimeoutEnabled = true
	w := &worker{
		client: redis.NewClient(opts),
		tick:   tick,
		run:    strconv.FormatInt(time.Now().UnixMilli(), 36),
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w, nil
}

func (w *worker) start() {
	w.wg.Go(func() { w.feed(chatChannel, w.tick, chat()) })
	w.wg.Go(func() { w.feed(jobChannel, 3*w.tick, job()) })
}

// stop ends the feeds and the answers.
func (w *worker) stop() error {
	w.cancel()
	w.wg.Wait()
	w.answers.end()
	return nil
}

// close is stop also for a worker that was never started, and closes its connections.
func (w *worker) close() error { return errors.Join(w.stop(), w.client.Close()) }

// feed publishes what next yields, numbered, until the worker is stopped.
func (w *worker) feed(channel string, every time.Duration, next func() message) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := int64(1); ; n++ {
		select {
		case <-w.ctx.Done():
			return
		case <-ticker.C:
		}
		_ = w.send(channel, n, next()) // counted there
	}
}

// send publishes the n-th message of a channel.
func (w *worker) send(channel string, n int64, m message) error {
	m.Run, m.N, m.T = w.run, n, time.Now().UnixMilli()
	payload, err := json.Marshal(m)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	_, err = w.publish(w.ctx, channel, payload)
	return err
}

// publish is the one Redis command of the demo.
func (w *worker) publish(ctx context.Context, channel string, payload []byte) (receivers int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	receivers, err = w.client.Publish(ctx, channel, payload).Result()
	switch {
	case err != nil:
		w.failed.Add(1)
		return 0, fmt.Errorf("publishing to %q: %w", channel, err)
	case receivers == 0:
		w.unreceived.Add(1)
	}
	w.published.Add(1)
	return receivers, nil
}

// chat yields answers word by word, as a language model does, for ever.
func chat() func() message {
	answers := []struct{ question, text string }{
		{
			"What are Server-Sent Events?",
			"A plain HTTP response that never ends. The server writes small blocks of text, the browser turns each one into an event, " +
				"and when the connection breaks the browser comes back by itself and says which event it saw last.",
		},
		{
			"Why not subscribe to Redis in the app?",
			"Because every open tab would cost an app worker and a Redis connection. Here Caddy holds one subscription for everybody, " +
				"keeps the latest messages in a bounded buffer, and the app does nothing but PUBLISH.",
		},
		{
			"What happens when Redis restarts?",
			"Whatever was published meanwhile is lost, for that is how pub/sub works. But it is not lost silently: the stream stays " +
				"open, and a gap event stands exactly where the missing messages would have been.",
		},
	}
	var words []string
	var current int
	return func() message {
		if len(words) == 0 {
			answer := answers[current%len(answers)]
			words = strings.SplitAfter(answer.text, " ")
			current++
			return message{Question: answer.question}
		}
		word := words[0]
		words = words[1:]
		return message{Token: word}
	}
}

// job yields the progress of one job after the other.
func job() func() message {
	const step = 5
	progress := -step
	return func() message {
		if progress += step; progress > 100 {
			progress = 0
		}
		p := progress
		return message{Progress: &p}
	}
}
