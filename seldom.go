package redissse

import (
	"sync"
	"time"
)

// seldomEvery is how often at most something is logged that any client can bring
// about as often as it likes.
const seldomEvery = 30 * time.Second

// seldom has a line logged now and then. The zero value is ready. Safe for concurrent
// use.
type seldom struct {
	mu   sync.Mutex
	at   time.Time // of the newest line
	held int       // what was not logged since
}

// now reports whether to log, and how many were held back since the last time.
func (s *seldom) now() (heldBack int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.at.IsZero() && time.Since(s.at) < seldomEvery {
		s.held++
		return 0, false
	}
	heldBack, s.at, s.held = s.held, time.Now(), 0
	return heldBack, true
}
