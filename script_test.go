package redissse

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/glob"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// script is traffic in which the same payload comes several times in a row: Redis sends each message once for each subscription,
// and only how many there were tells a copy from a repetition. Between the runs stand markers, which say where in the channel
// they are. The fillers of all channels are alike.
type script struct {
	t        *testing.T
	server   *redistest.Server
	channels []string
	stop     chan struct{}
	stopOnce sync.Once
	done     sync.WaitGroup

	outages bool // the test makes some: gaps may come at any time

	mu   sync.Mutex
	book map[string][]bool // what each channel was sent: whether it is a marker, whose payload is its index here
}

const (
	scriptFiller = "="
	maxRun       = 5
	scriptPause  = 2 * time.Millisecond // between two runs, so that the readers keep up under the race detector
)

func startScript(t *testing.T, server *redistest.Server, channels ...string) *script {
	s := &script{t: t, server: server, channels: channels, stop: make(chan struct{}), book: map[string][]bool{}}
	s.done.Go(s.run)
	t.Cleanup(s.halt)
	return s
}

func (s *script) run() {
	ticker := time.NewTicker(scriptPause)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
		channel := s.channels[rand.IntN(len(s.channels))]
		for range rand.IntN(maxRun + 1) {
			s.send(channel, false)
		}
		s.send(channel, true)
	}
}

// send writes the book first: what is in it when a stream has opened may be older than the stream, what comes later is not.
func (s *script) send(channel string, marker bool) {
	s.mu.Lock()
	n := len(s.book[channel])
	s.book[channel] = append(s.book[channel], marker)
	s.mu.Unlock()
	payload := scriptFiller
	if marker {
		payload = strconv.Itoa(n)
	}
	if _, err := s.server.TryPublish(channel, payload); err != nil {
		s.t.Errorf("publishing: %v", err)
	}
}

func (s *script) halt() {
	s.stopOnce.Do(func() { close(s.stop) })
	s.done.Wait()
}

// end stops the traffic, with a marker on each channel. Who has that has been sent all.
func (s *script) end() {
	s.halt()
	for _, channel := range s.channels {
		s.send(channel, true)
	}
}

func (s *script) written(channel string) []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clip(s.book[channel])
}

// spot is how far a follower is in one channel. Where fillers begin is known from the next marker only.
type spot struct {
	exact   bool
	next    int  // if exact: the index of the next message
	least   int  // else: nothing before it may come (again)
	owed    int  // else: everything from it on must come, unless a gap stands here
	fillers int  // else: how many have come
	gapped  bool // else: a gap stands here
}

func (p *spot) filler(book []bool) error {
	if !p.exact {
		p.fillers++
		return nil
	}
	if p.next >= len(book) || book[p.next] {
		return fmt.Errorf("a filler too many before %d", p.next)
	}
	p.next++
	return nil
}

func (p *spot) marker(n int, book []bool) error {
	run := 0
	for run < n && !book[n-1-run] {
		run++
	}
	first := n - p.fillers
	switch {
	case n >= len(book) || !book[n]:
		return fmt.Errorf("%d is no marker", n)
	case p.exact && n != p.next:
		return fmt.Errorf("marker %d came, want number %d", n, p.next)
	case !p.exact && p.fillers > run:
		return fmt.Errorf("%d fillers before marker %d, of %d", p.fillers, n, run)
	case !p.exact && first < p.least:
		return fmt.Errorf("marker %d came with %d before it, but all up to %d has come before", n, p.fillers, p.least)
	case !p.exact && first > p.owed && !p.gapped:
		return fmt.Errorf("marker %d came with %d before it: from %d on some are lost without a gap", n, p.fillers, p.owed)
	}
	*p = spot{exact: true, next: n + 1}
	return nil
}

func (p *spot) gap() {
	least := p.least
	if p.exact {
		least = p.next
	}
	*p = spot{least: least, gapped: true}
}

// follower is a client of a stream of some channels and patterns with "event channel", which may go and come back.
type follower struct {
	*ssetest.Stream // nil while it is away
	t               *testing.T
	script          *script
	path            string
	names           []string // its channels, literally, and patterns
	at              map[string]*spot
	gaps            []told
	last            string // the last id of its stream before
	ids             place
	back            bool           // it came back with that
	since           map[string]int // how many gaps of each name have come since
}

func (s *script) follower(t *testing.T, path string, names ...string) *follower {
	return &follower{t: t, script: s, path: path, names: names}
}

// open opens a stream, as if it had never had one before unless it comes back.
func (f *follower) open(g *gateway, back bool) {
	f.t.Helper()
	f.back, f.since = back && f.last != "", map[string]int{}
	if f.back {
		f.Stream = g.open(f.path, ssetest.WithLastEventID(f.last))
		return
	}
	f.Stream = g.open(f.path)
	f.at, f.ids = map[string]*spot{}, place{}
	for _, channel := range f.script.channels {
		if slices.ContainsFunc(f.names, func(name string) bool { return glob.Match(name, channel) }) {
			f.at[channel] = &spot{owed: len(f.script.written(channel))}
		}
	}
}

// leave goes away, and knows the last id that came.
func (f *follower) leave() {
	f.t.Helper()
	f.Close()
	f.look()
	f.last, f.Stream = f.LastEventID(), nil
}

// look judges what has come.
func (f *follower) look() {
	f.t.Helper()
	for f.Stream != nil {
		e, ok := f.TryNext(0)
		if !ok {
			return
		}
		f.take(e)
	}
}

func (f *follower) take(e ssetest.Event) {
	f.t.Helper()
	id, ok := placeOf(e.ID)
	if !ok || id.Seq < f.ids.Seq {
		f.t.Fatalf("%s %v: the id of %+q came after %v", f.path, f.names, e, f.ids)
	}
	f.ids = id
	switch e.Type {
	case "cursor":
		return
	case "gap":
		f.takeGap(e)
		return
	}
	p, err := f.at[e.Type], error(nil)
	switch n, bad := strconv.Atoi(e.Data); {
	case p == nil:
		err = fmt.Errorf("not one of its channels")
	case e.Data == scriptFiller:
		err = p.filler(f.script.written(e.Type))
	case bad != nil:
		err = bad
	default:
		err = p.marker(n, f.script.written(e.Type))
	}
	if err != nil {
		f.t.Fatalf("%s %v: %+q: %v\nplaces: %v\ngaps: %+v", f.path, f.names, e, err, slices.Collect(maps.Values(f.at)), f.gaps)
	}
}

func (f *follower) takeGap(e ssetest.Event) {
	f.t.Helper()
	g := outageGap(f.t, e)
	f.gaps = append(f.gaps, *g)
	name := g.Channel + g.Pattern
	f.since[name]++
	if !f.script.outages && (!f.back || f.since[name] > 1) {
		// What an open stream needs is not given up: only what was missed while it was away can be missing.
		f.t.Fatalf("%s %v got the gap %+v; had it been away: %v, gaps since: %v", f.path, f.names, *g, f.back, f.since)
	}
	for channel, p := range f.at {
		if channel == g.Channel || g.Pattern != "" && glob.Match(g.Pattern, channel) {
			p.gap()
		}
	}
}

// done reports whether all that was sent has come.
func (f *follower) done() bool {
	f.t.Helper()
	f.look()
	for channel, p := range f.at {
		if !p.exact || p.next != len(f.script.written(channel)) {
			return false
		}
	}
	return true
}
