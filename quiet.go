package redissse

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// Quiet ends streams whose answer has stopped without an end: whoever writes it has
// died, or its end was published while Redis was away.
type Quiet struct {
	// For how long a stream gets no message before it ends, 1s to 1h. It begins anew with
	// each message or gap, and once Redis is back. Models that think are silent for
	// minutes: 2m or more, or publish a part that means nothing. Required.
	After caddy.Duration `json:"after"`

	// What the client is told, in the words of its protocol: one event, with the name and
	// the data that a message with this payload would have, and without an id. At most
	// 16 KiB, in which nothing is replaced. The response then ends properly. Default: none,
	// and the stream is cut
	Data string `json:"data,omitempty"`
}

// The least is what a message may take on its way in bad times; the most is longer than
// anybody waits for.
const (
	minQuiet = time.Second
	maxQuiet = time.Hour
	// maxQuietData bounds the data, in bytes, as that of gaps is: more is no message of a
	// protocol.
	maxQuietData = 16 << 10
)

// check checks the configuration, if there is one. hasEnd says whether streams have an
// end to come to.
func (q *Quiet) check(hasEnd bool) error {
	switch {
	case q == nil:
		return nil
	case !hasEnd:
		return errors.New("quiet needs end: a stream that has no end to come to may be silent for as long as it likes")
	case len(q.Data) > maxQuietData:
		return fmt.Errorf("quiet has data of %d bytes, at most %d are allowed", len(q.Data), maxQuietData)
	case strings.Contains(q.Data, "{gap"):
		return fmt.Errorf("quiet has the data %q: nothing is replaced in it, and no gap is told of", q.Data)
	case q.Data != "" && strings.TrimSpace(q.Data) == "":
		return errors.New("quiet has data that is empty: without any the stream is cut")
	}
	// 0 is no default, as it is elsewhere: it is as wrong as what is just above it.
	return inRange("quiet", max(q.After, 1), 0, minQuiet, maxQuiet, new(time.Duration))
}

// says reports whether a stream that was quiet for too long ends with an event.
func (q *Quiet) says() bool { return q != nil && q.Data != "" }

// silence is for how long a stream has got nothing. Nil: nobody looks. It is the
// stream's goroutine's alone.
type silence struct {
	*Quiet
	stream *hub.Stream
	stood  *pauses
	timer  *time.Timer
	since  int64 // when the newest message or gap was written, milliseconds of the clock of stood
	early  bool  // Redis has not confirmed (or denied) the channel yet since the stream opened
}

// watch has the stream signalled once it may have been quiet for too long.
func (q *Quiet) watch(s *hub.Stream, wake *hub.Waiter, stood *pauses) *silence {
	if q == nil {
		return nil
	}
	timer := time.AfterFunc(time.Duration(q.After), func() { wake.Signal(signalQuiet) })
	return &silence{Quiet: q, stream: s, stood: stood, timer: timer, since: stood.now(), early: !s.Settled()}
}

func (s *silence) stop() {
	if s != nil {
		s.timer.Stop()
	}
}

// brokenAt is called when something was written at a time. That costs a store: the timer
// goes on, and the time is looked at when it has run out.
func (s *silence) brokenAt(now int64) {
	if s != nil {
		s.since = now
	}
}

// tooLong reports whether the stream has been quiet for too long. It has been signalled;
// timed says whether by the timer.
//
// While Redis has not confirmed the channel nothing could have come. Its confirmation
// after an outage is told by a gap, from which on time counts. The first one may be told
// by nothing.
func (s *silence) tooLong(timed bool) bool {
	if s == nil || !timed && !s.early {
		return false
	}
	here, left := s.stream.Settled(), time.Duration(s.After)
	if here && !s.early {
		left -= time.Duration(s.stood.ran(s.since, s.stood.now())) * time.Millisecond
	}
	s.early = s.early && !here
	if left <= 0 {
		return true
	}
	s.timer.Reset(left)
	return false
}
