//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// endpoint is where messages are published: a Redis, or HTTP if Path is set.
type endpoint struct {
	Addr string
	Path string // a channel's URL path to POST to, its number for %d
}

// httpConns is how many connections a publisher has over HTTP. A channel's
// messages always take the same one, so that they stay in order.
const httpConns = 4

// publisher writes messages without waiting for the answers, as a backend with
// a pipeline does: the rate must not depend on the server's latency. One
// goroutine publishes.
type publisher struct {
	to     endpoint
	lines  []*publishLine
	failed atomic.Pointer[error]
	wg     sync.WaitGroup
}

// publishLine is one connection.
type publishLine struct {
	conn net.Conn
	out  *bufio.Writer
}

func dialPublisher(to endpoint) (*publisher, error) {
	p := &publisher{to: to}
	n, check := 1, checkRedis
	if to.Path != "" {
		n, check = httpConns, checkHTTP
	}
	for range n {
		conn, err := net.Dial("tcp", to.Addr)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("dialing the publisher's endpoint: %w", err)
		}
		p.lines = append(p.lines, &publishLine{conn, bufio.NewWriterSize(conn, 64<<10)})
		p.wg.Go(func() {
			if err := check(bufio.NewReader(conn)); err != nil {
				p.failed.CompareAndSwap(nil, &err)
			}
		})
	}
	return p, nil
}

func (p *publisher) close() {
	for _, l := range p.lines {
		l.conn.Close()
	}
	p.wg.Wait()
}

// wait sends what has been published and waits for a due time.
func (p *publisher) wait(ctx context.Context, due time.Time) error {
	d := time.Until(due)
	if d <= 0 {
		return nil
	}
	if err := p.flush(); err != nil {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *publisher) publish(channel int, payload []byte) error {
	l := p.lines[channel%len(p.lines)]
	var err error
	if p.to.Path == "" {
		name := fmt.Sprintf("%s%d", channelPrefix, channel)
		_, err = fmt.Fprintf(l.out, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(name), name, len(payload), payload)
	} else {
		_, err = fmt.Fprintf(l.out, "POST "+p.to.Path+" HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s", channel, len(payload), payload)
	}
	if err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	return nil
}

func (p *publisher) flush() error {
	for _, l := range p.lines {
		if err := l.out.Flush(); err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
	}
	return nil
}

// failure returns what the server did not take.
func (p *publisher) failure() error {
	if err := p.failed.Load(); err != nil {
		return fmt.Errorf("publishing: %w", *err)
	}
	return nil
}

// checkRedis reads replies until one is an error or the connection ends.
func checkRedis(in *bufio.Reader) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return ended(err)
		}
		if line[0] != ':' {
			return fmt.Errorf("redis answered %q", line)
		}
	}
}

func checkHTTP(in *bufio.Reader) error {
	for {
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			return ended(err)
		}
		if response.StatusCode/100 != 2 {
			return fmt.Errorf("the server answered %s", response.Status)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return ended(err)
		}
	}
}

// ended leaves out the end that close makes.
func ended(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
