package redissse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/outlet"
)

// client is a lean stream's socket, and whoever reads from it, as a model has it.
type client struct {
	mu      sync.Mutex
	random  *rand.Rand
	room    int          // bytes that it takes yet
	got     bytes.Buffer // what it took
	took    time.Time    // when it took something, or was asked in vain first since it did
	refused bool         // it was asked in vain since it took something
	broken  bool         // it refuses with an error
	half    bool         // the stream has closed its side
	tell    func()       // when there is room again
	written *testing.T
}

var errClient = errors.New("the client has gone")

func (c *client) send(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.half {
		c.written.Error("something is written behind the end")
	}
	if c.broken {
		return 0, errClient
	}
	if n = min(len(p), c.room); n > 1 && c.random.Intn(3) == 0 {
		n = c.random.Intn(n-1) + 1 // and there is room again a moment later
		if c.tell != nil {
			defer func() { go c.tell() }()
		}
	}
	c.room -= n
	c.got.Write(p[:n])
	switch {
	case n > 0:
		c.took, c.refused = time.Now(), false
	case !c.refused:
		c.took, c.refused = time.Now(), true
	}
	return n, nil
}

func (c *client) awaitRoom(room func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell = room
	if c.room > 0 {
		room()
	}
}

func (c *client) close(bool) {}

func (c *client) closeWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.half = true
	return nil
}

// takes has it take so many bytes more.
func (c *client) takes(n int) {
	c.mu.Lock()
	none := c.room == 0
	c.room += n
	tell := c.tell
	c.mu.Unlock()
	if none && tell != nil {
		tell()
	}
}

// leanModel is some lean streams of one channel, and what becomes of them.
type leanModel struct {
	t       *testing.T
	hub     *redisHub
	drain   *drain
	outlets *outlet.Pool
	streams []*modelStream

	published atomic.Value // when the last message came
}

type modelStream struct {
	name   string
	d      *delivery
	lean   *lean
	client *client
	fate   string    // what the client does in the end
	at     time.Time // when it did

	mu    sync.Mutex
	ended time.Time
	end   endReason
	times int
}

const modelStall = 10 * time.Second

// newLeanModel opens streams, none of which is lean yet.
func newLeanModel(t *testing.T, random *rand.Rand, n int) *leanModel {
	h, deliveries, _ := benchHub(t, n)
	m := &leanModel{t: t, hub: h, drain: newDrain(), outlets: outlet.NewPool(func(waited time.Duration) { t.Errorf("an outlet is late by %v", waited) })}
	m.drain.reload = 20 * time.Second
	for i, d := range deliveries {
		s := &modelStream{name: fmt.Sprint("stream ", i), d: d, client: &client{random: rand.New(rand.NewSource(random.Int63())), written: t}}
		d.ending.stop()
		d.ending = newEnding(m.drain, h, d.wake, time.Time{})
		d.stallTimeout, d.heartbeat, d.retry = modelStall, 15*time.Second, time.Second
		s.lean = &lean{d: d, own: true, socket: s.client, ended: s.over}
		m.streams = append(m.streams, s)
	}
	return m
}

func (s *modelStream) over(end endReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.end = time.Now(), end
	s.times++
}

func (s *modelStream) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.times > 0
}

// live plays the client: it reads in fits and starts, and in the end stalls, hangs up, breaks, or reads on.
func (s *modelStream) live(random *rand.Rand, outlets *outlet.Pool) {
	time.Sleep(time.Duration(random.Intn(2000)) * time.Millisecond)
	s.d.handTo(s.lean, outlets)
	for range random.Intn(40) {
		time.Sleep(time.Duration(random.Intn(300)) * time.Millisecond)
		s.client.takes(random.Intn(40 << 10))
	}
	s.mu.Lock()
	s.fate, s.at = []string{"stalls", "hangs up", "breaks", "reads", "reads"}[random.Intn(5)], time.Now()
	s.mu.Unlock()
	switch s.fate {
	case "hangs up":
		s.d.wake.Signal(signalGone)
	case "breaks":
		s.client.mu.Lock()
		s.client.broken = true
		s.client.mu.Unlock()
	case "reads":
		for !s.isOver() {
			time.Sleep(time.Duration(random.Intn(200)+1) * time.Millisecond)
			s.client.takes(64 << 10)
			if s.client.isHalf() && random.Intn(2) == 0 {
				s.d.wake.Signal(signalGone) // it closes its side, too
			}
		}
	}
}

func (c *client) isHalf() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.half
}

// publish publishes messages, some of them large, and signals of all kinds that mean nothing.
func (m *leanModel) publish(random *rand.Rand, n int) {
	for i := range n {
		size := random.Intn(300)
		if i >= n-6 && i < n-1 {
			size = 100 << 10 // a burst, so that there is more than a turn takes, and nothing comes behind it
		} else if random.Intn(20) == 0 {
			size = random.Intn(200 << 10)
		}
		m.hub.memory.Receive("", "a", fmt.Sprintf("%d:%s", i, strings.Repeat("x", size)))
		if i < n-6 && random.Intn(3) == 0 {
			time.Sleep(time.Duration(random.Intn(400)) * time.Millisecond)
		}
		if i < n-6 && random.Intn(10) == 0 {
			m.streams[random.Intn(len(m.streams))].d.wake.Signal(hub.SignalData | signalBeat | signalQuiet)
		}
	}
}

// TestLeanStreamsInAnyOrder plays lean streams whose clients take what they like when they like, while messages come, and drains them at
// some time. Each gets on, or is cut in its time; what it wrote are whole events in order, up to where its client took them.
func TestLeanStreamsInAnyOrder(t *testing.T) {
	for seed := range int64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playLean(t, rand.New(rand.NewSource(seed))) })
		})
	}
}

func playLean(t *testing.T, random *rand.Rand) {
	const messages = 200
	m := newLeanModel(t, random, 12)
	var all sync.WaitGroup
	own := func() *rand.Rand { return rand.New(rand.NewSource(random.Int63())) }
	for _, s := range m.streams {
		random := own()
		all.Go(func() { s.live(random, m.outlets) })
	}
	publisher := own()
	all.Go(func() {
		m.publish(publisher, messages)
		m.published.Store(time.Now())
	})
	drained := time.Duration(random.Intn(60)) * time.Second
	time.Sleep(drained)
	m.lookForStalled()
	m.lookForBehind(messages)
	m.drain.begin()
	began := time.Now()
	time.Sleep(time.Until(m.latest(began)))
	m.endAll()
	all.Wait()
	if err := m.outlets.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range m.streams {
		m.judge(s)
		s.d.ending.stop()
		m.hub.memory.Close(s.d.stream)
	}
}

// lookForStalled fails for those that have been asked in vain for longer than they may be, and are still there.
func (m *leanModel) lookForStalled() {
	synctest.Wait()
	for _, s := range m.streams {
		s.client.mu.Lock()
		waits := s.client.refused && time.Since(s.client.took) > modelStall+10*time.Millisecond
		s.client.mu.Unlock()
		if waits && !s.isOver() {
			m.t.Errorf("%s has been written nothing of for longer than stall_timeout", s.name)
		}
	}
}

// latest is when the last stream has ended that is drained from a time on.
func (m *leanModel) latest(drained time.Time) time.Time {
	return drained.Add(m.drain.reload + 2*modelStall + lingerFor + time.Second)
}

// endAll fails for streams that are still there, and has them end.
func (m *leanModel) endAll() {
	synctest.Wait()
	for _, s := range m.streams {
		if !s.isOver() {
			m.t.Errorf("%s, whose client %s, has not ended when it had to", s.name, s.fate)
			s.d.wake.Signal(signalGone)
		}
	}
}

// lookForBehind fails for those that have not been written all although they had half a minute for it.
func (m *leanModel) lookForBehind(messages int) {
	at, ok := m.published.Load().(time.Time)
	if !ok || time.Since(at) < 30*time.Second {
		return
	}
	for _, s := range m.streams {
		s.mu.Lock()
		reads := s.fate == "reads" && time.Since(s.at) > 30*time.Second && s.times == 0
		s.mu.Unlock()
		s.client.mu.Lock()
		last := bytes.Contains(s.client.got.Bytes(), fmt.Appendf(nil, "data: %d:", messages-1))
		s.client.mu.Unlock()
		if reads && !last {
			m.t.Errorf("%s, whose client reads, has not the last message", s.name)
		}
	}
}

func (m *leanModel) judge(s *modelStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times != 1 {
		m.t.Errorf("%s ends %d times", s.name, s.times)
	}
	switch {
	case s.fate == "hangs up" && s.end == endClient && s.ended.After(s.at.Add(10*time.Millisecond)):
		m.t.Errorf("%s, whose client hangs up, ends %v later", s.name, s.ended.Sub(s.at))
	case s.fate == "reads" && s.end == endStalled && !s.ended.After(s.at.Add(time.Second)): // it had not read before
	case s.fate == "reads" && (s.end != endReload || !s.client.half):
		m.t.Errorf("%s, whose client reads, ends with %q, to its end: %v", s.name, s.end, s.client.half)
	case s.end == endStalled && s.ended.Before(s.client.took.Add(modelStall)) && s.fate == "stalls" && !s.client.refused:
		m.t.Errorf("%s is cut as stalled %v after it took something", s.name, s.ended.Sub(s.client.took))
	}
	m.judgeBytes(s)
}

// judgeBytes fails unless what was written is one response, whole if it ended properly, with messages in a row.
func (m *leanModel) judgeBytes(s *modelStream) {
	raw := s.client.got.Bytes()
	whole := s.end == endReload && s.client.half
	if whole != bytes.HasSuffix(raw, []byte("\r\n"+lastChunk)) {
		m.t.Errorf("%s, which ended with %q, ends its response: %v", s.name, s.end, !whole)
	}
	body, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw)))
	if whole && err != nil || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		m.t.Errorf("%s: reading the response: %v", s.name, err)
	}
	next := -1
	for event := range strings.SplitSeq(string(body), "\n\n") {
		_, data, ok := strings.Cut(event, "data: ")
		number, _, whole := strings.Cut(data, ":")
		n, err := strconv.Atoi(number)
		if !ok || !whole || err != nil {
			continue // a cursor, or cut
		}
		if next >= 0 && n != next {
			m.t.Errorf("%s: message %d stands where %d is expected", s.name, n, next)
		}
		next = n + 1
	}
}

// A client that takes a chunk in its time may go on, one that takes less may not, however often it takes something.
func TestALeanClientHasItsTimeForEachChunk(t *testing.T) {
	const step = time.Second
	for perStep, lives := range map[int]bool{writeChunk/10 + 1: true, writeChunk/10 - 1: false} {
		began := time.Now()
		client := &client{random: rand.New(rand.NewSource(1)), written: t}
		l := &lean{d: &delivery{terms: &terms{stallTimeout: 10 * step}, wake: hub.NewWaiter(), ending: &ending{drain: newDrain()}}, socket: client, asked: true, now: began, rest: make([]byte, 5*writeChunk)}
		_, over := l.waitForClient()
		for i := 1; len(l.rest) > 0 && !over; i++ {
			l.now = began.Add(time.Duration(i) * step)
			client.room = perStep
			if err := l.sendRest(); err != nil {
				t.Fatal(err)
			}
			if len(l.rest) > 0 {
				_, over = l.waitForClient()
			}
		}
		if over == lives {
			t.Errorf("a client that takes %d bytes a second is cut: %v", perStep, over)
		}
	}
}

// panics is a socket that has a bug.
type panics struct{ clientSocket }

func (panics) send([]byte) (int, error) { panic("oh") }

// A bug in one stream is not everybody's.
func TestALeanStreamThatPanicsEndsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLeanModel(t, rand.New(rand.NewSource(1)), 2)
		bad, good := m.streams[0], m.streams[1]
		bad.lean.socket = panics{}
		good.client.takes(1 << 20)
		for _, s := range m.streams {
			s.d.handTo(s.lean, m.outlets)
		}
		m.hub.memory.Receive("", "a", "hello")
		synctest.Wait()
		if !bad.isOver() || bad.end != endClient || !bad.d.failed {
			t.Errorf("the one that panics is over: %v, with %q, failed: %v", bad.isOver(), bad.end, bad.d.failed)
		}
		if good.isOver() || !bytes.Contains(good.client.got.Bytes(), []byte("data: hello\n")) {
			t.Errorf("the other one is over: %v, and got %q", good.isOver(), good.client.got.Bytes())
		}
		m.endAllWell()
	})
}

// endAllWell has those end that are there.
func (m *leanModel) endAllWell() {
	for _, s := range m.streams {
		s.d.wake.Signal(signalGone)
	}
	if err := m.outlets.Wait(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	for _, s := range m.streams {
		s.d.ending.stop()
		m.hub.memory.Close(s.d.stream)
	}
}
