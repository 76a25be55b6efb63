package redissse

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// TestAByteAfterTheRequestHidesNoGoneClient: net/http takes it for the next request, and looks no further. No heartbeat finds the
// client gone before this test gives up.
func TestAByteAfterTheRequestHidesNoGoneClient(t *testing.T) {
	server := redistest.Start(t)
	dials := map[string]func(addr string) (net.Conn, error){
		httpOne: func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) },
		httpTwo: func(addr string) (net.Conn, error) { // TLS, but HTTP/1.1
			return tls.Dial("tcp", addr, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		},
	}
	for site, dial := range dials {
		t.Run(siteOver(site, "127.0.0.1:"), func(t *testing.T) {
			g := newGatewayOver(t, site)
			g.load(server.URL(), "", "redis_sse /news news {\nheartbeat 59s\ndrain 0s 0s\n}\nmetrics /metrics\n")
			before := g.scrape()
			streams := func() float64 { return g.scrape().since(before)[`streams{hub="default",route="news"}`] }
			conn, err := dial(g.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			request, err := http.NewRequest(http.MethodGet, g.URL("/news"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := request.Write(conn); err != nil {
				t.Fatal(err)
			}
			if response, err := http.ReadResponse(bufio.NewReader(conn), request); err != nil || response.Proto != httpOne || streams() != 1 {
				t.Fatalf("%v, %v, %v streams", response, err, streams())
			}
			fmt.Fprint(conn, "x")
			conn.Close()
			g.wait("the stream to end", func() bool { return streams() == 0 })
		})
	}
}

func TestDeparturesAreToldOfTheirOwn(t *testing.T) {
	var d departures
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	pair := func() (here, there net.Conn) {
		there, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		here, err = listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { here.Close(); there.Close() })
		return here, there
	}
	first, _ := pair()
	d.await(socketOf(first), func() { t.Error("told before it is open") }).forget()
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.run(ctx) }()

	stays, _ := pair()
	d.await(socketOf(stays), func() { t.Error("told of one that stays") })
	closed, _ := pair()
	socket := socketOf(closed)
	closed.Close()
	d.await(socket, func() { t.Error("told of one that was closed here before") }).forget()
	// More than are taken at a time, on connections that have carried a stream before.
	const many = 100
	told := make(chan int, 2*many)
	for i := range many {
		here, there := pair()
		d.await(socketOf(here), func() { t.Error("told of one that is forgotten") }).forget()
		defer d.await(socketOf(here), func() { told <- i }).forget()
		there.Close()
	}
	seen := map[int]int{}
	for range many {
		seen[<-told]++
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("running: %v", err)
	}
	if len(seen) != many || len(told) != 0 || len(d.awaited) != 1 {
		t.Errorf("told of %d, then of %d more; %d are awaited", len(seen), len(told), len(d.awaited))
	}
	d.await(socketOf(stays), func() { t.Error("told after the end") }).forget()
}

func TestDeparturesThatCannotBeWatched(t *testing.T) {
	var d departures
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	d.file.Close()
	if err := d.run(t.Context()); err == nil {
		t.Error("no error")
	}
}
