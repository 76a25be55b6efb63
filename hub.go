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
	exiting  announcement  // made once Caddy exits
	exitAt   time.Time     // known once exiting is made
	usage    usage         // of all buffers and indexes
	metrics  *hubMetrics

	publisher publisher
	prober    prober

	generation atomic.Pointer[generation] // the current one, for the watchdog
	connected  atomic.Bool                // Redis has answered in it
	stop       context.CancelFunc
	running    sync.WaitGroup

	// Of the reader goroutine only.
	next      uint64 // the newest seq
	lastAt    int64  // the newest receipt time
	last      arrival
	refusalAt int64 // when a refusal was logged last, monotonic milliseconds; 0: never

	mu         sync.Mutex
	buffers    roster[*buffer]
	patterns   roster[*pattern]
	changed    ring[*subscription] // some may have to be written
	lingering  list.List           // of *subscription that nothing needs, longest first
	warm       list.List           // of *buffer without a subscription of its own, quietest first
	refusals   ring[refusal]       // oldest first
	registered []registration

	opened       opened // what channels with a stream take
	channelBytes int64  // what all channels take by being there
}

// newHub makes a hub at rest; start connects it. It does no I/O.
func newHub(name string, s *settings, log *zap.Logger) *hub {
	h := &hub{
		name: name, clock: newClock(), kick: make(chan struct{}, 1), exiting: announcement{signal: signalExit},
		metrics: newHubMetrics(name),
		prober:  newProber(),
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

// open subscribes to the channels and patterns and has w woken for them. They
// must differ. It fails if the hub has no room for all the channels; then it
// has changed nothing. close ends it.
func (h *hub) open(channels, patterns []string, w *waiter) (*stream, error) {
	s := &stream{progress: &h.progress}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.fitLocked(channels) {
		return nil, errTooManyChannels
	}
	var fresh []string
	for _, channel := range channels {
		if h.buffers.get(channel) == nil {
			fresh = append(fresh, channel)
			continue
		}
		s.add(h.joinChannelLocked(channel), w)
	}
	// Only now: one of those above, if it lingered, could have gone for them.
	for _, channel := range fresh {
		s.add(h.joinChannelLocked(channel), w)
	}
	for _, name := range patterns {
		s.add(h.joinPatternLocked(name), w)
	}
	return s, nil
}

// close gives up what open took. The subscriptions and their buffers linger.
func (h *hub) close(s *stream, w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, src := range s.sources {
		src.line.clients.remove(w)
		h.leaveLocked(src.sub)
	}
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
		h.expire(s.limits.maxAge)
		h.retryRefused()
		h.dropIdle(s.linger)
	}
}

// exit tells the streams that Caddy exits. Those of earlier configurations
// hear of it nowhere else: their server has shut down already.
func (h *hub) exit() {
	h.exiting.announce(func() { h.exitAt = time.Now() })
}

// confirmed records that Redis confirmed sub: from here on nothing of its
// channel or pattern is missed. One that was given up meanwhile is nobody's.
// Reader goroutine only, as the three below.
func (h *hub) confirmed(sub *subscription) {
	h.last.seen = h.last.seen[:0] // the same again is a new message
	h.next++
	wake := h.confirmedNow(sub, h.next, h.receipt())
	h.head.Store(h.next)
	for _, t := range wake {
		t.clients.wake(signalData)
	}
}

// confirmedNow returns the timelines whose streams have to look.
func (h *hub) confirmedNow(sub *subscription, seq uint64, at int64) (wake []*timeline) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if sub.gone {
		return nil
	}
	sub.live, sub.alone = true, false
	if sub.buf != nil {
		sub.lean(nil)
		sub.buf.confirm(seq, at)
		return []*timeline{sub.line}
	}
	for b := range h.buffers.each() {
		if b.covers(sub.pat) && b.confirm(seq, at) {
			wake = append(wake, &b.timeline)
		}
	}
	sub.pat.confirm(seq, at)
	return append(wake, sub.line)
}

// lost records that the connection generation is over: everything is
// incomplete until it is confirmed again, and perhaps since sound.
func (h *hub) lost(sound mark) {
	h.connected.Store(false)
	h.last = arrival{}
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.changed.len() > 0 {
		h.changed.pop().queued = false
	}
	head := h.complete().seq
	for p := range h.patterns.each() {
		p.goDown(head, sound)
		h.lostLocked(p.sub)
	}
	for b := range h.buffers.each() {
		b.goDown(head, sound)
		if b.sub != nil {
			b.sub.lean(coverOf(b))
			h.lostLocked(b.sub)
		}
	}
}

func (h *hub) lostLocked(sub *subscription) {
	sub.written, sub.live = false, false
	if !sub.wanted {
		h.forgetLocked(sub, gapNotBuffered)
		return
	}
	h.changedLocked(sub)
}

// complete returns up to where everything that is live is complete.
func (h *hub) complete() mark {
	ms, head := h.load()
	return mark{ms, head}
}

// answered records that Redis answered a PING sent at the monotonic time sent:
// all that was published before has been read.
func (h *hub) answered(sent int64) {
	if h.clock.known.Load() {
		h.lowWater.Store(h.clock.at(sent))
	}
}

// receipt returns now in Redis's clock, never less than before: a place in the
// buffers is found by time, too.
func (h *hub) receipt() int64 {
	h.lastAt = max(h.lastAt, h.clock.at(h.clock.monotonic()))
	return h.lastAt
}
