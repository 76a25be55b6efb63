package hub

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestClockTakesRedissTimeAndDropsSlowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		if c.Now() != 0 {
			t.Error("knows Redis's time before asking")
		}
		ask := func(ahead, trip time.Duration) func(context.Context) (time.Time, error) {
			return func(context.Context) (time.Time, error) {
				time.Sleep(trip / 2)
				answer := time.Now().Add(ahead)
				time.Sleep(trip / 2)
				return answer, nil
			}
		}
		if err := c.Measure(t.Context(), ask(time.Hour, 100*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		want := time.Now().Add(time.Hour).UnixMilli()
		if got := c.Now(); got != want {
			t.Errorf("now is %s, want %s", strconv.FormatInt(got, 10), strconv.FormatInt(want, 10))
		}
		if c.Measure(t.Context(), ask(0, time.Second)) == nil {
			t.Error("a slow answer was taken")
		}
		if c.Measure(t.Context(), func(context.Context) (time.Time, error) { return time.Time{}, errors.New("NOPERM") }) == nil {
			t.Error("a refusal was taken")
		}
		if got := c.Now(); got != want+1000 {
			t.Errorf("now is %d, want %d: the offset kept", got, want+1000)
		}
	})
}
