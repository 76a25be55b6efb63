package redissse

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Hub configures one hub: a Redis, and how much of it is kept.
type Hub struct {
	// Where Redis is: redis://, rediss:// (TLS) or unix:// URL. {env.*} and
	// {file.*} are replaced when the configuration is loaded; an unset one is
	// an error. The database number matters to presence only. Default:
	// redis://127.0.0.1:6379/0
	Redis string `json:"redis,omitempty"`

	// What is kept of each channel for clients that come back.
	Buffer *Buffer `json:"buffer,omitempty"`

	// Patterns to subscribe to at start and for good, as Redis's PSUBSCRIBE
	// takes them. What is published on their channels is buffered with no
	// client there, so that a first client gets what came before it.
	// They are constants: a placeholder in one is an error. Default: none
	Keep []string `json:"keep,omitempty"`

	// How long a subscription and its buffer outlive the last client.
	// Negative: not at all. Default: 5m
	Linger caddy.Duration `json:"linger,omitempty"`

	// How often Redis is pinged: 100ms to 10s. Default: 1s
	PingInterval caddy.Duration `json:"ping_interval,omitempty"`

	// How long Redis may send no byte at all before the connection is given
	// up: at least twice ping_interval, at most 1m. Default: 9s, or twice
	// ping_interval if that is more
	DeadAfter caddy.Duration `json:"dead_after,omitempty"`

	// How often the hub publishes a message to itself, asks Redis for its role
	// and for its time: 1s to 1m. A Redis that answers pings but delivers
	// nothing is given up 10 s after it took such a message, so at most
	// some 12 s more than this after it began: the default keeps that under
	// 30 s. It needs the commands publish, role and time and the channels
	// __redis_sse:probe:*; what Redis refuses of them is done without, with a
	// warning. Default: 10s
	ProbeInterval caddy.Duration `json:"probe_interval,omitempty"`

	// Waits before connecting again are random, up to a quarter of the time
	// that the connection has been away, but the first ones up to this: 10ms
	// to 1m. Default: 1s
	ReconnectMin caddy.Duration `json:"reconnect_min,omitempty"`

	// No wait before connecting again is longer: reconnect_min to 10m. More
	// than the default delays recovery. Default: 10s
	ReconnectMax caddy.Duration `json:"reconnect_max,omitempty"`

	// How messages of redis_sse_publish get to Redis.
	Publisher *Publisher `json:"publisher,omitempty"`

	// Whether the admin endpoint has a page, at /redis_sse/, that shows all hubs
	// live, and lets whoever can reach it read this hub's channels and publish.
	// With admin on localhost, a browser gets it only if Caddy's own option
	// origins there has "", for requests without an origin. Default: false
	AdminPage bool `json:"admin_page,omitempty"`
}

// The defaults.
const (
	defaultLinger       = 5 * time.Minute
	defaultPingInterval = time.Second
	defaultDeadAfter    = 9 * time.Second // noticed within 10 s, a tick included
	defaultReconnectMin = time.Second
	defaultReconnectMax = 10 * time.Second // back within 30 s of Redis, dial and handshake included
)

// The most that dead_after, twice ping_interval at least, and reconnect_max leave room for.
const (
	maxPingInterval = 10 * time.Second
	maxReconnectMin = time.Minute
)

// defaultProbeInterval has deaf connections noticed within 30 s: probeTimeout
// and two command timeouts come on top.
const defaultProbeInterval = 10 * time.Second

// resolve checks the configuration and fills in what is not set.
func (c *Hub) resolve() (*settings, error) {
	s, err := c.tuning()
	if err != nil {
		return nil, err
	}
	at, err := readRedisURL(c.Redis)
	s.redis, s.literal = at.options, at.literal
	return s, err
}

// tuning resolves all but where Redis is.
func (c *Hub) tuning() (*settings, error) {
	s := &settings{keep: c.Keep, adminPage: c.AdminPage}
	if s.Linger = time.Duration(c.Linger); c.Linger == 0 {
		s.Linger = defaultLinger
	}
	s.Linger = max(0, s.Linger)
	// What is out of range itself sets no bounds: one mistake makes one error.
	ping := min(max(0, durationOr(c.PingInterval, defaultPingInterval)), maxPingInterval)
	least := min(max(0, durationOr(c.ReconnectMin, defaultReconnectMin)), maxReconnectMin)
	var ofBuffer, ofPublisher error
	s.Limits, s.Budget, ofBuffer = c.Buffer.resolve()
	s.publishing, ofPublisher = c.Publisher.resolve()
	return s, errors.Join(
		inRange("ping_interval", c.PingInterval, defaultPingInterval, 100*time.Millisecond, maxPingInterval, &s.pingInterval),
		c.resolveDeadAfter(2*ping, &s.deadAfter),
		inRange("probe_interval", c.ProbeInterval, defaultProbeInterval, time.Second, time.Minute, &s.probeEvery),
		inRange("reconnect_min", c.ReconnectMin, defaultReconnectMin, 10*time.Millisecond, maxReconnectMin, &s.reconnectMin),
		inRange("reconnect_max", c.ReconnectMax, max(defaultReconnectMax, least), least, 10*time.Minute, &s.reconnectMax),
		ofBuffer,
		checkPatterns("keep", c.Keep),
		ofPublisher,
	)
}

func (c *Hub) resolveDeadAfter(least time.Duration, to *time.Duration) error {
	err := inRange("dead_after", c.DeadAfter, max(defaultDeadAfter, least), least, time.Minute, to)
	if err != nil {
		return fmt.Errorf("%w: at least twice ping_interval", err)
	}
	return nil
}

var placeholderWithDot = regexp.MustCompile(`\{[a-zA-Z_]+\.[^}]*\}`)

// checkPatterns checks Redis patterns. Any text is one; braces are ordinary
// characters, as in the hash tags of Redis Cluster.
func checkPatterns(key string, patterns []string) error {
	for _, p := range patterns {
		if err := checkPattern(key, p); err != nil {
			return err
		}
	}
	return nil
}

func checkPattern(key, p string) error {
	if err := checkName(key, p); err != nil {
		return err
	}
	if isRedisURL.MatchString(p) {
		return fmt.Errorf("%s is a redis URL, which goes on a redis line", key)
	}
	if found := placeholderWithDot.FindString(p); found != "" {
		return fmt.Errorf("%s %q: patterns are constants, the placeholder %q is not replaced in them", key, p, found)
	}
	return nil
}
