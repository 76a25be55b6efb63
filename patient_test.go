package redissse

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// patientPair is a connection whose reader is patient, and its other end.
func patientPair(t *testing.T, w *world) (conn, redis net.Conn) {
	here, there := net.Pipe()
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return patient(here, &w.hub.subscriber.pauses), there
}

func TestOnlyWhatHasASocketSeemsToHaveOne(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	for name, test := range map[string]struct {
		conn net.Conn
		has  bool
	}{
		"no socket": {here, false}, "a socket": {new(net.TCPConn), true},
		"no socket under TLS": {tls.Client(here, nil), false}, "a socket under TLS": {tls.Client(new(net.TCPConn), nil), true},
	} {
		if _, has := pooled(patient(test.conn, nil), time.Hour).(syscall.Conn); has != test.has {
			t.Errorf("%s: go-redis sees a socket: %v", name, has)
		}
	}
}

// ticking ticks on time, for a while.
func ticking(w *world, d time.Duration) {
	p := &w.hub.subscriber.pauses
	p.tick(p.now())
	for range d / tickInterval {
		time.Sleep(tickInterval)
		p.tick(p.now())
	}
}

// read reads once, and says what came, after how long.
func read(conn net.Conn) (got chan string, took chan time.Duration) {
	got, took = make(chan string, 1), make(chan time.Duration, 1)
	go func() {
		began, p := time.Now(), make([]byte, 8)
		n, err := conn.Read(p)
		if err != nil && isTimeout(err) {
			p, n = []byte("timeout"), len("timeout")
		}
		took <- time.Since(began)
		got <- string(p[:n])
	}()
	return got, took
}

func TestTimeInWhichTheProcessStoodStillIsNoTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		conn, redis := patientPair(t, w)
		ticking(w, time.Second)
		_ = conn.SetReadDeadline(time.Now().Add(commandTimeout))
		got, _ := read(conn)
		time.Sleep(time.Hour) // nobody ticks
		_, _ = redis.Write([]byte("answer"))
		if s := <-got; s != "answer" {
			t.Errorf("an answer to a process that stood still: %s", s)
		}
	})
}

func TestARedisThatIsSilentAfterAPauseTimesOut(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		conn, _ := patientPair(t, w)
		ticking(w, time.Second)
		_ = conn.SetReadDeadline(time.Now().Add(commandTimeout))
		got, took := read(conn)
		time.Sleep(time.Hour)
		ticking(w, 2*commandTimeout)
		if d := <-took - time.Hour; <-got != "timeout" || d > commandTimeout+2*tickInterval || d < commandTimeout-tickInterval {
			t.Errorf("timed out after %v of running time", d)
		}
	})
}

func TestATimeoutIsOnTimeWithoutAPause(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		conn, _ := patientPair(t, w)
		_ = conn.SetDeadline(time.Now().Add(commandTimeout))
		got, took := read(conn)
		ticking(w, 2*commandTimeout)
		if d := <-took; <-got != "timeout" || d > commandTimeout+2*lookAgain {
			t.Errorf("timed out after %v", d)
		}
	})
}

// The ticks end with the hub, but not the calls that are under way.
func TestATimeoutIsOnTimeOnceNobodyTicks(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		conn, _ := patientPair(t, w)
		ticking(w, time.Second)
		w.hub.subscriber.pauses.stop()
		_ = conn.SetDeadline(time.Now().Add(commandTimeout))
		got, took := read(conn)
		time.Sleep(time.Hour)
		if d := <-took; <-got != "timeout" || d > commandTimeout+2*lookAgain {
			t.Errorf("timed out after %v", d)
		}
	})
}

func TestWhatHasArrivedIsReadAfterItsDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		conn, redis := patientPair(t, w)
		go func() { _, _ = redis.Write([]byte("answer")) }()
		synctest.Wait() // it is there
		_ = conn.SetReadDeadline(time.Now().Add(-time.Second))
		if got, _ := read(conn); <-got != "answer" {
			t.Error("a deadline that has passed keeps from reading what is there")
		}
	})
}

func TestAReadWithoutADeadlineWaits(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		conn, redis := patientPair(t, w)
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_ = conn.SetReadDeadline(time.Time{})
		got, _ := read(conn)
		time.Sleep(time.Hour)
		_, _ = redis.Write([]byte("late"))
		if s := <-got; s != "late" {
			t.Errorf("got %s", s)
		}
	})
}

// A request that came before a pause waits for Redis's confirmation, which may have arrived meanwhile.
func TestOpenTimeoutCountsRunningTime(t *testing.T) {
	for name, confirms := range map[string]bool{"redis confirms": true, "redis does not": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				ticking(w, time.Second)
				wake := hub.NewWaiter()
				s, err := w.hub.memory.Open(0, []string{"a"}, nil, wake)
				if err != nil {
					t.Fatal(err)
				}
				began, done := time.Now(), make(chan time.Duration, 1)
				go func() {
					awaitSettled(s, wake, defaultOpenTimeout, &w.hub.subscriber.pauses)
					done <- time.Since(began)
				}()
				time.Sleep(time.Hour)
				if confirms {
					w.settled()
					if d := <-done; d != time.Hour || !s.Settled() {
						t.Errorf("opened after %v, settled: %v", d, s.Settled())
					}
					return
				}
				ticking(w, 2*defaultOpenTimeout)
				if d := <-done - time.Hour; d < defaultOpenTimeout-tickInterval || d > defaultOpenTimeout+2*tickInterval {
					t.Errorf("opened after %v of running time", d)
				}
			})
		})
	}
}
