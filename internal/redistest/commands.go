//go:build unix

package redistest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// commandTimeout bounds a dial, a read and a write each, so that a test on a frozen server goes on soon.
	commandTimeout = 3 * time.Second

	// subscribeWait bounds WaitNumSub: more than any backoff of the code under test.
	subscribeWait = 20 * time.Second

	// helperUser has all rights and takes any password.
	helperUser = "redistest"
)

var errDown = errors.New("redis-server is not running")

// background is the context of the helpers. The test's own is cancelled before its cleanups, and those may call helpers too;
// commandTimeout ends them.
var background = context.Background()

// Client returns a new client of the server, with all rights, closed at the end of the test: RESP2, no retries, contexts
// obeyed, 3 s for a dial, a read and a write. After a row of failed dials go-redis tries only once a second, from a goroutine
// that may outlive Close by a second; so do not aim it at a killed server.
func (s *Server) Client() *redis.Client {
	client := redis.NewClient(s.options())
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Do runs a command and returns its reply as RESP2 has it: string, int64, []any, or nil. Errors end the test.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	client, err := s.helper()
	if err != nil {
		s.t.Fatalf("redis command %q: %v", args, err)
	}
	reply, err := client.Do(background, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("redis command %q: %v", args, err)
	}
	return reply
}

// Publish sends payload to channel and returns how many subscriptions took it. Errors end the test.
func (s *Server) Publish(channel, payload string) int64 {
	s.t.Helper()
	receivers, err := s.TryPublish(channel, payload)
	if err != nil {
		s.t.Fatalf("publishing to %q: %v", channel, err)
	}
	return receivers
}

// TryPublish is Publish for servers that may be down: a killed one fails at once, a frozen one after 3 s, and may still execute
// the command when it thaws.
func (s *Server) TryPublish(channel, payload string) (receivers int64, err error) {
	client, err := s.helper()
	if err != nil {
		return 0, err
	}
	return client.Publish(background, channel, payload).Result()
}

// NumSub is how many connections are subscribed to channel, patterns not counted.
func (s *Server) NumSub(channel string) int64 {
	s.t.Helper()
	return s.Do("PUBSUB", "NUMSUB", channel).([]any)[1].(int64)
}

// WaitNumSub returns when exactly n connections are subscribed to channel, and ends the test if that takes over 20 s.
func (s *Server) WaitNumSub(channel string, n int64) {
	s.t.Helper()
	end := time.Now().Add(subscribeWait)
	for {
		have := s.NumSub(channel)
		if have == n {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("waiting for %d subscribers of %q: %d after %v", n, channel, have, subscribeWait)
		}
		time.Sleep(pollEvery)
	}
}

// KillPubSub closes every connection that is subscribed to something, as an operator's CLIENT KILL TYPE pubsub does, and
// returns how many there were.
func (s *Server) KillPubSub() int64 {
	s.t.Helper()
	return s.Do("CLIENT", "KILL", "TYPE", "pubsub").(int64)
}

// PubSubClients is how many connections are subscribed to something.
func (s *Server) PubSubClients() int {
	s.t.Helper()
	return strings.Count(s.Do("CLIENT", "LIST", "TYPE", "pubsub").(string), "\n")
}

func (s *Server) options() *redis.Options {
	return &redis.Options{
		Addr:     s.Addr(),
		Username: helperUser, Password: "any",
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		MaxRetries:               -1, DialerRetries: 1,
		DialTimeout: commandTimeout, ReadTimeout: commandTimeout, WriteTimeout: commandTimeout,
		ContextTimeoutEnabled: true,
	}
}

// helper returns the helpers' client while the server lives. It is not asked to dial a dead one: after a row of failures
// go-redis would leave a goroutine behind, for up to a second after Close, and that looks like a leak of the code under test.
func (s *Server) helper() (*redis.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.life.exited:
		return nil, errDown
	default:
		return s.life.client, nil
	}
}

// begin closes the client of the life before, whose connections are dead.
func (s *Server) begin(next life) {
	s.mu.Lock()
	last := s.life
	s.life = next
	s.mu.Unlock()
	if last.client != nil {
		_ = last.client.Close()
	}
}
