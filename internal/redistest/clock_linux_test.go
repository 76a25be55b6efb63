package redistest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestStepClock(t *testing.T) {
	s := StartWithClock(t)
	sub := subscribe(t, s, "c")
	for n, d := range []time.Duration{0, 5 * time.Second, -5 * time.Second, -250 * time.Millisecond, 36 * time.Hour, 0} {
		s.StepClock(d)
		mustBeOff(t, s, d)
		payload := fmt.Sprint(n)
		s.Publish("c", payload)
		if got := receive(t, sub); got != payload {
			t.Errorf("at %v: received %q, want %q", d, got, payload)
		}
	}
	s.StepClock(time.Minute)
	s.Restart()
	mustBeOff(t, s, time.Minute)
}

func TestStepClockOfAnother(t *testing.T) {
	s := Start(t)
	mustBeOff(t, s, 0)
	message := fatal(t, func(tb testing.TB) {
		s.t = tb
		s.StepClock(time.Second)
	})
	s.t = t
	if !strings.Contains(message, "StartWithClock") {
		t.Errorf("message %q", message)
	}
}

func mustBeOff(t *testing.T, s *Server, d time.Duration) {
	t.Helper()
	before := time.Now().Truncate(time.Microsecond)
	parts := s.Do("TIME").([]any)
	after := time.Now()
	seconds, _ := strconv.ParseInt(parts[0].(string), 10, 64)
	micros, _ := strconv.ParseInt(parts[1].(string), 10, 64)
	if at := time.Unix(seconds, micros*1000).Add(-d); at.Before(before) || at.After(after) {
		t.Errorf("at %v: TIME without it is %v, asked between %v and %v", d, at, before, after)
	}
}
