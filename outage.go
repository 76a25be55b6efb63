package redissse

import (
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// outage is the time from the loss of a connection, or from a first attempt that
// failed, until Redis has answered for all channels again. It logs what an operator
// has to know: each cause once, and not one line a retry. The reader goroutine
// tells it what happens, any may have it remind. Nothing is logged under mu.
type outage struct {
	mu sync.Mutex // guards what follows
	outageState
}

type outageState struct {
	since    time.Time // zero: there is none
	up       bool      // there is a connection; not all has been confirmed yet
	lost     lossReason
	attempts int // that have failed
	newest   error
	told     []string // causes that have been logged since the last connection
	reminded time.Time
}

// broken is what is told of a connection that is over. The zero value is one that Redis
// has never answered on.
type broken struct {
	reason    lossReason
	connected time.Duration // for how long
	silent    time.Duration // since the last byte
}

const (
	// remindEvery is how often a long outage is logged again: often enough for who looks
	// at the newest lines only, and six lines an hour.
	remindEvery = 10 * time.Minute
	// maxCauses is how many causes of one outage are logged: there are not more that
	// tell anything, and some have a duration in them, which differs each time.
	maxCauses = 8
)

// reasonNeverConnected is the reason of an outage that no connection was before.
const reasonNeverConnected = "never_connected"

// began records that a connection is over, or that an attempt at one has failed.
func (o *outage) began(of *inForce, was broken, err error) {
	cause := causeOf(err)
	begins, news := o.begin(was, cause, err)
	if news {
		of.changed(zap.WarnLevel, "no redis connection", append(was.fields(), zap.Error(err))...)
	}
	if !begins {
		return
	}
	data := map[string]any{"reason": reasonNeverConnected, "error": cause}
	if was.reason != "" {
		data["reason"], data["connected"], data["silent"] = string(was.reason), inMilliseconds(was.connected), inMilliseconds(was.silent)
	}
	of.emit(eventHubLost, data)
}

// begin reports whether an outage begins, and whether its cause has not been logged.
func (o *outage) begin(was broken, cause string, err error) (begins, news bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if begins = o.since.IsZero(); begins {
		o.since = time.Now()
	}
	if o.newest = err; was.reason != "" {
		o.lost, o.up, o.told, o.reminded = was.reason, false, nil, time.Now()
	} else {
		o.attempts++
	}
	if begins {
		o.reminded = o.since
	}
	if news = len(o.told) < maxCauses && !slices.Contains(o.told, cause); news {
		o.told = append(o.told, cause)
	}
	return begins, news
}

func (b broken) fields() []zap.Field {
	if b.reason == "" {
		return nil
	}
	return []zap.Field{zap.String("reason", string(b.reason)), zap.Duration("connected", b.connected), zap.Duration("silent", b.silent)}
}

// causeOf returns an error's text without our own address, whose port is another one with
// each attempt.
func causeOf(err error) string {
	text := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Source != nil {
		return strings.ReplaceAll(text, op.Source.String(), "")
	}
	return text
}

// remind logs an outage that goes on, now and then.
func (o *outage) remind(of *inForce) {
	o.mu.Lock()
	now, due := o.outageState, !o.since.IsZero() && !o.up && time.Since(o.reminded) >= remindEvery
	if due {
		o.reminded = time.Now()
	}
	o.mu.Unlock()
	if due {
		of.changed(zap.ErrorLevel, "redis is still away", append(now.away(), zap.Error(now.newest))...)
	}
}

// away is for how long Redis has been away, and how often it was tried in vain.
func (o *outageState) away() []zap.Field {
	return []zap.Field{zap.Time("since", o.since), zap.Duration("away", time.Since(o.since)), zap.Int("failed_attempts", o.attempts)}
}

// connected records that Redis answers.
func (o *outage) connected(of *inForce) {
	o.mu.Lock()
	now := o.outageState
	o.up, o.lost = true, ""
	o.mu.Unlock()
	if now.lost != "" {
		of.metrics.reconnections[now.lost].Inc()
	}
	var fields []zap.Field
	if !now.since.IsZero() {
		fields = now.away()
	}
	of.changed(zap.InfoLevel, "redis connected", fields...)
}

// ended records that Redis has answered for all channels and patterns.
func (o *outage) ended(of *inForce, what hub.Restored) {
	o.mu.Lock()
	was := o.outageState
	o.outageState = outageState{}
	o.mu.Unlock()
	if was.since.IsZero() {
		return // it was the first connection, at the first attempt
	}
	of.changed(zap.InfoLevel, "redis delivers again", append(was.away(), zap.Int("channels", what.Channels),
		zap.Int("patterns", what.Patterns), zap.Int("refused", what.Denied), zap.Int("gaps", what.Gaps))...)
	of.emit(eventHubRecovered, map[string]any{
		"away": inMilliseconds(time.Since(was.since)), "failed_attempts": was.attempts,
		"channels": what.Channels, "patterns": what.Patterns, "refused": what.Denied, "gaps": what.Gaps,
	})
}
