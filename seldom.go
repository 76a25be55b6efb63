package redissse

import (
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// seldomEvery is how often at most something is logged that any client can bring
// about as often as it likes.
const seldomEvery = time.Minute

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

// warn logs a warning now and then, with how many were held back. Those are in the
// log, too, if its level is debug.
func (s *seldom) warn(log *zap.Logger, text string, fields ...zap.Field) {
	if heldBack, due := s.now(); due {
		log.Warn(text, append(fields, zap.Int("held_back", heldBack))...)
		return
	}
	log.Debug(text, fields...)
}

// shortened returns the beginning of a text that clients may have chosen, of at most so
// many bytes, and dots if there is more.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}
