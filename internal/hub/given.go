package hub

import "sync/atomic"

// Cause says what gave messages up, as an operator would look for it: by the
// limit that did.
type Cause int

// The causes.
const (
	CauseMessages    Cause = iota // a channel had its number of messages, or of gap entries
	CauseChannelSize              // a channel had its bytes
	CauseTotalSize                // all channels had theirs
	CauseMaxAge                   // the message's time was over
	CauseLinger                   // nobody had used its channel for linger
	CauseRoom                     // its channel was given up whole to make room for others
	causes
)

// causeTexts name the causes, by the options where there is one.
var causeTexts = [causes]string{"messages", "channel_size", "total_size", "max_age", "linger", "room"}

// String returns what the cause is called in metrics.
func (c Cause) String() string { return causeTexts[c] }

// Causes returns all causes.
func Causes() []Cause {
	all := make([]Cause, causes)
	for i := range all {
		all[i] = Cause(i)
	}
	return all
}

// reason returns what is told to the clients that come back for single messages.
func (c Cause) reason() GapReason {
	if c == CauseMaxAge {
		return gapExpired
	}
	return gapEvicted
}

// givenUp counts the messages that buffers gave up and nobody has been told of.
type givenUp [causes]atomic.Int64

// TakeGivenUp calls with for each cause that has given messages up since
// TakeGivenUp ran last, with how many it were.
func (h *Hub) TakeGivenUp(with func(Cause, int64)) {
	for c := range h.usage.givenUp {
		if n := h.usage.givenUp[c].Swap(0); n > 0 {
			with(Cause(c), n)
		}
	}
}
