//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// channelPrefix begins the name of each channel of the load, 0 to n-1.
const channelPrefix = "bench:"

// payloadSize is that of each message, in bytes: a job's progress as JSON.
const payloadSize = 200

// spec is the first line that a load process reads: what to open.
type spec struct {
	HTTP2    bool     // over TLS; otherwise HTTP/1.1
	Share    int      // over HTTP/2: how many streams have a connection together, 0 is 1
	Addr     string   // of the server
	Path     string   // of a channel's stream, its number for %d
	Clients  int      // the i-th reads channel First + i % Channels
	First    int      // number of the first channel
	Channels int      // 1 or more
	Skim     int      // of HTTP/1.1 clients only each Skim-th looks at what it gets, 0 is 1
	Publish  endpoint // where messages go
}

// order is each further line: a run of messages.
type order struct {
	Rate int           // messages a second, over all channels in turn
	For  time.Duration // in nanoseconds; the run goes on until all has arrived, too
}

// opened answers a spec.
type opened struct{ Seconds float64 }

// result answers an order. Latency is from the time at which a message was
// due, so that a publisher that is held up hides nothing.
type result struct {
	Published  int
	Delivered  int // each message once a client, and in order
	Lost       int // what is missing of that
	Disordered int // what came besides: doubled, or after a later one
	Gaps       int
	Seconds    float64 // from the first due time to the last delivery
	P50, P99   float64 // milliseconds
	Max        float64 // milliseconds
	LoadCPU    float64 // seconds, of the load process
}

// drainWait is how long nothing may arrive until what is missing counts as
// lost: long beside any latency, also of a server that is overloaded.
const drainWait = 5 * time.Second

// serveLoad opens streams and runs messages as it is told on in, a JSON value a
// line, and answers each on out. It ends with in.
func serveLoad(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	var s spec
	if err := orders.Decode(&s); err != nil {
		return fmt.Errorf("reading what to open: %w", err)
	}
	l, err := newLoad(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	start := time.Now()
	if err := l.open(ctx); err != nil {
		return err
	}
	if err := answers.Encode(opened{time.Since(start).Seconds()}); err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading an order: %w", err)
		}
		r, err := l.run(ctx, o)
		if err != nil {
			return err
		}
		if err := answers.Encode(r); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
}

// load is a set of open streams and the publisher that feeds them.
type load struct {
	spec      spec
	tally     tally
	readers   []*reader
	sent      []int         // by channel: how many messages
	patience  time.Duration // drainWait
	publisher *publisher
	poller    *poller // reads the HTTP/1.1 streams
	skimmer   *poller // of those that do not look; nil without
	wg        sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn // of the HTTP/2 streams, which have a goroutine each
}

func newLoad(s spec) (*load, error) {
	s.Share, s.Skim = max(1, s.Share), max(1, s.Skim)
	l := &load{spec: s, sent: make([]int, s.Channels), patience: drainWait}
	l.tally.base = time.Now()
	var err error
	if l.poller, err = newPoller(0); err != nil || s.Skim == 1 {
		return l, err
	}
	if l.skimmer, err = newPoller(skimPause); err != nil {
		return l, errors.Join(err, l.poller.close())
	}
	return l, nil
}

// skimPause is how long clients that do not look let data come together. They
// are to cost little, and what they take in that time fits into their sockets.
const skimPause = 5 * time.Millisecond

// pendingOpens is how many streams are being opened at a time.
const pendingOpens = 64

func (l *load) open(ctx context.Context) error {
	var err error
	if l.publisher, err = dialPublisher(l.spec.Publish); err != nil {
		return err
	}
	slots := make(chan struct{}, pendingOpens)
	failed := make(chan error, 1)
	var opening sync.WaitGroup
	for i := range l.spec.Clients {
		l.readers = append(l.readers, &reader{channel: l.spec.First + i%l.spec.Channels, tally: &l.tally, skims: i%l.spec.Skim > 0})
	}
	for i := 0; i < l.spec.Clients; i += l.spec.Share {
		together := l.readers[i:min(i+l.spec.Share, l.spec.Clients)]
		slots <- struct{}{}
		opening.Go(func() {
			defer func() { <-slots }()
			if err := l.openSome(ctx, together); err != nil {
				select {
				case failed <- fmt.Errorf("opening stream %d: %w", i, err):
				default:
				}
			}
		})
	}
	opening.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// openSome opens the streams of one connection.
func (l *load) openSome(ctx context.Context, together []*reader) error {
	if !l.spec.HTTP2 {
		r := together[0]
		poller := l.poller
		if r.skims {
			poller = l.skimmer
		}
		return openHTTP1(ctx, l.spec.Addr, l.path(r), poller, r)
	}
	conn, streams, err := openHTTP2(ctx, l.spec.Addr, together, l.path)
	if err != nil {
		return err
	}
	l.keep(conn)
	l.wg.Go(func() {
		err := streams.run()
		for _, r := range together {
			r.ended.Store(&err)
		}
	})
	return nil
}

func (l *load) path(r *reader) string { return fmt.Sprintf(l.spec.Path, r.channel) }

// keep has a connection closed with the load.
func (l *load) keep(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, conn)
}

// readSize is what one read of a stream takes at most: much, so that the load
// process is not what limits the rate.
const readSize = 16 << 10

func (l *load) close() error {
	for _, c := range l.conns {
		c.Close()
	}
	if l.publisher != nil {
		l.publisher.close()
	}
	l.wg.Wait()
	if l.skimmer != nil {
		return errors.Join(l.poller.close(), l.skimmer.close())
	}
	return l.poller.close()
}

// run publishes at the order's rate and waits until everything has arrived, or
// nothing has for its patience.
func (l *load) run(ctx context.Context, o order) (result, error) {
	l.tally.reset()
	cpu := ownCPU()
	first := time.Now().Add(10 * time.Millisecond)
	want, err := l.publish(ctx, first, o)
	if err != nil {
		return result{}, err
	}
	if err := l.drain(ctx, want); err != nil {
		return result{}, err
	}
	r := l.tally.result()
	r.Delivered += min(want.skimmed, l.tally.skimmed())
	r.Published, r.Lost = o.messages(), want.looked+want.skimmed-r.Delivered
	r.Seconds = time.Duration(l.tally.last.Load()).Seconds() - first.Sub(l.tally.base).Seconds()
	r.LoadCPU = ownCPU() - cpu
	return r, l.failure()
}

// publish returns how many deliveries are to come of it.
func (l *load) publish(ctx context.Context, first time.Time, o order) (want count, err error) {
	perChannel := l.clientsOf()
	for i := range o.messages() {
		due := first.Add(time.Duration(i) * time.Second / time.Duration(o.Rate))
		n := i % l.spec.Channels
		if err := l.publisher.wait(ctx, due); err != nil {
			return want, err
		}
		channel := l.spec.First + n
		if err := l.publisher.publish(channel, message(channel, l.sent[n], due.Sub(l.tally.base))); err != nil {
			return want, err
		}
		l.sent[n]++
		want.looked += perChannel[n].looked
		want.skimmed += perChannel[n].skimmed
	}
	return want, l.publisher.flush()
}

// count is how many deliveries, or clients, there are: whose are looked at, and
// the others.
type count struct{ looked, skimmed int }

// clientsOf returns how many clients each channel has.
func (l *load) clientsOf() []count {
	n := make([]count, l.spec.Channels)
	for i, r := range l.readers {
		if c := &n[i%l.spec.Channels]; r.skims {
			c.skimmed++
		} else {
			c.looked++
		}
	}
	return n
}

func (l *load) drain(ctx context.Context, want count) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	var before count
	since := time.Now()
	for {
		got := count{int(l.tally.delivered.Load()), l.tally.skimmed()}
		if got.looked >= want.looked && got.skimmed >= want.skimmed {
			return nil
		}
		if got != before {
			before, since = got, time.Now()
		}
		if time.Since(since) > l.patience {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failure returns an error if a stream or the publisher has ended.
func (l *load) failure() error {
	for i, r := range l.readers {
		if err := r.ended.Load(); err != nil {
			return fmt.Errorf("stream %d has ended: %w", i, *err)
		}
	}
	return l.publisher.failure()
}
