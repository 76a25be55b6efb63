package redissse

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// lateConn is the server's own writer of a response over HTTP/2. It keeps the deadlines that it was given; one that
// has passed resets the stream.
type lateConn struct {
	discard
	mu        sync.Mutex
	deadlines []time.Time
	reset     chan struct{} // closed then
	resetAt   time.Time
	stalled   bool // takes nothing
}

func newLateConn() *lateConn { return &lateConn{reset: make(chan struct{})} }

func (c *lateConn) Header() http.Header { return http.Header{} }

func (c *lateConn) SetWriteDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadlines = append(c.deadlines, at)
	if !at.IsZero() && !at.After(time.Now()) && c.resetAt.IsZero() {
		c.resetAt = time.Now()
		close(c.reset)
	}
	return nil
}

func (c *lateConn) Write(p []byte) (int, error) {
	if c.stalled {
		<-c.reset
		return 0, fmt.Errorf("writing: %w", os.ErrDeadlineExceeded)
	}
	return len(p), nil
}

// got returns the deadlines that the connection has been given.
func (c *lateConn) got() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.deadlines)
}

// wasReset returns when the stream was reset, zero if it was not.
func (c *lateConn) wasReset() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resetAt
}

// lateStall is the stall_timeout here.
const lateStall = 10 * time.Second

// lateRequest is a request over an HTTP version, with a writer for its answer: Caddy's own on c if caddys, which the server
// has given a hard deadline unless that is zero.
func lateRequest(ctx context.Context, c *lateConn, major int, caddys bool, hard time.Time) (http.ResponseWriter, *http.Request) {
	r := newStreamRequest(ctx)
	r.ProtoMajor = major
	if !caddys {
		return c, r
	}
	idle := &caddyhttp.IdleTimeoutWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: c},
		Ctrl:                  http.NewResponseController(c), ClearBetweenWrites: major == 2, Logger: zap.NewNop(),
		Deadline: caddyhttp.IdleDeadline{Start: time.Now(), Timeout: time.Minute, MinRate: 1 << 30, HardDeadline: hard},
	}
	return idle, r.WithContext(caddyhttp.ContextWithIdleTimeouts(ctx, nil, idle))
}

// lateSinks runs a test of sinks over HTTP/2, of both kinds.
func lateSinks(t *testing.T, test func(t *testing.T, c *lateConn, s *responseSink)) {
	t.Helper()
	for _, caddys := range []bool{true, false} {
		t.Run(fmt.Sprintf("caddys writer %t", caddys), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newLateConn()
				w, r := lateRequest(t.Context(), c, 2, caddys, time.Time{})
				test(t, c, newResponseSink(w, r, lateStall))
			})
		})
	}
}

var lateBytes = []byte("data: \n\n")

// lateEvent writes one event.
func lateEvent(s *responseSink) error {
	if err := s.write(lateBytes); err != nil {
		return err
	}
	return s.flush()
}

func TestOverHTTP2AConnectionHearsOfNoDeadlineThatWasKept(t *testing.T) {
	lateSinks(t, func(t *testing.T, c *lateConn, s *responseSink) {
		for i := range 200 {
			if err := lateEvent(s); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(i) * lateStall / 100)
		}
		s.giveUp()
		time.Sleep(time.Hour)
		if got := c.got(); len(got) > 0 {
			t.Errorf("the connection was given %d deadlines: %v", len(got), got)
		}
	})
}

func TestOverHTTP2AWriteThatStallsEndsAtItsDeadline(t *testing.T) {
	lateSinks(t, func(t *testing.T, c *lateConn, s *responseSink) {
		for range 3 {
			if err := lateEvent(s); err != nil {
				t.Fatal(err)
			}
			time.Sleep(lateStall * 2 / 3)
		}
		c.stalled = true
		began := time.Now()
		if err := lateEvent(s); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the write ends with %v", err)
		}
		if took := time.Since(began); took != lateStall {
			t.Errorf("it took %v, want %v", took, lateStall)
		}
		s.giveUp()
		if got := c.got(); len(got) != 1 {
			t.Errorf("the connection was given %v, want one deadline", got)
		}
	})
}

// A deadline that is set, moved and taken back at random is passed on exactly if its time comes while it is in force, however late or
// often the timer fires.
func TestALateDeadlineIsPassedOnExactlyIfItsTimeComes(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			random, c := rand.New(rand.NewPCG(seed, 0)), newLateConn()
			d := newLateDeadline(c, http.NewResponseController(c))
			defer d.end()
			at := time.Time{} // the deadline in force
			for step := range 100 {
				switch random.IntN(4) {
				case 0:
					at = time.Now().Add(time.Duration(1+random.IntN(20)) * time.Second)
					_ = d.SetWriteDeadline(at)
				case 1:
					at = time.Time{}
					_ = d.SetWriteDeadline(at)
				case 2:
					d.fire() // of a timer that has been moved just too late to stop it
				case 3:
					time.Sleep(time.Duration(random.IntN(9000)) * time.Millisecond)
				}
				synctest.Wait()
				reset := c.wasReset()
				if due := !at.IsZero() && !at.After(time.Now()); due == reset.IsZero() {
					t.Fatalf("seed %d, step %d, at %v: the deadline is %v, and the stream was reset at %v", seed, step, time.Now(), at, reset)
				}
				if !reset.IsZero() {
					if !reset.Equal(at) {
						t.Errorf("seed %d: the deadline was %v, and was passed on at %v", seed, at, reset)
					}
					return
				}
			}
		})
	}
}

func TestADeadlineThatHasPassedAlreadyIsPassedOnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLateConn()
		d := newLateDeadline(c, http.NewResponseController(c))
		_ = d.SetWriteDeadline(time.Now().Add(time.Second))
		_ = d.SetWriteDeadline(time.Now())
		if got := c.got(); len(got) != 1 || !c.wasReset().Equal(time.Now()) {
			t.Errorf("the connection was given %v", got)
		}
		d.end()
		time.Sleep(time.Hour)
		if got := c.got(); len(got) != 1 {
			t.Errorf("then the connection was given %v", got)
		}
	})
}

// The server's write_timeout: a time at which the response ends, whatever it does.
func TestOverHTTP2AHardDeadlineOfTheServerHolds(t *testing.T) {
	for name, over := range map[string]bool{"in the middle": false, "behind the handler": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hard, c := time.Now().Add(time.Minute), newLateConn()
				w, r := lateRequest(t.Context(), c, 2, true, hard)
				s := newResponseSink(w, r, lateStall)
				if err := lateEvent(s); err != nil {
					t.Fatal(err)
				}
				if over {
					s.giveUp()
					if got := c.got(); len(got) != 1 || !got[0].Equal(hard) {
						t.Errorf("the connection was given %v, want %v", got, hard)
					}
					return
				}
				<-c.reset
				if !c.wasReset().Equal(hard) {
					t.Errorf("an idle stream ended at %v, want %v", c.wasReset(), hard)
				}
				s.giveUp()
			})
		})
	}
}

// What has not been flushed is written behind the handler, to a client that may take nothing.
func TestOverHTTP2TheEndOfAResponseHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLateConn()
		w, r := lateRequest(t.Context(), c, 2, true, time.Time{})
		s := newResponseSink(w, r, lateStall)
		if err := s.write([]byte("data: not flushed")); err != nil {
			t.Fatal(err)
		}
		s.giveUp()
		w.(*caddyhttp.IdleTimeoutWriter).HandlerDone()
		if got := c.got(); len(got) != 1 || time.Until(got[0]) != lateStall {
			t.Errorf("the connection was given %v, want a deadline %v from now", got, lateStall)
		}
	})
}

// The other protocols look at a deadline only when they write, and it costs them little.
func TestOtherProtocolsHaveTheDeadlineOfEachWrite(t *testing.T) {
	for _, major := range []int{1, 3} {
		for _, caddys := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				c := newLateConn()
				w, r := lateRequest(t.Context(), c, major, caddys, time.Time{})
				s := newResponseSink(w, r, lateStall)
				if err := lateEvent(s); err != nil {
					t.Fatal(err)
				}
				s.giveUp()
				if got := c.got(); len(got) < 2 || time.Until(got[0]) != lateStall {
					t.Errorf("HTTP/%d, Caddy's writer %t: the connection was given %v", major, caddys, got)
				}
			})
		}
	}
}

// behindTheHandler is a connection that must not be touched once the handler has returned: net/http panics.
type behindTheHandler struct {
	discard
	entered  chan struct{}
	returned bool // of the handler; no lock, which the race detector looks at
	touched  bool
}

func (c *behindTheHandler) SetWriteDeadline(time.Time) error {
	c.entered <- struct{}{}
	time.Sleep(time.Millisecond) // for a handler that does not wait to return meanwhile
	c.touched = c.returned
	return nil
}

func TestNoDeadlineIsPassedOnBehindTheHandler(t *testing.T) {
	for range 20 {
		c := &behindTheHandler{entered: make(chan struct{}, 2)}
		d := newLateDeadline(c, http.NewResponseController(c))
		_ = d.SetWriteDeadline(time.Now().Add(time.Millisecond))
		<-c.entered
		d.end()
		c.returned = true
		if c.touched {
			t.Fatal("the connection was given a deadline behind the handler")
		}
	}
}

// Once a stream is over, Caddy's writer is as it was: it outlives the stream.
func TestAStreamOverHTTP2GivesCaddysWriterBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}})
		c := newLateConn()
		ctx, cancel := context.WithCancel(t.Context())
		writer, r := lateRequest(ctx, c, 2, true, time.Time{})
		idle := writer.(*caddyhttp.IdleTimeoutWriter)
		control := idle.Ctrl
		ended := make(chan error)
		go func() { ended <- h.ServeHTTP(writer, r, nil) }()
		w.settled()
		w.publish("a")
		w.settled()
		if idle.Ctrl == control || len(c.got()) > 0 {
			t.Errorf("the stream's deadlines are the connection's: %v", c.got())
		}
		cancel()
		if err := <-ended; err != nil || idle.Ctrl != control {
			t.Errorf("the stream ended with %v, its deadlines given back: %t", err, idle.Ctrl == control)
		}
	})
}

func TestAnEventOverHTTP2AllocatesNothing(t *testing.T) {
	c := newLateConn()
	w, r := lateRequest(t.Context(), c, 2, true, time.Time{})
	s := newResponseSink(w, r, time.Hour)
	defer s.giveUp()
	if n := testing.AllocsPerRun(100, func() {
		if err := lateEvent(s); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for each event", n)
	}
}
