// Package hub is what a hub remembers of one Redis, and what streams read of it.
// It talks neither to Redis nor to clients: whoever reads from Redis tells it what
// Redis said ([Hub.Receive], [Replies], [Hub.Lost]), whoever serves a client opens
// a [Stream] and writes what that reads.
//
// # The contract
//
// A hub gives each message, and each event that may have lost some, a number: its
// seq. One goroutine, the reader, gives them out, one after the other; seqs are
// never reused. For each channel there is a buffer, and for each pattern an index
// of the messages of all channels that it covers. Both are timelines: messages and
// gap entries in the order of their seqs, above a floor.
//
//	order   All streams see the messages of one channel in the order in which
//	        Redis sent them, and those of several channels in the order of seqs.
//	floor   A timeline with the floor F holds every message with a seq above F
//	        that Redis handed over. The first confirmation of a subscription
//	        sets F, evicting a message raises F to that message's seq.
//	gap     A gap entry with the seq g says: between the last time that the
//	        timeline was complete and g, Redis may have published more.
//	cursor  A stream at the cursor c has been sent all that its timelines hold up
//	        to c, or a gap instead. A cursor c is exact for a timeline if c >= F
//	        and no gap entry lies between c and the head.
//	id      A cursor in text: <ms>-<seq>-<epoch>-<anchor>. In the epoch, one life
//	        of one hub, seq is the place. Elsewhere the place is found by the
//	        anchor, a hash of the last payloads, or else by ms: all that was
//	        published before ms, in Redis's clock, has been sent. Behind it
//	        stands -e if the client has an answer up to its end.
//
// So a stream that resumes at a cursor gets every message after it once and in
// order, or a gap stands where some may be missing: for a cursor below the floor,
// for each gap entry after the cursor, for a channel that Redis denies, and for an
// id that means nothing here.
//
// # In one picture
//
//	             floor                                          head
//	seq  ... 40    41    42    43    44    45    46    47    48    49
//	a         x     x     m           m          gap    m
//	b                           m           m                 m     m
//	                            ^
//	                            a stream of a and b with the cursor 43
//
// Channel a gave up what came up to 41, and had an outage that ended at 46. The
// stream will be sent a44, b45, a gap of a, a47, b48 and b49, in one read if its
// client keeps up. A client that comes back with the cursor 40 is sent a gap of a
// first ("evicted"), then a42, b43 and so on. A stream that lags has no queue of
// its own: it is a cursor and nothing else, so it delays nobody.
//
// # Invariants
//
// Each stands on the field that it binds, as a line that begins with "Invariant".
// With the race detector on, each operation checks those of what it touched (see
// check.go), and random histories check all after each step. The rules as they
// play out are in testdata: each file is a transcript that a test plays.
//
// # Locks
//
// Hub.mu comes before a buffer's lock, that before a pattern's. No I/O, no logging
// and no callback under any of them. The seqs are the reader's alone: it appends,
// then publishes the head, then wakes the streams.
package hub
