//go:build linux

package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// postTimeout is what a POST may take. The gateway answers sooner whatever Redis does.
const postTimeout = 20 * time.Second

// traffic is what is published, and its log. A channel has one publisher at a time.
type traffic struct {
	mu       sync.Mutex
	messages map[string][]Message
	failures []string
	fill     map[string]string // by channel, as the next
	once     map[string]string // of the next message
	redis    *redistest.Server // that publishers use
}

func newTraffic(redis *redistest.Server) *traffic {
	return &traffic{messages: map[string][]Message{}, redis: redis, fill: map[string]string{}, once: map[string]string{}}
}

// to has publishers use another Redis from now on.
func (t *traffic) to(redis *redistest.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.redis = redis
}

// server is the Redis that publishers use.
func (t *traffic) server() *redistest.Server {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.redis
}

// setFill makes the messages of a channel larger by that.
func (t *traffic) setFill(channel, fill string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fill[channel] = fill
}

// fillNext makes the next message of a channel larger, and that one alone, and returns its number.
func (t *traffic) fillNext(channel, fill string) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.once[channel] = fill
	return len(t.messages[channel])
}

// begin takes the next number of a channel. The message is in the log at once, since it may arrive before its answer.
func (t *traffic) begin(channel string) (n int, payload string, redis *redistest.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n = len(t.messages[channel])
	t.messages[channel] = append(t.messages[channel], Message{N: n, Sent: time.Now()})
	fill, ok := t.once[channel]
	if !ok {
		fill = t.fill[channel]
	}
	delete(t.once, channel)
	text, err := json.Marshal(Payload{channel, n, fill})
	if err != nil {
		panic(err) // strings and a number
	}
	return n, string(text), t.redis
}

func (t *traffic) end(channel string, n int, outcome Outcome, receivers int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := &t.messages[channel][n]
	m.Answered, m.Outcome, m.Receivers = time.Now(), outcome, receivers
}

// publish sends the next message of a channel to Redis, and returns what became of it.
func (t *traffic) publish(channel string) Outcome {
	n, payload, server := t.begin(channel)
	receivers, err := server.TryPublish(channel, payload)
	var refusal redis.Error
	outcome := Unknown
	switch {
	case err == nil:
		outcome = Taken
	case errors.As(err, &refusal):
		outcome = Refused
	}
	t.end(channel, n, outcome, receivers)
	return outcome
}

// post sends the next message of a channel through the gateway: P7 says what its answers mean.
func (t *traffic) post(client *http.Client, url, channel string) Outcome {
	n, payload, _ := t.begin(channel)
	outcome := Unknown
	response, err := client.Post(url, "application/json", bytes.NewReader([]byte(payload)))
	if err == nil {
		body, _ := io.ReadAll(response.Body) // what matters is the status, which has come
		_ = response.Body.Close()
		outcome = t.judgePost(response.StatusCode, body)
	}
	t.end(channel, n, outcome, 0)
	return outcome
}

func (t *traffic) judgePost(status int, body []byte) Outcome {
	var answer struct{ Outcome string }
	switch status {
	case http.StatusOK:
		return Taken
	case http.StatusServiceUnavailable, http.StatusBadGateway:
		return Refused
	case http.StatusGatewayTimeout:
		if err := json.Unmarshal(body, &answer); err != nil || answer.Outcome != "unknown" {
			t.fail("a 504 that does not say that the outcome is unknown: " + string(body))
		}
	default:
		t.fail("a publish was answered " + http.StatusText(status) + ": " + string(body))
	}
	return Unknown
}

func (t *traffic) fail(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, what)
}

// isTaken tells whether Redis has answered that it took a message.
func (t *traffic) isTaken(channel string, n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	log := t.messages[channel]
	return n < len(log) && log[n].Outcome == Taken
}

// log returns what has been published so far, by channel, and what was wrong with answers.
func (t *traffic) log() (messages map[string][]Message, failures []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	messages = map[string][]Message{}
	for channel, log := range t.messages {
		messages[channel] = slices.Clone(log)
	}
	return messages, slices.Clone(t.failures)
}

// all tells whether something is true of the log of every channel that a client has.
func (t *traffic) all(c *client, is func(channel string, log []Message) bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for channel, log := range t.messages {
		if c.has(channel) && !is(channel, log) {
			return false
		}
	}
	return true
}

// every calls f each d, in a goroutine of its own, until what it returns is called, which waits for it.
func every(d time.Duration, f func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				f()
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(done)
		<-ended
	})
}
