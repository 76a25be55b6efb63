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
	"time"
)

// figures are what one measurement found. A field that it does not measure is
// zero.
type figures struct {
	KiB      float64 // of memory a stream
	Opens    float64 // streams opened a second
	P50, P99 float64 // latency, milliseconds
	CPU      float64 // of the server, microseconds a delivery
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

// warmUp is a run before the one that counts: it shows that every client is
// subscribed, and the first messages grow stacks and buffers.
var warmUp = order{Rate: 50, For: 200 * time.Millisecond}

// fanOut measures messages to streams that have been opened for it.
func (h *host) fanOut(ctx context.Context, who peer, l spec, o order) (f figures, err error) {
	s, err := h.start(ctx, who)
	if err != nil {
		return f, err
	}
	defer s.stop()
	c, _, err := h.open(s.complete(l))
	if err != nil {
		return f, err
	}
	defer c.close()
	var r result
	warm := warmUp
	if warm.messages() < l.Channels {
		warm.Rate = l.Channels
		warm.For = time.Second
	}
	if err := c.ask(warm, &r); err != nil {
		return f, err
	}
	if r.Lost > 0 {
		return f, fmt.Errorf("warming up: %d messages did not arrive", r.Lost)
	}
	server, redis, err := s.usage()
	if err != nil {
		return f, err
	}
	profiled := h.profileDuring(ctx, s, o)
	if err := c.ask(o, &r); err != nil {
		return f, err
	}
	if err := <-profiled; err != nil {
		return f, err
	}
	serverAfter, redisAfter, err := s.usage()
	if err != nil {
		return f, err
	}
	n := float64(max(1, r.Delivered))
	return figures{
		P50: r.P50, P99: r.P99,
		CPU:   (serverAfter.cpu - server.cpu).Seconds() * 1e6 / n,
		Redis: (redisAfter.cpu - redis.cpu).Seconds() * 1e6 / n,
		Load:  r.LoadCPU / r.Seconds, Rate: n / r.Seconds,
		Bad:   float64(r.Lost + r.Disordered + r.Gaps),
		Conns: float64(s.connections()),
	}, nil
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
		Conns: float64(s.connections()),
	}, nil
}

func (s *site) usage() (server, redis usage, err error) {
	if server, err = s.server.usage(); err != nil {
		return server, redis, err
	}
	redis, err = s.redis.usage()
	return server, redis, err
}

// connections returns how many clients Redis has, but for the load process and
// the one that asks.
func (s *site) connections() int {
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
	if s.peer == gateway || s.peer == bareCaddy {
		n-- // the publisher
	}
	return n
}

// profileDuring takes a CPU profile of a Caddy server while an order runs, if
// profiles are wanted.
func (h *host) profileDuring(ctx context.Context, s *site, o order) <-chan error {
	done := make(chan error, 1)
	if h.profile == "" || s.peer != gateway && s.peer != bareCaddy {
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
