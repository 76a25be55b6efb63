package redissse

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// settings is a hub's resolved configuration. Immutable.
type settings struct {
	hub.Bounds
	redis        *redis.Options // as parsed from the URL
	literal      bool           // its password stands in the configuration itself
	keep         []string       // patterns
	pingInterval time.Duration
	deadAfter    time.Duration
	probeEvery   time.Duration
	reconnectMin time.Duration
	reconnectMax time.Duration
	publishing   publishing
	adminPage    bool
	grace        time.Duration // Caddy's grace_period, 0 for none; known at Start
	emitter      *emitter      // of its events; nil: they go nowhere; known at Start
}

// publishing is a resolved Publisher.
type publishing struct {
	attempts int
	backoff  time.Duration
	breaker  breakerSettings
}

// inForce is what all parts of a running hub go by. A reload changes it under
// them.
type inForce struct {
	name     string // in logs and metrics
	metrics  *hubMetrics
	settings atomic.Pointer[settings]
	logger   atomic.Pointer[zap.Logger] // of the newest configuration
	events   events
}

func (f *inForce) log() *zap.Logger { return f.logger.Load() }

// changed logs a change of the hub's state.
func (f *inForce) changed(level zapcore.Level, text string, fields ...zap.Field) {
	f.log().Log(level, text, append([]zap.Field{zap.String("hub", f.name), zap.String("redis", f.addr())}, fields...)...)
}

// emit has Caddy's event handlers told of a change of the hub's state, later.
func (f *inForce) emit(event string, data map[string]any) {
	data["hub"], data["redis"] = f.name, f.addr()
	if !f.events.add(event, data) {
		f.changed(zap.WarnLevel, "an event is left out: the handlers of those before it take too long", zap.String("event", event))
	}
}

// addr is where Redis is: a host and port, or a path.
func (f *inForce) addr() string {
	if s := f.settings.Load(); s != nil && s.redis != nil {
		return s.redis.Addr
	}
	return ""
}

func durationOr(d caddy.Duration, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return time.Duration(d)
}

// inRange stores value, or standard where it is 0, into to, if it is from
// least to most. The error begins with key, which is the option's name: by that the Caddyfile's
// line is found.
func inRange[V, T ~int64](key string, value V, standard, least, most T, to *T) error {
	v := T(value)
	if v == 0 {
		v = standard
	}
	if v < least || v > most {
		return fmt.Errorf("%s is %s, want %s to %s", key, written(v), written(max(0, least)), written(most))
	}
	*to = v
	return nil
}

// sizeInRange is inRange for numbers of bytes, whose bounds a Caddyfile would give as sizes.
func sizeInRange(key string, value, standard, least, most int64, to *int64) error {
	if inRange(key, value, standard, least, most, to) != nil {
		return fmt.Errorf("%s is %d, want %s to %s", key, value, writtenSize(least), writtenSize(most))
	}
	return nil
}

const day = 24 * time.Hour

// written is a duration as a Caddyfile has it, or a number.
func written[T ~int64](value T) string {
	d, ok := any(value).(time.Duration)
	switch {
	case !ok:
		return strconv.FormatInt(int64(value), 10)
	case d > 0 && (d+1)%time.Minute == 0:
		return "under " + written(d+1)
	case d >= 2*day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// writtenSize is a power of two as a Caddyfile has it.
func writtenSize(n int64) string {
	const units = "KMGT"
	i := 0
	for n >= 1<<10 && n%(1<<10) == 0 && i < len(units) {
		n >>= 10
		i++
	}
	if i == 0 {
		return strconv.FormatInt(n, 10) + "B"
	}
	return strconv.FormatInt(n, 10) + units[i-1:i] + "iB"
}
