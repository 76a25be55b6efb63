package redissse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// presenceWorld is what keeps presence keys, with a Redis that the test plays. It is for synctest.
type presenceWorld struct {
	*presenceKeys
	logs *observer.ObservedLogs

	// What follows is the test's while the writer waits, and the writer's while the test does. turn has the race detector know.
	turn  sync.Mutex
	away  bool             // Redis does not answer
	fails error            // what each write comes to, unless
	says  map[string]error // what becomes of one key
	hold  chan error       // a write waits for what it comes to; nil: none does
	wrote map[string]int   // how often each key was set
	ttls  map[string]time.Duration
	tries int // pipelines
	most  int // keys of the largest
}

// playPresence runs the writer until the test ends it.
func playPresence(t *testing.T, play func(w *presenceWorld)) {
	synctest.Test(t, func(t *testing.T) {
		f := &inForce{name: "played"}
		core, logs := observer.New(zap.DebugLevel)
		f.logger.Store(zap.New(core))
		w := &presenceWorld{presenceKeys: newPresenceKeys(f), logs: logs, says: map[string]error{}, wrote: map[string]int{}, ttls: map[string]time.Duration{}}
		w.answers = func() bool {
			w.takeTurn()
			return !w.away
		}
		w.write = w.set
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.run(ctx)
		}()
		play(w)
		stop()
		<-ended
	})
}

// set is what the played Redis does with a pipeline.
func (w *presenceWorld) set(_ context.Context, batch []presenceSet) []error {
	w.takeTurn()
	w.tries++
	w.most = max(w.most, len(batch))
	fails := w.fails
	if w.hold != nil {
		fails = <-w.hold
	}
	errs := make([]error, len(batch))
	for i, set := range batch {
		if errs[i] = errors.Join(fails, w.says[set.name]); errs[i] != nil {
			continue
		}
		w.wrote[set.name]++
		w.ttls[set.name] = set.ttl
	}
	return errs
}

// release has the write that is held come to err, and none be held from then on.
func (w *presenceWorld) release(err error) {
	hold := w.hold
	w.hold = nil
	hold <- err
}

func (w *presenceWorld) takeTurn() {
	w.turn.Lock()
	defer w.turn.Unlock()
}

// pass lets time pass, and the writer do what is due then.
func (w *presenceWorld) pass(d time.Duration) {
	w.takeTurn()
	time.Sleep(d)
	synctest.Wait()
}

// total is how many keys were set in all.
func (w *presenceWorld) total() (n int) {
	for _, times := range w.wrote {
		n += times
	}
	return n
}

// want compares how often a key was set.
func (w *presenceWorld) want(t *testing.T, key string, times int) {
	t.Helper()
	if w.wrote[key] != times {
		t.Errorf("%s was set %d times, want %d", key, w.wrote[key], times)
	}
}

func (w *presenceWorld) lines(text string) int { return w.logs.FilterMessage(text).Len() }

const (
	presenceRefused = "redis refuses a presence key: who asks for it finds nobody listening"
	presenceAgain   = "redis takes presence keys again"
	ttl             = 30 * time.Second
)

// errNoPerm is what Redis's ACL says.
var errNoPerm = rejection("NOPERM this user has no permissions to run the 'set' command")

func TestAKeyIsWrittenAtOnceAndEveryThirdWhateverItsStreams(t *testing.T) {
	playPresence(t, func(w *presenceWorld) {
		a := w.join("a", ttl)
		w.pass(0)
		w.want(t, "a", 1)
		again := w.join("a", ttl)
		w.pass(ttl/3 - 1)
		w.want(t, "a", 1)
		w.pass(1)
		w.want(t, "a", 2)
		w.leave(a, ttl)
		w.pass(ttl)
		w.want(t, "a", 5)
		w.leave(again, ttl)
		w.pass(time.Hour)
		w.want(t, "a", 5)
		if len(w.keys) != 0 || len(w.queue) != 0 {
			t.Errorf("%d keys are held, %d are queued", len(w.keys), len(w.queue))
		}
		w.join("a", ttl)
		w.pass(0)
		w.want(t, "a", 6)
	})
}

func TestTenThousandChannelsAreAsManyKeysEachThirdInChunks(t *testing.T) {
	const channels, thirds = 10_000, 6
	playPresence(t, func(w *presenceWorld) {
		for i := range channels {
			w.join(fmt.Sprint("listening:", i), ttl)
			w.pass(time.Millisecond)
		}
		before := w.total()
		w.pass(thirds * ttl / 3)
		if n := w.total() - before; n != thirds*channels {
			t.Errorf("%d keys were set in %v, want %d", n, thirds*ttl/3, thirds*channels)
		}
		w.live() // from here on all are due together
		w.pass(0)
		before, w.tries = w.total(), 0
		w.pass(ttl / 3)
		if n := w.total() - before; n != channels || w.most != presenceChunk || w.tries != (channels+presenceChunk-1)/presenceChunk {
			t.Errorf("%d keys were set by %d pipelines of at most %d", n, w.tries, w.most)
		}
		if n := w.kept(); n != channels {
			t.Errorf("%d keys are kept", n)
		}
	})
}

func TestNothingAddsUpWhileRedisIsAwayAndAllIsWrittenWhenItIsBack(t *testing.T) {
	playPresence(t, func(w *presenceWorld) {
		w.join("before", ttl)
		w.pass(0)
		w.away, w.tries = true, 0
		gone := w.join("gone", ttl)
		w.join("meanwhile", ttl)
		w.pass(time.Hour)
		w.leave(gone, ttl)
		if w.tries != 0 || len(w.queue) != 2 || w.kept() != 0 {
			t.Errorf("%d tries, %d keys are queued, %d kept", w.tries, len(w.queue), w.kept())
		}
		w.away = false
		w.live()
		w.pass(0)
		w.want(t, "before", 2)
		w.want(t, "meanwhile", 1)
		w.want(t, "gone", 0)
		if w.tries != 1 || w.kept() != 2 {
			t.Errorf("%d tries, %d keys are kept", w.tries, w.kept())
		}
		w.live() // another server, of which nothing was noticed
		w.pass(0)
		w.want(t, "before", 3)
	})
}

func TestAConnectionThatFailsIsTriedOnceASecondWhoeverComes(t *testing.T) {
	playPresence(t, func(w *presenceWorld) {
		w.fails = errors.New("the network")
		for i := range 95 {
			w.join(fmt.Sprint(i), ttl)
			w.pass(100 * time.Millisecond)
		}
		if w.tries != 10 {
			t.Errorf("%d tries in 10s", w.tries)
		}
		w.fails = nil
		w.pass(presenceRetry)
		if w.total() != 95 || w.tries != 11 {
			t.Errorf("%d keys were set, after %d tries", w.total(), w.tries)
		}
		if w.lines(presenceRefused)+w.lines(presenceAgain) != 0 || w.lines("writing presence keys failed") != 10 {
			t.Errorf("the log has %v", w.logs.All())
		}
	})
}

func TestARefusalIsToldOnceAndSoIsItsEnd(t *testing.T) {
	playPresence(t, func(w *presenceWorld) {
		w.says["b"], w.says["c"] = errNoPerm, errNoPerm
		w.join("a", ttl)
		w.join("b", ttl)
		w.join("c", ttl)
		w.pass(10 * ttl)
		if w.lines(presenceRefused) != 1 || w.lines(presenceAgain) != 0 || w.kept() != 1 {
			t.Errorf("%d keys are kept, the log has %v", w.kept(), w.logs.All())
		}
		if context := w.logs.All()[0].ContextMap(); context["key"] != "b" || context["hub"] != "played" {
			t.Errorf("the warning has %v", context)
		}
		clear(w.says)
		w.pass(ttl / 3)
		if w.lines(presenceRefused) != 1 || w.lines(presenceAgain) != 1 || w.kept() != 3 {
			t.Errorf("%d keys are kept, the log has %v", w.kept(), w.logs.All())
		}
		w.says["a"] = errNoPerm
		w.pass(ttl)
		if w.lines(presenceRefused) != 2 || w.lines(presenceAgain) != 1 {
			t.Errorf("the log has %v", w.logs.All())
		}
	})
}

// TestAKeyThatIsRefusedIsTriedAgainInTime: one that is to be there for long after half a minute, another one when it would be
// written anyway, so that a refusal which passes has no key expire.
func TestAKeyThatIsRefusedIsTriedAgainInTime(t *testing.T) {
	for _, test := range []struct{ ttl, after time.Duration }{
		{minPresenceTTL, time.Second}, {ttl, 10 * time.Second}, {maxPresenceTTL, presenceRefusedRetry},
	} {
		playPresence(t, func(w *presenceWorld) {
			w.says["a"] = rejection("OOM command not allowed when used memory > 'maxmemory'")
			w.join("a", test.ttl)
			w.pass(0)
			clear(w.says)
			w.pass(test.after - 1)
			w.want(t, "a", 0)
			w.pass(1)
			w.want(t, "a", 1)
		})
	}
}

func TestARefusalOfTheServerBeforeDoesNotPutOffWhatTheNewOneIsTold(t *testing.T) {
	for name, err := range map[string]error{"refused": rejection("READONLY"), "failed": errors.New("closed")} {
		t.Run(name, func(t *testing.T) {
			playPresence(t, func(w *presenceWorld) {
				w.hold = make(chan error)
				w.join("a", maxPresenceTTL)
				w.pass(0)
				w.live()
				w.release(err)
				w.pass(0)
				w.want(t, "a", 1)
			})
		})
	}
}

func TestOneKeyOfSeveralTTLsHasTheLongest(t *testing.T) {
	const long = 10 * time.Minute
	playPresence(t, func(w *presenceWorld) {
		short := w.join("a", ttl)
		w.pass(0)
		longer := w.join("a", long)
		w.join("a", ttl)
		w.pass(0)
		w.want(t, "a", 2)
		if w.ttls["a"] != long {
			t.Errorf("the key was set for %v", w.ttls["a"])
		}
		w.leave(short, ttl)
		w.pass(long / 3)
		w.want(t, "a", 3)
		w.leave(longer, long)
		w.pass(long/3 + ttl)
		w.want(t, "a", 7) // when it was due anyway, and from then on by its own time
		if w.ttls["a"] != ttl {
			t.Errorf("the key was set for %v", w.ttls["a"])
		}
	})
}

func TestAKeyThatLeavesWhileItIsWrittenIsForgotten(t *testing.T) {
	for name, err := range map[string]error{"taken": nil, "refused": errNoPerm, "failed": errors.New("closed")} {
		t.Run(name, func(t *testing.T) {
			playPresence(t, func(w *presenceWorld) {
				w.hold = make(chan error)
				other, k := w.join("b", maxPresenceTTL), w.join("a", maxPresenceTTL)
				w.pass(0)
				w.leave(k, maxPresenceTTL)
				w.release(err)
				w.pass(0)
				w.leave(other, maxPresenceTTL)
				w.pass(time.Hour)
				if w.tries != 1 || len(w.queue) != 0 || w.kept() != 0 {
					t.Errorf("%d tries, %d keys are queued, %d kept", w.tries, len(w.queue), w.kept())
				}
			})
		})
	}
}

func TestJoiningAndLeavingWaitForNoWrite(t *testing.T) {
	playPresence(t, func(w *presenceWorld) {
		w.hold = make(chan error)
		w.join("a", ttl)
		w.pass(0)
		var keys []*presenceKey
		for i := range 2 * presenceChunk {
			keys = append(keys, w.join(fmt.Sprint(i), ttl)) // in synctest a wait for ever is a failure at once
		}
		for _, k := range slices.Backward(keys[presenceChunk:]) {
			w.leave(k, ttl)
		}
		w.release(nil)
		w.pass(0)
		if w.total() != 1+presenceChunk || w.tries != 2 {
			t.Errorf("%d keys were set by %d pipelines", w.total(), w.tries)
		}
	})
}
