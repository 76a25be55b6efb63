package redissse

import (
	"testing"
	"testing/synctest"
	"time"
)

// data are the payloads that a client has.
func (s *served) data() (payloads []string) {
	_, events := s.parsed()
	for _, e := range events {
		if e.Type == "message" {
			payloads = append(payloads, e.Data)
		}
	}
	return payloads
}

// Streams that are behind wait for each other; those that are live wait for nobody.
func TestReplaysTakeTurns(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		live := w.handler(t, &Handler{Channels: []string{"a"}})
		replay := w.handler(t, &Handler{Channels: []string{"a"}, From: "start"})
		live.turns, replay.turns = make(turns, 1), make(turns, 1)
		first := serve(t, live)
		w.settled()
		const n = 1000 // several batches
		for range n {
			w.publish("a")
		}
		w.settled()
		replay.turns <- struct{}{} // others are at it
		behind := serveMany(t, replay, 2)
		w.settled()
		w.publish("a")
		w.settled()
		if got := len(first.data()); got != n+1 {
			t.Errorf("the live stream has %d messages, want %d", got, n+1)
		}
		for _, s := range behind {
			if got := s.data(); len(got) != 0 {
				t.Errorf("a stream that is behind has %d messages without a turn", len(got))
			}
		}
		<-replay.turns
		synctest.Wait()
		for _, s := range behind {
			if got := len(s.data()); got != n+1 {
				t.Errorf("a stream has %d messages after its turns, want %d", got, n+1)
			}
		}
		w.publish("a")
		w.settled()
		for _, s := range append(behind, first) {
			if got := len(s.data()); got != n+2 {
				t.Errorf("a stream has %d messages, want %d", got, n+2)
			}
			s.cancel()
			<-s.ended
		}
	})
}

// A client that takes nothing holds up no other one's replay: nobody has a turn while it writes.
func TestAReplayThatStallsHoldsNoTurn(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, From: "start"})
		h.turns = make(turns, 1)
		keeps := serve(t, h)
		w.settled()
		for range 1000 {
			w.publish("a")
		}
		w.settled()
		slow := &served{tape: tape{pause: time.Second}}
		startServing(t, h, slow)
		synctest.Wait()
		quick := serve(t, h)
		synctest.Wait()
		if got := len(quick.data()); got != 1000 {
			t.Errorf("a client that takes all has %d messages beside one that takes nothing", got)
		}
		for _, s := range []*served{keeps, quick, slow} {
			s.cancel()
			<-s.ended
		}
	})
}
