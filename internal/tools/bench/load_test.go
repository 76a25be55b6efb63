//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// echo is a server that streams what is posted to it, with a fault.
type echo struct {
	fault func(n int, frame string) []string // what goes out for the n-th message of channel 0; channels come on connections of their own

	mu      sync.Mutex
	n       int
	clients map[string][]chan string // by channel
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	channel := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if r.Method == http.MethodPost {
		payload, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		e.publish(channel, string(payload))
		return
	}
	frames := make(chan string, 1000)
	e.mu.Lock()
	e.clients[channel] = append(e.clients[channel], frames)
	e.mu.Unlock()
	control := http.NewResponseController(w)
	frame := ": hi\n\n"
	for {
		if _, err := io.WriteString(w, frame); err != nil || control.Flush() != nil {
			return
		}
		select {
		case frame = <-frames:
		case <-r.Context().Done():
			return
		}
	}
}

func (e *echo) publish(channel, payload string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	frames := []string{"id: 1\ndata: " + payload + "\n\n"}
	if e.fault != nil && channel == "0" {
		frames = e.fault(e.n, frames[0])
		e.n++
	}
	for _, c := range e.clients[channel] {
		for _, f := range frames {
			c <- f
		}
	}
}

// runAgainst has six clients of three channels, as s says otherwise.
func runAgainst(t *testing.T, s spec, e *echo, o order) (result, error) {
	t.Helper()
	e.clients = make(map[string][]chan string)
	streams := httptest.NewUnstartedServer(e)
	if s.HTTP2 {
		streams.EnableHTTP2 = true
		streams.StartTLS()
	} else {
		streams.Start()
	}
	t.Cleanup(streams.Close)
	publish := httptest.NewServer(e)
	t.Cleanup(publish.Close)
	s.Addr, s.Path, s.Clients, s.Channels = streams.Listener.Addr().String(), "/events/%d", 6, 3
	s.Publish = endpoint{Addr: publish.Listener.Addr().String(), Path: "/publish/%d"}
	l, err := newLoad(s)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := l.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.fault != nil {
		l.patience = time.Second // what is lost never comes
	}
	return l.run(t.Context(), o)
}

func TestLoadFindsFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	held := ""
	for _, test := range []struct {
		name                   string
		fault                  func(n int, frame string) []string
		lost, disordered, gaps int // per client of channel 0, of which there are two
	}{
		{"none", nil, 0, 0, 0},
		{"lost", func(n int, f string) []string { return cutIf(n == 3, f) }, 1, 0, 0},
		{"the last one lost", func(n int, f string) []string { return cutIf(n == 9, f) }, 1, 0, 0},
		{"doubled", func(n int, f string) []string {
			if n == 3 {
				return []string{f, f}
			}
			return []string{f}
		}, 0, 1, 0},
		{"swapped", func(n int, f string) []string {
			switch n {
			case 3:
				held = f
				return nil
			case 4:
				return []string{f, held}
			}
			return []string{f}
		}, 1, 1, 0},
		{"a gap", func(n int, f string) []string {
			if n == 3 {
				return []string{"event: gap\ndata: {}\n\n", f}
			}
			return []string{f}
		}, 0, 0, 1},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/http2=%t", test.name, http2), func(t *testing.T) {
				got, err := runAgainst(t, spec{HTTP2: http2}, &echo{fault: test.fault}, order{Rate: 100, For: 300 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				if got.Published != 30 || got.Delivered != 60-2*test.lost || got.Lost != 2*test.lost ||
					got.Disordered != 2*test.disordered || got.Gaps != 2*test.gaps {
					t.Errorf("got %+v", got)
				}
				if got.P50 <= 0 || got.P99 < got.P50 || got.Max < got.P99 {
					t.Errorf("latencies %v %v %v are not in order", got.P50, got.P99, got.Max)
				}
			})
		}
	}
}

// However streams are opened, all of them are served.
func TestLoadIsWhole(t *testing.T) {
	for name, s := range map[string]spec{
		"streams that share connections": {HTTP2: true, Share: 4},
		"other channels":                 {First: 10},
		"clients that do not look":       {Skim: 3},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := runAgainst(t, s, new(echo), order{Rate: 300, For: 100 * time.Millisecond})
			if err != nil || got.Delivered != 60 || got.Lost != 0 || got.P50 <= 0 {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// Channel 0 has one client that looks and one that does not.
func TestClientsThatDoNotLookMissMessagesToo(t *testing.T) {
	e := &echo{fault: func(n int, f string) []string { return cutIf(n > 3, f) }}
	got, err := runAgainst(t, spec{Skim: 2}, e, order{Rate: 300, For: 100 * time.Millisecond})
	if err != nil || got.Lost <= 6 { // six of the one, and of the other what its bytes have no room for
		t.Errorf("got %+v, %v", got, err)
	}
}

func cutIf(cut bool, frame string) []string {
	if cut {
		return nil
	}
	return []string{frame}
}

func TestLoadFailsOnAForeignMessage(t *testing.T) {
	e := &echo{fault: func(_ int, f string) []string { return []string{strings.ReplaceAll(f, "@0 ", "@1 ")} }}
	if _, err := runAgainst(t, spec{}, e, order{Rate: 100, For: 100 * time.Millisecond}); !errors.Is(err, errForeign) {
		t.Errorf("got %v, want %v", err, errForeign)
	}
}

func TestLoadFailsOnARefusal(t *testing.T) {
	refusing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(refusing.Close)
	addr := refusing.Listener.Addr().String()
	l, err := newLoad(spec{Addr: addr, Path: "/%d", Clients: 1, Channels: 1, Publish: endpoint{Addr: addr, Path: "/%d"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := l.open(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v, want the status", err)
	}
}

// A body may be cut anywhere.
func TestChunkedBodies(t *testing.T) {
	const body = "7\r\nid: 1\nd\r\n1A;name=value\r\n"
	if err := new(chunked).feed([]byte(body), func([]byte) error { return nil }); err == nil {
		t.Error("an extension, which no server here sends, was read as a size")
	}
	const sent = "7\r\nid: 1\nd\r\n14\r\nata: one\n\ndata: two\n\r\n1\r\n\n\r\n"
	want := []string{"id: 1", "data: one", "", "data: two", ""}
	for cut := range len(sent) + 1 {
		var c chunked
		var got []string
		keep := func(line []byte) error { got = append(got, string(line)); return nil }
		if err := errors.Join(c.feed([]byte(sent[:cut]), keep), c.feed([]byte(sent[cut:]), keep)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("cut at %d: got %q", cut, got)
		}
	}
	if err := new(chunked).feed([]byte("0\r\n"), nil); err != io.EOF {
		t.Errorf("got %v at the last chunk, want %v", err, io.EOF)
	}
}

func TestLatencyBuckets(t *testing.T) {
	before := -1
	for d := time.Duration(0); d < time.Minute; d += d/50 + 1 {
		b := bucketOf(d)
		if b < before {
			t.Fatalf("%v is in bucket %d, below %d", d, b, before)
		}
		before = b
		if up := upTo(b); up < d || float64(up-d) > float64(d)/steps+2 {
			t.Fatalf("%v is in the bucket up to %v", d, up)
		}
	}
}

func TestQuantiles(t *testing.T) {
	tally := tally{base: time.Now().Add(-time.Hour)}
	for i := range 100 {
		tally.count(time.Since(tally.base) - time.Duration(i+1)*time.Second)
	}
	r := tally.result()
	for _, q := range []struct{ got, want float64 }{{r.P50, 50_000}, {r.P99, 99_000}, {r.Max, 100_000}} {
		if q.got < q.want || q.got > q.want*1.05 {
			t.Errorf("got %v ms, want %v", q.got, q.want)
		}
	}
}

// The gateway and the bare handler stream the same load over both protocols.
func TestServersStreamALoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	h, err := newHost("")
	if err != nil {
		t.Fatal(err)
	}
	h.serverCore, h.loadCore = "", "" // what runs beside the tests needs them, too
	defer h.close()
	for _, who := range []peer{gateway, bareCaddy} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/http2=%t", who, http2), func(t *testing.T) { streamALoad(t, h, who, http2) })
		}
	}
}

func streamALoad(t *testing.T, h *host, who peer, http2 bool) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f, err := h.fanOut(ctx, who, spec{HTTP2: http2, Clients: 12, Channels: 4}, order{Rate: 100, For: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if f.Bad != 0 || f.Rate <= 0 || f.P99 < f.P50 { // CPU may be less than a tick, memory may have been given back
		t.Errorf("got %+v", f)
	}
	if who == gateway && (f.Conns < 1 || f.Conns > 5) {
		t.Errorf("%v connections to redis, want 1 to 5", f.Conns)
	}
	f, err = h.idle(ctx, who, spec{HTTP2: http2, Clients: 30, Channels: 4}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if f.Opens <= 0 {
		t.Errorf("got %+v", f)
	}
}

func TestUsageCountsChildrenToo(t *testing.T) {
	p := newProcess("", t.TempDir(), nil, "sh", "-c", "sh -c 'while :; do :; done'; exit")
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	defer func() { // first the child: it would outlive its parent
		pids, err := family(p.cmd.Process.Pid)
		if err != nil {
			t.Error(err)
		}
		for _, pid := range slices.Backward(pids) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		u, err := p.usage()
		if err != nil {
			t.Fatal(err)
		}
		if u.cpu >= 10*clockTick && u.rss > 100 {
			return
		}
	}
	t.Error("a child that is busy uses no CPU time or no memory")
}
