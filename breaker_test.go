package redissse

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// tripped is a breaker that has opened at the fifth failure.
type tripped struct {
	t *testing.T
	breaker
	of breakerSettings
}

var (
	errBreakerFailure = &publishError{verdict{reason: dropUnreachable, weight: weightFailure}, errors.New("down")}
	errBreakerRefusal = &publishError{verdict{reason: dropRejected, weight: weightSuccess}, errors.New("refused")}
	errBreakerNothing = &publishError{verdict{reason: dropCanceled, weight: weightNone}, errors.New("canceled")}
)

// try has one attempt come to err, and reports whether it was let through.
func (b *tripped) try(err error) (through bool) {
	_, _ = b.attempt(b.of, func() (int64, error) { through = true; return 0, err })
	return through
}

func (b *tripped) is(want gobreaker.State) {
	b.t.Helper()
	if got := b.state(); got != want {
		b.t.Errorf("the breaker is %v, want %v", got, want)
	}
}

// withTripped runs f in a bubble.
func withTripped(t *testing.T, f func(b *tripped)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &tripped{t: t, of: breakerSettings{5, time.Minute}}
		for range 4 {
			b.try(errBreakerFailure)
		}
		b.is(gobreaker.StateClosed)
		b.try(errBreakerFailure)
		b.is(gobreaker.StateOpen)
		f(b)
	})
}

func TestTheBreakerLetsOneAttemptThroughAfterItsTime(t *testing.T) {
	withTripped(t, func(b *tripped) {
		time.Sleep(time.Minute)
		if b.try(nil) {
			t.Error("an attempt is let through while it is open")
		}
		time.Sleep(time.Nanosecond)
		b.is(gobreaker.StateHalfOpen)
		_, err := b.attempt(b.of, func() (int64, error) {
			if b.try(nil) {
				t.Error("a second attempt is let through beside the first")
			}
			return 1, nil
		})
		if err != nil {
			t.Error(err)
		}
		b.is(gobreaker.StateClosed)
	})
}

func TestTheBreakerOpensAgainIfTheAttemptFails(t *testing.T) {
	withTripped(t, func(b *tripped) {
		time.Sleep(time.Minute + 1)
		b.try(errBreakerFailure)
		b.is(gobreaker.StateOpen)
		if left := b.openFor(); left != time.Minute {
			t.Errorf("it stays open for %v, want a minute again", left)
		}
	})
}

func TestTheBreakerIsHalfOpenAsSoonAsRedisIsProved(t *testing.T) {
	withTripped(t, func(b *tripped) {
		b.proved()
		b.is(gobreaker.StateHalfOpen)
		_, err := b.attempt(b.of, func() (int64, error) {
			b.is(gobreaker.StateHalfOpen)
			if b.try(nil) {
				t.Error("a second attempt is let through beside the first")
			}
			return 1, nil
		})
		if err != nil {
			t.Error(err)
		}
		b.is(gobreaker.StateClosed)
		// It counts anew.
		for range 4 {
			b.try(errBreakerFailure)
		}
		b.is(gobreaker.StateClosed)
	})
}

func TestAProofThatProvesWrongLeavesTheBreakerOpen(t *testing.T) {
	withTripped(t, func(b *tripped) {
		b.proved()
		b.try(errBreakerFailure)
		b.is(gobreaker.StateOpen)
		if b.try(nil) {
			t.Error("another attempt is let through without another proof")
		}
		b.proved()
		if !b.try(errBreakerRefusal) {
			t.Error("no attempt is let through after another proof")
		}
		b.is(gobreaker.StateClosed) // Redis has answered
	})
}

func TestAnAttemptThatFindsOutNothingLeavesTheBreakerHalfOpen(t *testing.T) {
	withTripped(t, func(b *tripped) {
		b.proved()
		b.try(errBreakerNothing)
		b.is(gobreaker.StateHalfOpen)
		if !b.try(nil) {
			t.Error("the next attempt is not let through")
		}
		b.is(gobreaker.StateClosed)
	})
}

func TestAProofOfAClosedBreakerChangesNothing(t *testing.T) {
	withTripped(t, func(b *tripped) {
		time.Sleep(time.Minute + 1)
		b.try(nil)
		b.proved() // from before it opens again
		for range 5 {
			b.try(errBreakerFailure)
		}
		b.is(gobreaker.StateOpen)
	})
}

func TestTheBreakerTellsOfEachStateOnce(t *testing.T) {
	withTripped(t, func(b *tripped) {
		core, logs := observer.New(zap.InfoLevel)
		of := &inForce{name: "default", events: newEvents()}
		of.logger.Store(zap.New(core))
		tell := func(want ...string) {
			t.Helper()
			b.tell(of)
			b.tell(of)
			var told []string
			for _, e := range logs.TakeAll() {
				told = append(told, e.Message)
			}
			if !slices.Equal(told, want) {
				t.Errorf("logged: %q, want %q", told, want)
			}
		}
		tell("publishing is suspended: redis fails")
		b.proved()
		tell("publishing is tried again")
		b.try(errBreakerFailure)
		tell("publishing is suspended: redis fails")
		b.try(nil) // it is let through no more
		time.Sleep(time.Minute + 1)
		tell("publishing is tried again")
		b.try(nil)
		tell("publishing works again")
		wantEvents(t, &of.events, "redis_sse_breaker_opened", map[string]any{"at_most": time.Minute, "error": "down"},
			"redis_sse_breaker_closed", map[string]any{"suspended": time.Minute, "refused": int64(1)})
	})
}

func TestOnlyFailuresOfRedisInARowOpenTheBreaker(t *testing.T) {
	for name, between := range map[string]error{"a success": nil, "an answer of redis": errBreakerRefusal} {
		t.Run(name, func(t *testing.T) {
			b := &tripped{t: t, of: breakerSettings{2, time.Minute}}
			for range 5 {
				b.try(errBreakerFailure)
				b.try(between)
			}
			b.is(gobreaker.StateClosed)
		})
	}
	t.Run("nothing", func(t *testing.T) {
		b := &tripped{t: t, of: breakerSettings{2, time.Minute}}
		b.try(errBreakerFailure)
		for range 5 {
			b.try(errBreakerNothing)
		}
		b.is(gobreaker.StateClosed)
		b.try(errBreakerFailure)
		b.is(gobreaker.StateOpen)
	})
}

func TestOtherSettingsMakeAnotherBreaker(t *testing.T) {
	withTripped(t, func(b *tripped) {
		b.of.failures = 1
		if !b.try(errBreakerFailure) {
			t.Error("it is still open")
		}
		b.is(gobreaker.StateOpen)
	})
}
