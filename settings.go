package redissse

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

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
	grace        time.Duration // Caddy's grace_period, 0 for none; known at Start
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
}

func (f *inForce) log() *zap.Logger { return f.logger.Load() }

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
