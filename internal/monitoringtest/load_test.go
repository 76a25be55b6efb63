//go:build linux && monitoring

package monitoringtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// load is what clients and backends do, until the test ends.
type load struct {
	ctx    context.Context
	client *http.Client
	wg     sync.WaitGroup
}

func newLoad(t *testing.T) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{ctx: ctx, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() {
		cancel()
		l.wg.Wait()
		l.client.CloseIdleConnections()
	})
	return l
}

// every does something again and again, beside the test. What fails is part of the load.
func (l *load) every(pause time.Duration, do func()) {
	l.wg.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				do()
			case <-l.ctx.Done():
				return
			}
		}
	})
}

// streams are n clients that read as browsers do: each comes back with its last id.
func (l *load) streams(n int, url string) {
	for range n {
		id := ""
		l.every(200*time.Millisecond, func() { id = l.stream(url, id) })
	}
}

// stream reads one to its end and returns its last id.
func (l *load) stream(url, id string) string {
	response, err := l.request(http.MethodGet, url, "", "Last-Event-ID", id)
	if err != nil {
		return id
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadString('\n')
		if next, is := strings.CutPrefix(line, "id: "); is {
			id = strings.TrimSpace(next)
		}
		if err != nil {
			return id
		}
	}
}

// get asks and reads what comes for a moment.
func (l *load) get(url string) {
	response, err := l.request(http.MethodGet, url, "")
	if err != nil {
		return
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, 64)
}

// post publishes.
func (l *load) post(url, body string) {
	response, err := l.request(http.MethodPost, url, body)
	if err != nil {
		return
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
}

func (l *load) request(method, url, body string, headers ...string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(l.ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return l.client.Do(request)
}

// sleepers are n clients that take so many bytes every tenth of a second, be it none. They go after a while, or when they are cut, and
// come back.
func (l *load) sleepers(n, bytes int, stay time.Duration, addr, path string) {
	for range n {
		l.every(100*time.Millisecond, func() { l.sleeper(bytes, stay, addr, path) })
	}
}

func (l *load) sleeper(bytes int, stay time.Duration, addr, path string) {
	ctx, cancel := context.WithTimeout(l.ctx, stay)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	_ = conn.(*net.TCPConn).SetReadBuffer(16 << 10) // so that the gateway notices soon
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, addr)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := io.CopyN(io.Discard, conn, int64(bytes)); err != nil {
			return
		}
	}
}
