package redissse

import "runtime"

// A crowd that comes back with its cursors, after a deploy or an outage, has far
// more to be written than what is published meanwhile, and to those who are live
// each millisecond counts. So a stream that is behind takes a turn for each batch:
// few of them are at work at any time, and a stream that has just been woken
// finds a processor. (1,000 clients that were 10,000 messages behind put off
// live ones by seconds before.)

// turns let some streams at a time do something. Those that wait go in the order
// in which they came.
type turns chan struct{}

// replayTurns are for the streams of all hubs: what they share is the processors,
// of which replays leave half, and one at least, to others. A stream holds its turn
// for some tens of microseconds, never while it writes to a client.
var replayTurns = make(turns, max(1, runtime.GOMAXPROCS(0)/2))

// take does it in its turn.
func (t turns) take(do func()) {
	t <- struct{}{}
	defer func() { <-t }()
	do()
}
