package redissse

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/redis-sse/caddy-redis-sse/internal/outlet"
)

// crew writes the shared streams of all hubs: what they share is the processors.
var crew = outlet.NewCrew()

// shared is the second life of a stream over a connection that has to be waited for, since what is
// written to it is framed or encrypted there: a crew writes it, while its request waits. All that ends it is the
// same as without, and so is its sink.
type shared struct {
	d     *delivery
	over  chan sharedEnd // of capacity 1
	ended bool           // the stream is its request's again, though it may be woken until that has given the berth up
}

// sharedEnd is how a shared stream has ended.
type sharedEnd struct {
	end endReason
	bug any // what it has panicked with; nil: it has not
}

// share has the crew write the stream to its end.
func (d *delivery) share() endReason {
	s := &shared{d: d, over: make(chan sharedEnd, 1)}
	d.outlet = true
	d.startBeat()
	berth := crew.Join(s, d.lane())
	defer berth.Leave()
	d.wake.Divert(berth)
	over := <-s.over
	if over.bug != nil {
		panic(over.bug) // for the server, as if it had been the request's goroutine
	}
	return over.end
}

// Do is the stream's turn.
func (s *shared) Do() {
	if s.ended {
		return
	}
	if end, over := s.d.step(s.d.wake.Take()); over {
		s.ends(sharedEnd{end: end})
	}
}

// Panicked has the request's goroutine panic.
func (s *shared) Panicked(value any, stack []byte) { s.ends(sharedEnd{bug: bugOf(value, stack)}) }

// ends hands the stream back to its request.
func (s *shared) ends(over sharedEnd) {
	s.ended = true
	s.over <- over
}

// elsewhere does it on a goroutine of its own, and panics with what that panics with. Go does not take back what
// a stack has grown to while the goroutine is deep in it, as those of requests are in Caddy's handlers: opening a
// stream and writing there would leave each with 16 KiB instead of 8.
func elsewhere(do func()) {
	over := make(chan any, 1)
	go func() {
		defer func() {
			value := recover()
			if value != nil {
				value = bugOf(value, debug.Stack())
			}
			over <- value
		}()
		do()
	}()
	if bug := <-over; bug != nil {
		panic(bug)
	}
}

// bugOf returns what to panic with in another goroutine than the one that has panicked, whose stack would be lost. The server
// knows one value.
func bugOf(value any, stack []byte) any {
	if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		return value
	}
	return fmt.Sprintf("%v\n%s", value, stack)
}
