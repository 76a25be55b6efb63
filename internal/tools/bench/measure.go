//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// figures are what one measurement found. A field that it does not measure is
// zero.
type figures struct {
	KiB      float64 // of memory a stream
	More     float64 // KiB of each further stream of an HTTP/2 connection
	Opens    float64 // streams opened a second
	P50, P99 float64 // latency, milliseconds
	Crowd    float64 // p99 of the crowd beside those whose latency that is, milliseconds
	CPU      float64 // of the server, microseconds a delivery
	Cores    float64 // that the server used
	Redis    float64 // CPU of Redis, microseconds a delivery
	Load     float64 // share of its core that the load process used
	Rate     float64 // deliveries a second
	Bad      float64 // lost, doubled or out of order, gaps
	Conns    float64 // connections to Redis
}

// client is a running load process.
type client struct {
	*process
	in  io.WriteCloser
	out *json.Decoder
}

// open has a load process open streams.
func (h *host) open(s spec) (*client, opened, error) {
	var o opened
	c := &client{process: newProcess(h.loadCore, h.dir, nil, h.binary, "load")}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, o, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, o, err
	}
	c.out = json.NewDecoder(bufio.NewReader(out))
	if err := c.start(); err != nil {
		return nil, o, err
	}
	if err := c.ask(s, &o); err != nil {
		c.close()
		return nil, o, err
	}
	return c, o, nil
}

// ask sends one line and reads the answer.
func (c *client) ask(question, answer any) error {
	if err := json.NewEncoder(c.in).Encode(question); err != nil {
		return errors.Join(err, c.said())
	}
	if err := c.out.Decode(answer); err != nil {
		return errors.Join(err, c.said())
	}
	return nil
}

// said returns what the load process, which has failed, said last.
func (c *client) said() error {
	c.close()
	return fmt.Errorf("the load process ended: %s", strings.TrimSpace(c.log.String()))
}

// close ends the load process, which ends when its input does.
func (c *client) close() {
	c.in.Close()
	c.stop()
}

// work is a load and what it gets.
type work struct {
	spec  spec
	order order
}

// fanOut measures messages to streams that have been opened for it.
func (h *host) fanOut(ctx context.Context, who peer, l spec, o order) (figures, error) {
	return h.sideBySide(ctx, who, work{l, o})
}

// sideBySide measures loads, each of a process of its own, at the same time.
// Latency is that of the first, and another one is a crowd beside it.
func (h *host) sideBySide(ctx context.Context, who peer, works ...work) (f figures, err error) {
	s, err := h.start(ctx, who)
	if err != nil {
		return f, err
	}
	defer s.stop()
	empty, _, err := s.usage()
	if err != nil {
		return f, err
	}
	var clients []*client
	for _, w := range works {
		c, _, err := h.open(s.complete(w.spec))
		if err != nil {
			return f, err
		}
		defer c.close()
		clients = append(clients, c)
	}
	for i, c := range clients {
		if err := c.warmUp(works[i].spec); err != nil {
			return f, err
		}
	}
	m, err := h.during(ctx, s, clients, works)
	if err != nil {
		return f, err
	}
	f = m.figures()
	f.Conns = float64(s.connections(len(works)))
	f.KiB = float64(m.after.rss-empty.rss) / float64(streamsOf(works))
	return f, nil
}

func streamsOf(works []work) (n int) {
	for _, w := range works {
		n += w.spec.Clients
	}
	return n
}

// warmUp is a run before the one that counts: it shows that every client is
// subscribed, and the first messages grow stacks and buffers.
func (c *client) warmUp(l spec) error {
	o := order{Rate: 50, For: 200 * time.Millisecond}
	if o.messages() < l.Channels {
		o = order{Rate: l.Channels, For: time.Second}
	}
	var r result
	if err := c.ask(o, &r); err != nil {
		return err
	}
	if r.Lost > 0 {
		return fmt.Errorf("warming up: %d messages did not arrive", r.Lost)
	}
	return nil
}

// measured is what was used while loads ran, and what these say.
type measured struct {
	before, after           usage // of the server
	redisBefore, redisAfter usage
	results                 []result
}

// during has all loads run.
func (h *host) during(ctx context.Context, s *site, clients []*client, works []work) (m measured, err error) {
	m.results = make([]result, len(clients))
	if m.before, m.redisBefore, err = s.usage(); err != nil {
		return m, err
	}
	profiled := h.profileDuring(ctx, s, works[0].order)
	failed := make([]error, len(clients))
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() { failed[i] = c.ask(works[i].order, &m.results[i]) })
	}
	all.Wait()
	if err := errors.Join(append(failed, <-profiled)...); err != nil {
		return m, err
	}
	m.after, m.redisAfter, err = s.usage()
	return m, err
}

func (m *measured) figures() figures {
	first := m.results[0]
	f := figures{P50: first.P50, P99: first.P99}
	n, seconds := 0, 0.0
	for _, r := range m.results {
		n += r.Delivered
		seconds = max(seconds, r.Seconds)
		f.Load += r.LoadCPU
		f.Bad += float64(r.Lost + r.Disordered + r.Gaps)
	}
	for _, r := range m.results[1:] {
		f.Crowd = max(f.Crowd, r.P99)
	}
	server := (m.after.cpu - m.before.cpu).Seconds()
	f.Load /= seconds
	f.Cores = server / seconds
	f.CPU = server * 1e6 / float64(max(1, n))
	f.Redis = (m.redisAfter.cpu - m.redisBefore.cpu).Seconds() * 1e6 / float64(max(1, n))
	f.Rate = float64(n) / seconds
	return f
}

func (o order) messages() int { return int(float64(o.Rate) * o.For.Seconds()) }

// idle measures what streams cost that get nothing, after some time.
func (h *host) idle(ctx context.Context, who peer, l spec, settle time.Duration) (f figures, err error) {
	s, err := h.start(ctx, who)
	if err != nil {
		return f, err
	}
	defer s.stop()
	before, _, err := s.usage()
	if err != nil {
		return f, err
	}
	c, o, err := h.open(s.complete(l))
	if err != nil {
		return f, err
	}
	defer c.close()
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return f, ctx.Err()
	}
	after, _, err := s.usage()
	if err != nil {
		return f, err
	}
	return figures{
		KiB: float64(after.rss-before.rss) / float64(l.Clients), Opens: float64(l.Clients) / o.Seconds,
		Conns: float64(s.connections(1)),
	}, nil
}

// more measures what a further idle stream of an HTTP/2 connection costs.
func (h *host) more(ctx context.Context, who peer, l spec, settle time.Duration) (figures, error) {
	all, err := h.idle(ctx, who, l, settle)
	if err != nil {
		return all, err
	}
	conns := l.Clients / l.Share
	one := l
	one.Clients, one.Share = conns, 1
	alone, err := h.idle(ctx, who, one, settle)
	if err != nil {
		return all, err
	}
	all.More = (all.KiB*float64(l.Clients) - alone.KiB*float64(conns)) / float64(l.Clients-conns)
	return all, nil
}

func (s *site) usage() (server, redis usage, err error) {
	if server, err = s.server.usage(); err != nil {
		return server, redis, err
	}
	redis, err = s.redis.usage()
	return server, redis, err
}

// connections returns how many clients Redis has, but for the load processes and
// the one that asks.
func (s *site) connections(loads int) int {
	conn, err := net.Dial("tcp", s.addrs.redis)
	if err != nil {
		return -1
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "CLIENT LIST\r\nQUIT\r\n"); err != nil {
		return -1
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return -1
	}
	n := strings.Count(string(text), "id=") - 1
	if !s.peer.isNginx() {
		n -= loads // whose publishers they are
	}
	return n
}

// profileDuring takes a CPU profile of a Caddy server while an order runs, if
// profiles are wanted.
func (h *host) profileDuring(ctx context.Context, s *site, o order) <-chan error {
	done := make(chan error, 1)
	if h.profile == "" || s.peer.isNginx() {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		done <- fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.addrs.publish, int(o.For.Seconds())),
			filepath.Join(h.profile, fmt.Sprintf("%s-%d.pprof", s.peer, o.Rate)))
	}()
	return done
}

func fetch(ctx context.Context, url, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}
