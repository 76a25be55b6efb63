package redissse

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
)

// Hub configures one hub: a Redis, and how much of it is kept.
type Hub struct {
	// Where Redis is: redis://, rediss:// (TLS) or unix:// URL. {env.*} and
	// {file.*} are replaced when the configuration is loaded; an unset one is
	// an error. The database number does not matter to pub/sub. Default:
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
}

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

// publishing is a resolved Publisher.
type publishing struct {
	attempts int
	backoff  time.Duration
	breaker  breakerSettings
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

// Buffer bounds what is kept, of each channel and in total. Of a channel, what
// goes first is always the oldest; clients that would have needed it are told
// so by a gap event.
type Buffer struct {
	// At most this many messages a channel, 1 to 10000000. Default: 10000
	Messages int `json:"messages,omitempty"`

	// At most this long after receipt, 1s to 1 year. Default: 15m
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// At most this many bytes a channel, 4096 to 1 TiB; payloads, cached event
	// bodies and some 110 bytes a message count. More than half of total_size
	// has no effect. A message that is larger by itself is not delivered but
	// gapped. Default: 4194304 (4 MiB)
	ChannelSize int64 `json:"channel_size,omitempty"`

	// At most this many bytes over all channels of the hub, 65536 to 1 TiB;
	// counted as for channel_size, and some 600 bytes a channel and its name.
	// Over it go channels that linger, longest first, then such as only keep
	// holds, quietest first, then the oldest messages. Default: 268435456 (256
	// MiB) or a quarter of GOMEMLIMIT, if that is less
	TotalSize int64 `json:"total_size,omitempty"`

	// A message with more bytes than this is not delivered but gapped, 1 byte
	// to 512 MiB, which is the most that Redis takes. Default: 1048576 (1 MiB)
	MaxMessage int64 `json:"max_message,omitempty"`

	// At most this many channels at once, 1 to 10000000; total_size allows
	// half of it to be taken by channels being there. Over it channels go that
	// no client has open, then streams of new channels are refused. Default:
	// 100000
	MaxChannels int `json:"max_channels,omitempty"`
}

// The defaults. 10,000 messages and 4 MiB a channel hold some minutes of the
// fastest token stream; 15 minutes cover a closed laptop lid.
const (
	defaultRedis        = "redis://127.0.0.1:6379/0"
	defaultMessages     = 10000
	defaultMaxAge       = 15 * time.Minute
	defaultChannelSize  = 4 << 20
	defaultTotalSize    = 256 << 20
	minTotalSize        = 64 << 10
	defaultMaxMessage   = 1 << 20
	defaultMaxChannels  = 100_000
	defaultLinger       = 5 * time.Minute
	defaultPingInterval = time.Second
	defaultDeadAfter    = 9 * time.Second // noticed within 10 s, a tick included
	defaultReconnectMin = time.Second
	defaultReconnectMax = 10 * time.Second // back within 30 s of Redis, dial and handshake included
)

// Three attempts outlive a Redis that restarts empty. Five failures in a row
// are two requests that met nobody.
const (
	defaultAttempts        = 3
	defaultBackoff         = 100 * time.Millisecond
	defaultBreakerFailures = 5
	defaultBreakerReset    = 60 * time.Second
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
	s.redis, err = redisOptions(c.Redis)
	return s, err
}

// tuning resolves all but where Redis is.
func (c *Hub) tuning() (*settings, error) {
	buffer := c.Buffer
	if buffer == nil {
		buffer = new(Buffer)
	}
	s := &settings{linger: time.Duration(c.Linger)}
	if c.Linger == 0 {
		s.linger = defaultLinger
	}
	s.linger = max(0, s.linger)
	ping := durationOr(c.PingInterval, defaultPingInterval)
	least := durationOr(c.ReconnectMin, defaultReconnectMin)
	var maxAge time.Duration
	var messages, channels int64
	var invalid error
	s.publishing, invalid = c.Publisher.resolve()
	err := errors.Join(
		inRange("ping_interval", c.PingInterval, defaultPingInterval, 100*time.Millisecond, 10*time.Second, &s.pingInterval),
		inRange("dead_after", c.DeadAfter, max(defaultDeadAfter, 2*ping), 2*ping, time.Minute, &s.deadAfter),
		inRange("probe_interval", c.ProbeInterval, defaultProbeInterval, time.Second, time.Minute, &s.probeEvery),
		inRange("reconnect_min", c.ReconnectMin, defaultReconnectMin, 10*time.Millisecond, time.Minute, &s.reconnectMin),
		inRange("reconnect_max", c.ReconnectMax, max(defaultReconnectMax, least), least, 10*time.Minute, &s.reconnectMax),
		inRange("max_age", buffer.MaxAge, defaultMaxAge, time.Second, 365*24*time.Hour, &maxAge),
		inRange("channel_size", buffer.ChannelSize, defaultChannelSize, 4<<10, 1<<40, &s.limits.bytes),
		inRange("messages", int64(buffer.Messages), defaultMessages, 1, 10_000_000, &messages),
		inRange("total_size", buffer.TotalSize, standardTotalSize(debug.SetMemoryLimit(-1)), minTotalSize, 1<<40, &s.budget.bytes),
		inRange("max_message", buffer.MaxMessage, defaultMaxMessage, 1, 512<<20, &s.limits.message),
		inRange("max_channels", int64(buffer.MaxChannels), defaultMaxChannels, 1, 10_000_000, &channels),
		checkPatterns("keep", c.Keep),
		invalid,
	)
	s.limits.messages, s.limits.maxAge, s.budget.channels = int(messages), maxAge.Milliseconds(), int(channels)
	// For a larger message all others would have to go, and it might go, too.
	s.limits.bytes = min(s.limits.bytes, s.budget.bytes/2)
	s.keep = c.Keep
	return s, err
}

// standardTotalSize leaves the process three quarters of its memory limit.
func standardTotalSize(memoryLimit int64) int64 {
	return max(minTotalSize, min(defaultTotalSize, memoryLimit/4))
}

var placeholderWithDot = regexp.MustCompile(`\{[a-zA-Z_]+\.[^}]*\}`)

// checkPatterns checks Redis patterns. Any text is one; braces are ordinary
// characters, as in the hash tags of Redis Cluster.
func checkPatterns(key string, patterns []string) error {
	for _, p := range patterns {
		if err := checkName(key, p); err != nil {
			return err
		}
		if found := placeholderWithDot.FindString(p); found != "" {
			return fmt.Errorf("%s %q: patterns are constants, the placeholder %q is not replaced in them", key, p, found)
		}
	}
	return nil
}

func durationOr(d caddy.Duration, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return time.Duration(d)
}

// inRange stores value, or standard where it is 0, into to, if it is from
// least to most.
func inRange[V, T ~int64](key string, value V, standard, least, most T, to *T) error {
	v := T(value)
	if v == 0 {
		v = standard
	}
	if v < least || v > most {
		return fmt.Errorf("%s is %v, want %v to %v", key, v, least, most)
	}
	*to = v
	return nil
}

// redisOptions reads a Redis URL, placeholders replaced. Its errors never
// carry the password, wherever in the text it stands.
func redisOptions(raw string) (*redis.Options, error) {
	if raw == "" {
		raw = defaultRedis
	}
	resolved, err := caddy.NewReplacer().ReplaceOrErr(raw, true, true)
	if err != nil {
		return nil, fmt.Errorf("redis %q: %w", withoutSecrets(raw), err) // names the placeholder
	}
	u, err := url.Parse(resolved)
	// An unescaped / ? or # ends the host early: the rest of the password
	// would be taken for a path, its beginning for the host to dial.
	if err != nil || u.Fragment != "" || strings.Contains(u.Path+u.RawQuery, "@") || u.Opaque != "" {
		return nil, fmt.Errorf("redis %q is not a redis://, rediss:// or unix:// URL: "+
			"in a user or password, / ? # @ and %% must be percent-encoded", withoutSecrets(resolved))
	}
	o, err := redis.ParseURL(resolved)
	if err != nil && u.RawQuery != "" {
		err = fmt.Errorf("check its options %q", slices.Sorted(maps.Keys(u.Query()))) // not their values
	}
	if err != nil {
		return nil, fmt.Errorf("redis %q is not a redis://, rediss:// or unix:// URL: %w", withoutSecrets(resolved), err)
	}
	return o, nil
}

// withoutSecrets leaves of a URL, or of what is none, scheme, host and path.
func withoutSecrets(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if ok {
		scheme += "://"
	} else {
		scheme, rest = "", s
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		scheme, rest = scheme+"xxxxx@", rest[i+1:]
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	return scheme + rest
}
