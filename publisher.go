package redissse

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	retries "github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// Publisher says how often publishing is tried and when it is given up for a
// while. Each attempt may take 2 seconds. One that may have reached Redis is
// never repeated.
type Publisher struct {
	// How often a message is tried at most, 1 to 10. Default: 3
	Attempts int `json:"attempts,omitempty"`

	// The wait before the second attempt is at most this, before later ones
	// twice as much each, up to 5s: 1ms to 5s. Default: 100ms
	Backoff caddy.Duration `json:"backoff,omitempty"`

	// After this many failures in a row publishing fails at once, with 503: 1
	// to 1000. Default: 5
	BreakerFailures int `json:"breaker_failures,omitempty"`

	// For how long it does at most, before one attempt is let through: 1s to
	// 1h. It is let through sooner if Redis is proved to be back: when a
	// message of the hub to itself arrives. Default: 60s
	BreakerReset caddy.Duration `json:"breaker_reset,omitempty"`
}

// resolve checks the configuration, which may be nil, and fills in what is not
// set.
func (c *Publisher) resolve() (p publishing, err error) {
	if c == nil {
		c = new(Publisher)
	}
	var attempts, failures int64
	err = errors.Join(
		inRange("attempts", int64(c.Attempts), defaultAttempts, 1, 10, &attempts),
		inRange("backoff", c.Backoff, defaultBackoff, time.Millisecond, maxPublishWait, &p.backoff),
		inRange("breaker_failures", int64(c.BreakerFailures), defaultBreakerFailures, 1, 1000, &failures),
		inRange("breaker_reset", c.BreakerReset, defaultBreakerReset, time.Second, time.Hour, &p.breaker.reset),
	)
	p.attempts, p.breaker.failures = int(attempts), int(failures)
	return p, err
}

// Three attempts outlive a Redis that restarts empty. Five failures in a row
// are two requests that met nobody.
const (
	defaultAttempts        = 3
	defaultBackoff         = 100 * time.Millisecond
	defaultBreakerFailures = 5
	defaultBreakerReset    = 60 * time.Second
)

// publishRetryAfter is what a 503 asks for at most: Redis is usually back
// sooner than the breaker's time is over, and a refusal costs nothing.
const publishRetryAfter = 5 * time.Second

// go-redis would print each failed dial to stderr, past Caddy's log. What is of
// interest in it comes back as an error, too.
func init() { redis.SetLogger(libraryLog{}) }

type libraryLog struct{}

// Printf implements go-redis's logging interface.
func (libraryLog) Printf(_ context.Context, format string, args ...any) {
	if entry := caddy.Log().Named("redis_sse.go-redis").Check(zap.DebugLevel, fmt.Sprintf(format, args...)); entry != nil {
		entry.Write()
	}
}

// publisher sends commands to Redis over connections of its own, since that of
// the subscription takes none. Safe for concurrent use.
type publisher struct {
	settings *atomic.Pointer[settings] // the hub's, in force
	breaker  breaker
	trusted  time.Duration // for how long idle connections are
	large    chan struct{} // has largeAtOnce places: for attempts with large payloads
	pauses   *pauses       // of this process

	mu      sync.Mutex
	current *commandClient // nil: none has been needed yet
	stale   bool           // current is to be replaced before it is used again
	closed  bool
}

// commandClient is a client with the calls that are under way on it. It is
// closed by who takes the last one away from it: go-redis's Close cuts calls
// that are under way, and nobody could know whether Redis took their message.
type commandClient struct {
	*redis.Client
	of *redis.Options // what it was made from

	// Guarded by publisher.mu.
	calls   int
	retired bool // no call will be added
}

// publish has Redis deliver payload. receivers are the clients of that server.
// Attempts after which Redis has certainly not executed it are repeated, after
// waits that double, with full jitter. ctx is the request's; once that is over
// no attempt begins. verdictOf says what an error means.
func (p *publisher) publish(ctx context.Context, channel string, payload []byte) (receivers int64, attempts int, err error) {
	of := p.settings.Load().publishing
	waits := &retries.ExponentialBackOff{
		InitialInterval: of.backoff / 2, RandomizationFactor: 1, Multiplier: 2, MaxInterval: maxPublishWait / 2,
	}
	receivers, err = retries.Retry(ctx, func() (int64, error) {
		n, err := p.breaker.attempt(of.breaker, func() (int64, error) {
			attempts++
			return p.attempt(ctx, channel, payload)
		})
		if err != nil && !verdictOf(err).again {
			err = retries.Permanent(err)
		}
		return n, err
	}, retries.WithBackOff(waits), retries.WithMaxTries(uint(of.attempts)), retries.WithMaxElapsedTime(0))
	if err == nil {
		return receivers, attempts, nil
	}
	if _, judged := errors.AsType[*publishError](err); !judged && ctx.Err() != nil {
		err = &publishError{judge(err, false, true), err} // it ended in a wait
	}
	return 0, attempts, fmt.Errorf("publishing to %q: %w", channel, err)
}

// maxPublishWait bounds the wait before another attempt: a request should not
// take minutes.
const maxPublishWait = 5 * time.Second

// retryAfter returns after how many seconds another request may have more luck.
func (p *publisher) retryAfter(v verdict) int {
	wait := publishRetryAfter
	if v.reason == dropOpen {
		wait = min(wait, p.breaker.openFor())
	}
	return max(1, int(wait.Seconds()))
}

// attempt publishes once. A large payload waits for its place first.
func (p *publisher) attempt(ctx context.Context, channel string, payload []byte) (receivers int64, err error) {
	if len(payload) <= largePayload {
		return p.send(ctx, channel, payload)
	}
	late := time.NewTimer(poolTimeout)
	defer late.Stop()
	select {
	case p.large <- struct{}{}:
		defer func() { <-p.large }()
		return p.send(ctx, channel, payload)
	case <-late.C:
		err = redis.ErrPoolTimeout
	case <-ctx.Done():
		err = ctx.Err()
	}
	return 0, &publishError{judge(err, false, ctx.Err() != nil), err}
}

func (p *publisher) send(ctx context.Context, channel string, payload []byte) (receivers int64, err error) {
	m := &outgoing{payload: payload}
	err = p.do(ctx, func(ctx context.Context, client *redis.Client) error {
		m.sent = false // what went to a connection that had gone was not
		receivers, err = client.Publish(ctx, channel, m).Result()
		return err
	})
	if err == nil {
		return receivers, nil
	}
	v := judge(err, m.sent, ctx.Err() != nil)
	if v.weight == weightFailure && m.sent && len(payload) > largePayload && !p.isSilent() {
		v.weight = weightNone
	}
	return 0, &publishError{v, err}
}

// largePayload is what takes time by itself, on a slow way to Redis or in a Redis that
// hands it to thousands. Its size is the caller's choice: that it took too long
// says little about Redis as long as that answers a PING.
const largePayload = 64 << 10

// largeAtOnce is how many connections large payloads may take together: the small
// ones and the hub's own commands find another. Two keep a Redis busy, which does one
// thing at a time.
const largeAtOnce = maxCommandConns / 2

// isSilent reports whether Redis does not answer a PING. It is not asked while all
// connections are taken, by whom the callers choose, too.
func (p *publisher) isSilent() bool {
	err := p.do(context.Background(), func(ctx context.Context, client *redis.Client) error {
		return client.Ping(ctx).Err()
	})
	return err != nil && !errors.Is(err, redis.ErrPoolTimeout)
}

// outgoing is a payload that knows whether it has been on its way: go-redis
// asks for it when it writes the command, on a connection that has answered
// before. Used by one goroutine, for one attempt.
type outgoing struct {
	payload []byte
	sent    bool
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (m *outgoing) MarshalBinary() ([]byte, error) {
	m.sent = true
	return m.payload, nil
}

// oneConn runs f with a connection, so that all that f asks is answered by
// one server: behind an address there may be several.
func (p *publisher) oneConn(ctx context.Context, f func(context.Context, *redis.Conn) error) error {
	return p.do(ctx, func(ctx context.Context, client *redis.Client) error {
		conn := client.Conn()
		defer conn.Close() // back to the pool
		return f(ctx, conn)
	})
}

// do runs f with a client, and again if its connection has gone while it was idle:
// nothing was written to that. There is always a deadline.
func (p *publisher) do(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	err := p.once(ctx, f)
	if errors.Is(err, errWentIdle) {
		err = p.once(ctx, f)
	}
	return err
}

func (p *publisher) once(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	c, err := p.borrow()
	if err != nil {
		return err
	}
	defer p.giveBack(c)
	err = withoutPassword(f(ctx, c.Client), c.of)
	if errors.Is(err, errWentIdle) {
		p.outdate(c)
	}
	return err
}

// borrow takes the client for one call, a new one if the Redis options in force
// have changed. The connections of the old one come on top of the limit until
// its last call is over, commandTimeout at most.
func (p *publisher) borrow() (*commandClient, error) {
	c, unused, err := p.take()
	unused.close()
	return c, err
}

func (p *publisher) take() (c, unused *commandClient, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errPublisherClosed
	}
	of := p.settings.Load().redis
	if p.current != nil && (p.stale || p.current.of != of) {
		unused = p.retireLocked()
	}
	if p.current == nil {
		p.current = &commandClient{Client: redis.NewClient(commandOptions(of, p.trusted, p.pauses)), of: of}
	}
	p.stale = false
	p.current.calls++
	return p.current, unused, nil
}

func (p *publisher) giveBack(c *commandClient) {
	p.mu.Lock()
	c.calls--
	unused := c.ifUnusedLocked()
	p.mu.Unlock()
	unused.close()
}

// retireLocked gives the current client up, and returns it if it can be closed.
func (p *publisher) retireLocked() *commandClient {
	c := p.current
	p.current = nil
	if c == nil {
		return nil
	}
	c.retired = true
	return c.ifUnusedLocked()
}

func (c *commandClient) ifUnusedLocked() *commandClient {
	if c.retired && c.calls == 0 {
		return c
	}
	return nil
}

// close closes the client, if there is one: not under a lock, since TLS says
// goodbye.
func (c *commandClient) close() {
	if c != nil {
		_ = c.Client.Close() // it holds only idle connections
	}
}

// renew has the next call dial again. The subscription has just done so, and
// may have found another server behind the address, whereas the one that the
// old connections lead to may live on, no master any more.
func (p *publisher) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stale = true
}

// outdate has the next call dial again if it would use c, whose connections are as old
// as the one that has gone.
func (p *publisher) outdate(c *commandClient) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stale = p.stale || p.current == c
}

// end closes the publisher. Calls that are under way end by themselves.
func (p *publisher) end() {
	p.mu.Lock()
	p.closed = true
	unused := p.retireLocked()
	p.mu.Unlock()
	unused.close()
}
