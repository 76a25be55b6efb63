package redissse

import (
	"cmp"
	"container/list"
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// hubs holds the hubs of this process by hubKey. They outlive the
// configurations that use them: a reload must not lose a buffer.
var hubs = caddy.NewUsagePool()

// hubKey says when two configurations mean the same hub. Limits, the password
// and the database (which pub/sub ignores) may change under a running hub.
type hubKey struct {
	name    string // empty: a handler's own "redis <url>"
	network string
	addr    string
	user    string
}

// label names the hub in logs and metrics.
func (k hubKey) label() string {
	// The address may come from the environment; a label must be UTF-8.
	return strings.ToValidUTF8(cmp.Or(k.name, k.addr), "\uFFFD")
}

// hub owns all there is for one Redis: the subscriber, the subscriptions and
// their buffers. Safe for concurrent use.
type hub struct {
	progress
	name     string
	clock    *clock
	logger   atomic.Pointer[zap.Logger] // of the newest configuration
	settings atomic.Pointer[settings]   // in force
	aging    aging
	kick     chan struct{} // wakes the writer: changed or the replies it waits for
	exiting  chan struct{} // closed once Caddy exits
	exitAt   time.Time     // set before exiting is closed
	usage    usage         // of all buffers
	metrics  *hubMetrics

	publisher publisher
	prober    prober

	generation atomic.Pointer[generation] // the current one, for the watchdog
	connected  atomic.Bool                // Redis has answered in it
	stop       context.CancelFunc
	running    sync.WaitGroup

	next   uint64 // the newest seq; reader goroutine only
	lastAt int64  // the newest receipt time; reader goroutine only

	mu         sync.Mutex
	channels   map[string]*subscription
	changed    ring[*subscription] // wanted and written may differ
	lingering  list.List           // of *subscription without a stream, longest first
	registered []registration
}

// subscription is the hub's refcounted interest in one channel. One that has
// been given up is not taken up again: a new one takes its place. So it has at
// most one SUBSCRIBE a generation, and a confirmation can only be its own.
type subscription struct {
	buf *buffer

	// Guarded by hub.mu.
	streams int
	wanted  bool          // Redis should have it: a stream holds it, or it lingers
	written bool          // the newest command for it in this generation is SUBSCRIBE
	queued  bool          // in hub.changed
	linger  *list.Element // in hub.lingering
	idle    int64         // since when it lingers, monotonic milliseconds
}

// newHub makes a hub at rest; start connects it. It does no I/O.
func newHub(name string, s *settings, log *zap.Logger) *hub {
	h := &hub{
		name: name, clock: newClock(), kick: make(chan struct{}, 1), exiting: make(chan struct{}),
		channels: map[string]*subscription{}, metrics: newHubMetrics(name), prober: newProber(),
	}
	h.publisher.settings = &h.settings
	// Seqs start at random so that an id says nothing about how long the hub
	// has run, low enough that they never wrap.
	h.first = rand.Uint64N(1 << 48)
	h.epoch = rand.Uint64()
	h.next = h.first
	h.head.Store(h.first)
	h.settings.Store(s)
	h.logger.Store(log)
	return h
}

func (h *hub) log() *zap.Logger { return h.logger.Load() }

// start connects in the background. Calls after the first do nothing.
func (h *hub) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.running.Go(func() { h.subscribe(ctx) })
	h.running.Go(func() { h.tick(ctx) })
	h.running.Go(func() { h.probe(ctx) })
}

// Destruct ends the hub and waits for its goroutines. The usage pool calls it
// when nothing uses the hub any more.
func (h *hub) Destruct() error {
	h.mu.Lock()
	stop := h.stop
	h.mu.Unlock()
	if stop != nil {
		stop()
		h.running.Wait()
	}
	h.publisher.end()
	return nil
}

// open subscribes to the channels and has w woken for them. The channels must
// differ. close ends it.
func (h *hub) open(channels []string, w *waiter) *stream {
	s := &stream{progress: &h.progress}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, channel := range channels {
		sub := h.joinLocked(channel)
		sub.buf.clients.add(w)
		s.sources = append(s.sources, &source{buf: sub.buf})
	}
	return s
}

// close gives up what open took. The subscriptions and their buffers linger.
func (h *hub) close(s *stream, w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, src := range s.sources {
		src.buf.clients.remove(w)
		h.leaveLocked(h.channels[src.buf.channel])
	}
}

// joinLocked takes a subscription for one stream. One that lingers goes on as
// if it had never been left, also when its UNSUBSCRIBE is queued; once that is
// written the subscription is not in channels any more, and the new one waits
// for a confirmation of its own.
func (h *hub) joinLocked(channel string) *subscription {
	sub := h.channels[channel]
	if sub == nil {
		sub = &subscription{buf: &buffer{channel: channel, usage: &h.usage}}
		h.channels[channel] = sub
	}
	if sub.linger != nil {
		h.lingering.Remove(sub.linger)
		sub.linger = nil
	}
	sub.streams++
	sub.wanted = true
	h.changedLocked(sub)
	return sub
}

func (h *hub) leaveLocked(sub *subscription) {
	sub.streams--
	if sub.streams > 0 {
		return
	}
	sub.idle = h.clock.monotonic()
	sub.linger = h.lingering.PushBack(sub)
}

// changedLocked has the writer look at sub if there is something to write.
func (h *hub) changedLocked(sub *subscription) {
	if sub.queued || sub.wanted == sub.written {
		return
	}
	sub.queued = true
	h.changed.push(sub)
	h.wakeWriter()
}

func (h *hub) wakeWriter() {
	select {
	case h.kick <- struct{}{}:
	default: // it has been woken already and has not looked yet
	}
}

// dropIdle gives up the subscriptions that no stream has used for linger.
func (h *hub) dropIdle(linger time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	cutoff := h.clock.monotonic() - linger.Milliseconds()
	for e := h.lingering.Front(); e != nil; e = h.lingering.Front() {
		sub := e.Value.(*subscription)
		if sub.idle > cutoff {
			return
		}
		h.lingering.Remove(e)
		sub.linger, sub.wanted = nil, false
		if !sub.written && !sub.queued {
			h.forgetLocked(sub)
			continue
		}
		h.changedLocked(sub)
	}
}

// forgetLocked takes an unwanted subscription out of the hub.
func (h *hub) forgetLocked(sub *subscription) {
	delete(h.channels, sub.buf.channel)
	sub.buf.discard()
}

// tickInterval is how precise the watchdog, ages and lingering are: a quarter
// of a second is little beside dead_after, and four looks a second cost nothing.
const tickInterval = 250 * time.Millisecond

func (h *hub) tick(ctx context.Context) {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if caddy.Exiting() {
			h.exit()
		}
		s := h.settings.Load()
		if g := h.generation.Load(); g != nil {
			g.watch(s.deadAfter)
			g.watchProbe()
		}
		h.aging.expire(h.clock.monotonic() - s.limits.maxAge)
		h.dropIdle(s.linger)
	}
}

// exit tells the streams that Caddy exits. Those of earlier configurations
// hear of it nowhere else: their server has shut down already.
func (h *hub) exit() {
	select {
	case <-h.exiting:
	default:
		h.exitAt = time.Now()
		close(h.exiting)
	}
}

// confirmed records that Redis confirmed sub: from here on nothing of its
// channel is missed. Reader goroutine only, as the three below.
func (h *hub) confirmed(sub *subscription) {
	h.next++
	sub.buf.confirm(h.next, h.receipt())
	h.head.Store(h.next)
	sub.buf.clients.wake()
}

// receive appends a message that Redis delivered. One of a channel that is not
// (or not yet again) confirmed belongs to a subscription given up before.
func (h *hub) receive(channel, payload string) {
	h.mu.Lock()
	sub := h.channels[channel]
	h.mu.Unlock()
	if sub == nil {
		return
	}
	b := sub.buf
	m := &message{
		channel: b.channel, payload: payload, seq: h.next + 1,
		ms: h.lowWater.Load(), at: h.receipt(), received: h.clock.monotonic(),
	}
	ok, due := b.append(m, h.settings.Load().limits)
	if !ok {
		return
	}
	h.next++
	h.head.Store(h.next)
	b.clients.wake()
	h.metrics.received.Inc()
	if due {
		h.aging.add(b, m.received)
	}
}

// receipt returns now in Redis's clock, never less than before: a place in the
// buffers is found by time, too.
func (h *hub) receipt() int64 {
	h.lastAt = max(h.lastAt, h.clock.at(h.clock.monotonic()))
	return h.lastAt
}

// answered records that Redis answered a PING sent at the monotonic time sent:
// all that was published before has been read.
func (h *hub) answered(sent int64) {
	if h.clock.known.Load() {
		h.lowWater.Store(h.clock.at(sent))
	}
}

// lost records that the connection generation is over: every channel is
// incomplete until it is confirmed again.
func (h *hub) lost() {
	h.connected.Store(false)
	m := mark{ms: h.lowWater.Load(), seq: h.next}
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.changed.len() > 0 {
		h.changed.pop().queued = false
	}
	for _, sub := range h.channels {
		sub.buf.goDown(m)
		sub.written = false
		if !sub.wanted {
			h.forgetLocked(sub)
			continue
		}
		h.changedLocked(sub)
	}
}

// maxBatch channels go into one SUBSCRIBE. Redis serves nobody else meanwhile:
// 512 took it 16 ms where 100,000 in one command took 127 ms.
const maxBatch = 512

// take returns the next command to write, nil if there is none. An
// UNSUBSCRIBE takes its subscriptions out of the hub.
func (h *hub) take() *command {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &command{}
	for h.changed.len() > 0 && len(c.subs) < maxBatch {
		sub := h.changed.at(0)
		if sub.wanted != sub.written {
			kind := subscribeCommand
			if !sub.wanted {
				kind = unsubscribeCommand
			}
			if cmp.Or(c.kind, kind) != kind {
				break
			}
			c.kind = kind
			c.subs = append(c.subs, sub)
			sub.written = sub.wanted
		}
		h.changed.pop()
		sub.queued = false
		if !sub.wanted {
			h.forgetLocked(sub)
		}
	}
	if len(c.subs) == 0 {
		return nil
	}
	return c
}
