package outlet

import "hash/maphash"

// lanes is how many queues a rota has. Tasks are spread over them by their keys, so that
// one key in so many shares the lane of a crowded one.
const lanes = 64

// rota is whose turn it is: lanes that take turns, and in each lane whoever came first. The zero value is empty and ready.
type rota[S placed[S]] struct {
	ready [lanes]queue[S]
	busy  []uint8 // the lanes with somebody, by whose turn it is
}

// placed is what has a place in a rota: a pointer.
type placed[S any] interface {
	comparable
	spot() *place[S]
}

// place is a place in a rota.
type place[S any] struct {
	lane   uint8
	behind S
}

func laneOf(seed maphash.Seed, key string) uint8 { return uint8(maphash.String(seed, key) % lanes) }

func (r *rota[S]) empty() bool { return len(r.busy) == 0 }

// push puts s behind all in its lane. It must be in none.
func (r *rota[S]) push(s S) {
	lane := &r.ready[s.spot().lane]
	if lane.empty() {
		r.busy = append(r.busy, s.spot().lane)
	}
	lane.push(s)
}

// take takes out those whose turn it is, of one lane and so many at most, and appends them to turn. There must be
// somebody.
func (r *rota[S]) take(turn []S, most int) []S {
	lane := r.busy[0]
	r.busy = r.busy[:copy(r.busy, r.busy[1:])]
	q := &r.ready[lane]
	for n := 0; n < most && !q.empty(); n++ {
		turn = append(turn, q.pop())
	}
	if !q.empty() {
		r.busy = append(r.busy, lane)
	}
	return turn
}

// queue is a lane, in the order in which they came.
type queue[S placed[S]] struct{ first, last S }

func (q *queue[S]) empty() bool {
	var none S
	return q.first == none
}

func (q *queue[S]) push(s S) {
	if q.empty() {
		q.first = s
	} else {
		q.last.spot().behind = s
	}
	q.last = s
}

// pop takes out the first one. There must be one.
func (q *queue[S]) pop() S {
	s := q.first
	var none S
	q.first, s.spot().behind = s.spot().behind, none
	return s
}
