package redissse

import (
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

// breaker has publishing fail at once while Redis fails: nobody waits for
// timeouts one after the other, and a Redis that comes back is not met by all
// that has waited. Safe for concurrent use.
//
// It opens at a number of failures in a row. It lets one attempt through, as
// it is half-open then, after a time or as soon as Redis is proved to be back;
// that one's success closes it.
type breaker struct {
	current atomic.Pointer[circuit]
	newest  atomic.Pointer[error] // failure of Redis
	refused atomic.Int64          // attempts, since it was told last that it closed

	told   atomic.Int32              // the state that was logged last
	opened atomic.Pointer[time.Time] // when it was told first that it is open; nil: it was told that it closed since
}

// circuit is a breaker with one configuration. gobreaker tells the time by
// itself only, hence what is here for an early end of the open state.
type circuit struct {
	*gobreaker.CircuitBreaker[int64]
	of    breakerSettings
	until atomic.Int64 // when the open state ends, Unix nanoseconds
	early atomic.Int32 // of the open state; it begins with earlyNothing
}

// What has come of an open circuit before its time is over.
const (
	earlyNothing int32 = iota
	earlyProved        // Redis is back: one attempt may try
	earlyTrying        // one does
)

// breakerSettings is when a breaker opens, and for how long at the most.
type breakerSettings struct {
	failures int
	reset    time.Duration
}

func newCircuit(of breakerSettings) *circuit {
	c := &circuit{of: of}
	c.CircuitBreaker = gobreaker.NewCircuitBreaker[int64](gobreaker.Settings{
		Timeout:      of.reset,
		ReadyToTrip:  func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= uint32(of.failures) },
		IsExcluded:   func(err error) bool { return err != nil && verdictOf(err).weight == weightNone },
		IsSuccessful: func(err error) bool { return err == nil || verdictOf(err).weight == weightSuccess },
		OnStateChange: func(_ string, _, to gobreaker.State) { // under gobreaker's lock
			if to == gobreaker.StateOpen {
				c.early.Store(earlyNothing)
				c.until.Store(time.Now().Add(of.reset).UnixNano())
			}
		},
	})
	return c
}

// circuit returns the current circuit, a new one if the settings have changed.
func (b *breaker) circuit(of breakerSettings) *circuit {
	for {
		c := b.current.Load()
		if c != nil && c.of == of {
			return c
		}
		if fresh := newCircuit(of); b.current.CompareAndSwap(c, fresh) {
			return fresh
		}
	}
}

// attempt runs f unless the breaker is open: then it returns
// gobreaker.ErrOpenState, or gobreaker.ErrTooManyRequests while another attempt
// finds out whether it can be closed.
func (b *breaker) attempt(of breakerSettings, f func() (int64, error)) (int64, error) {
	n, err := b.try(b.circuit(of), f)
	switch v := verdictOf(err); {
	case err == nil:
	case v.reason == dropOpen:
		b.refused.Add(1)
	case v.weight == weightFailure:
		b.newest.Store(&err)
	}
	return n, err
}

func (b *breaker) try(c *circuit, f func() (int64, error)) (int64, error) {
	if c.State() != gobreaker.StateOpen || !c.early.CompareAndSwap(earlyProved, earlyTrying) {
		return c.Execute(f)
	}
	n, err := f()
	switch {
	case err == nil || verdictOf(err).weight == weightSuccess:
		b.current.CompareAndSwap(c, newCircuit(c.of))
	case verdictOf(err).weight == weightNone:
		c.early.Store(earlyProved) // it has found out nothing
	default:
		c.early.Store(earlyNothing)
	}
	return n, err
}

// proved records that Redis does what it is asked for, again.
func (b *breaker) proved() {
	if c := b.current.Load(); c != nil {
		c.early.CompareAndSwap(earlyNothing, earlyProved)
	}
}

// state returns the state as metrics and logs have it.
func (b *breaker) state() gobreaker.State {
	c := b.current.Load()
	if c == nil {
		return gobreaker.StateClosed
	}
	state := c.State()
	if state == gobreaker.StateOpen && c.early.Load() != earlyNothing {
		return gobreaker.StateHalfOpen
	}
	return state
}

// openFor returns how long it stays open at most.
func (b *breaker) openFor() time.Duration {
	if c := b.current.Load(); c != nil {
		return time.Until(time.Unix(0, c.until.Load()))
	}
	return 0
}

// tell logs a change of the state, if there has been one since the last call. Events are
// for opening and closing only: that it lets an attempt through changes nothing yet.
func (b *breaker) tell(of *inForce) {
	state := b.state()
	if b.told.Swap(int32(state)) == int32(state) {
		return
	}
	switch state {
	case gobreaker.StateOpen:
		b.tellOpen(of)
	case gobreaker.StateHalfOpen:
		of.changed(zap.InfoLevel, "publishing is tried again")
	case gobreaker.StateClosed:
		b.tellClosed(of)
	}
}

func (b *breaker) tellOpen(of *inForce) {
	most, reason := max(0, b.openFor()), error(nil)
	if newest := b.newest.Load(); newest != nil {
		reason = *newest
	}
	of.changed(zap.WarnLevel, "publishing is suspended: redis fails", zap.Duration("at_most", most), zap.Error(reason))
	now := time.Now()
	if !b.opened.CompareAndSwap(nil, &now) {
		return // it was half-open
	}
	data := map[string]any{"at_most": inMilliseconds(most)}
	if reason != nil {
		data["error"] = causeOf(reason)
	}
	of.emit(eventBreakerOpened, data)
}

func (b *breaker) tellClosed(of *inForce) {
	opened, refused := b.opened.Swap(nil), b.refused.Swap(0)
	if opened == nil { // nobody was told
		of.changed(zap.InfoLevel, "publishing works again", zap.Int64("refused", refused))
		return
	}
	suspended := time.Since(*opened)
	of.changed(zap.InfoLevel, "publishing works again", zap.Duration("suspended", suspended), zap.Int64("refused", refused))
	of.emit(eventBreakerClosed, map[string]any{"suspended": inMilliseconds(suspended), "refused": refused})
}
