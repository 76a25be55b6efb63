package redissse

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// presenceKeys are the keys that a hub keeps in Redis, each once however many streams
// want it. There are no more than channels with a stream, times the handlers that have
// presence: max_channels bounds them. One goroutine writes; a stream that joins or
// leaves waits for a lock only. Safe for concurrent use.
type presenceKeys struct {
	*inForce
	answers func() bool                                  // whether Redis does
	write   func(context.Context, []presenceSet) []error // one error for each
	changed chan struct{}                                // wakes the writer

	mu      sync.Mutex
	keys    map[string]*presenceKey
	queue   presenceQueue
	life    int       // counts connections to Redis: see live
	retryAt time.Time // nothing is written before
	refuses bool      // Redis has refused a key, and the operator has been told
}

// presenceKey is a key that somebody holds. Guarded by presenceKeys.mu but for name.
type presenceKey struct {
	name    string
	holders []presenceHolders // seldom more than one
	ttl     time.Duration     // Invariant: the longest of the holders'
	due     time.Time         // when it is to be written
	until   time.Time         // it is in Redis until then, as far as is known; zero: it is not
	refused bool              // the newest time that it was written
	place   int               // in the queue
}

// presenceHolders are the streams that want a key for the same time. Handlers may give
// one key with several, and so may the configurations before and after a reload.
type presenceHolders struct {
	ttl     time.Duration
	streams int
}

// presenceSet is one SET.
type presenceSet struct {
	key  *presenceKey
	name string
	ttl  time.Duration
}

func newPresenceKeys(f *inForce) *presenceKeys {
	return &presenceKeys{inForce: f, changed: make(chan struct{}, 1), keys: map[string]*presenceKey{}}
}

const (
	// presenceChunk is how many keys one pipeline has. Redis takes a millisecond for
	// them, and the connection is for publishers again.
	presenceChunk = 512
	// presenceRetry is the wait after a connection has failed. Redis's return is
	// noticed by the subscription before, as a rule.
	presenceRetry = time.Second
	// presenceRefusedRetry is the longest wait before a key is written again that Redis
	// refused, as it is for a channel that is denied. One whose third of ttl is shorter
	// keeps to that: a refusal that passes has no key expire.
	presenceRefusedRetry = 30 * time.Second
	// presenceIdle is how long the writer sleeps with nothing to do. Whoever brings it
	// something wakes it.
	presenceIdle = time.Hour
)

// join has a key kept for one more stream.
func (p *presenceKeys) join(name string, ttl time.Duration) *presenceKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.keys[name]
	if k == nil {
		k = &presenceKey{name: name}
		p.keys[name] = k
		heap.Push(&p.queue, k) // due at once
	}
	i := slices.IndexFunc(k.holders, func(h presenceHolders) bool { return h.ttl == ttl })
	if i < 0 {
		k.holders = append(k.holders, presenceHolders{ttl, 1})
	} else {
		k.holders[i].streams++
	}
	if ttl > k.ttl {
		k.ttl = ttl
		p.setDueLocked(k, time.Time{})
		p.wake()
	}
	return k
}

// leave gives a key up for one stream. It stays in Redis until it expires.
func (p *presenceKeys) leave(k *presenceKey, ttl time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(k.holders, func(h presenceHolders) bool { return h.ttl == ttl })
	if k.holders[i].streams--; k.holders[i].streams > 0 {
		return
	}
	k.holders = slices.Delete(k.holders, i, i+1)
	k.ttl = 0
	for _, h := range k.holders {
		k.ttl = max(k.ttl, h.ttl)
	}
	if len(k.holders) == 0 {
		heap.Remove(&p.queue, k.place)
		delete(p.keys, k.name)
	}
}

// live has all keys written at once: Redis answers on a new connection. It may have been
// away for longer than a ttl, or be another server, or have forgotten all.
func (p *presenceKeys) live() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life++
	p.retryAt = time.Time{}
	for _, k := range p.queue {
		k.due = time.Time{} // of all of them: the queue stays in order
	}
	p.wake()
}

// kept is how many keys are in Redis, as far as is known.
func (p *presenceKeys) kept() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, k := range p.queue {
		if now.Before(k.until) {
			n++
		}
	}
	return n
}

func (p *presenceKeys) wake() {
	select {
	case p.changed <- struct{}{}:
	default: // it has been woken already
	}
}

func (p *presenceKeys) setDueLocked(k *presenceKey, at time.Time) {
	k.due = at
	heap.Fix(&p.queue, k.place)
}

// run writes what is due until ctx is done.
func (p *presenceKeys) run(ctx context.Context) {
	timer := time.NewTimer(presenceIdle)
	defer timer.Stop()
	for {
		timer.Reset(p.writeDue(ctx))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.changed:
		}
	}
}

// writeDue writes all that is due, and returns after how long there may be more. While
// Redis is away nothing is tried, and nothing adds up: the keys stay due.
func (p *presenceKeys) writeDue(ctx context.Context) time.Duration {
	for ctx.Err() == nil && p.answers() {
		now := time.Now()
		batch, life, wait := p.take(now)
		if len(batch) == 0 {
			return wait
		}
		p.wrote(batch, life, now, p.write(ctx, batch))
	}
	return presenceIdle
}

// take takes what is due, up to a chunk, as written. If that is nothing it returns for
// how long.
func (p *presenceKeys) take(now time.Time) (batch []presenceSet, life int, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.retryAt) {
		return nil, p.life, p.retryAt.Sub(now)
	}
	for len(batch) < presenceChunk && len(p.queue) > 0 && !p.queue[0].due.After(now) {
		k := p.queue[0]
		batch = append(batch, presenceSet{k, k.name, k.ttl})
		p.setDueLocked(k, now.Add(k.ttl/3))
	}
	if len(p.queue) == 0 {
		return batch, p.life, presenceIdle
	}
	return batch, p.life, p.queue[0].due.Sub(now)
}

// wrote takes what became of a batch that was taken at that time, and tells the operator of
// what has changed.
func (p *presenceKeys) wrote(batch []presenceSet, life int, at time.Time, errs []error) {
	told := p.note(batch, life, at, errs)
	switch {
	case told.again:
		p.log().Info("redis takes presence keys again", zap.String("hub", p.name))
	case told.refused != nil:
		p.log().Warn("redis refuses a presence key: who asks for it finds nobody listening", zap.String("hub", p.name),
			zap.String("key", told.key), zap.Error(told.refused))
	case told.failed != nil:
		p.log().Debug("writing presence keys failed", zap.String("hub", p.name), zap.Error(told.failed))
	}
}

// presenceNews is what the operator is to be told.
type presenceNews struct {
	again   bool   // a key that was refused has been taken
	refused error  // the first refusal since,
	key     string // which is of this key
	failed  error  // the connection
}

func (p *presenceKeys) note(batch []presenceSet, life int, at time.Time, errs []error) (news presenceNews) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, set := range batch {
		k, held := set.key, p.keys[set.name] == set.key
		_, refused := errors.AsType[redis.Error](errs[i])
		switch {
		case errs[i] == nil:
			news.again = news.again || k.refused && p.refuses
			k.until, k.refused = at.Add(set.ttl), false
		case refused:
			if !p.refuses && news.refused == nil {
				news.refused, news.key = errs[i], set.name
			}
			k.refused = true
			if held && life == p.life && set.ttl/3 > presenceRefusedRetry {
				p.setDueLocked(k, at.Add(presenceRefusedRetry))
			}
		default:
			news.failed = errs[i]
			if held {
				p.setDueLocked(k, at)
			}
		}
	}
	if news.failed != nil && life == p.life {
		p.retryAt = time.Now().Add(presenceRetry)
	}
	p.refuses = p.refuses && !news.again || news.refused != nil
	return news
}

// presenceWriter writes keys over a hub's pool, past its breaker: that is for messages.
type presenceWriter struct {
	*inForce
	publisher *publisher
}

// write sends a pipeline over one connection of the pool.
func (w presenceWriter) write(ctx context.Context, batch []presenceSet) []error {
	errs := make([]error, len(batch))
	err := w.publisher.oneConn(ctx, func(ctx context.Context, conn *redis.Conn) error {
		// Nothing else that goes over the pool looks at the database.
		if in := w.settings.Load().redis.DB; in != 0 {
			if err := conn.Select(ctx, in).Err(); err != nil {
				return err
			}
		}
		pipe := conn.Pipeline()
		for _, set := range batch {
			pipe.Set(ctx, set.name, 1, set.ttl)
		}
		sets, err := pipe.Exec(ctx)
		for i, set := range sets {
			errs[i] = set.Err()
		}
		if err != nil && !slices.ContainsFunc(errs, isError) { // Redis let nobody in
			return err
		}
		if _, refused := errors.AsType[redis.Error](err); refused {
			return nil // each has its own
		}
		return err
	})
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

func isError(err error) bool { return err != nil }

// presenceQueue implements heap.Interface: what is due first is the first.
type presenceQueue []*presenceKey

func (q presenceQueue) Len() int           { return len(q) }
func (q presenceQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q presenceQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *presenceQueue) Push(x any) {
	k := x.(*presenceKey)
	k.place = len(*q)
	*q = append(*q, k)
}

// Pop implements heap.Interface.
func (q *presenceQueue) Pop() any {
	last := len(*q) - 1
	k := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return k
}
