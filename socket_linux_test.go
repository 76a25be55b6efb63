package redissse

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// heldPair returns both ends of a connection of which this one is held for a stream whose client's going is awaited.
func heldPair(t *testing.T) (here, there *net.TCPConn, hold connHold, d *departures) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialed, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	d = new(departures)
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- d.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
		_, _ = accepted.Close(), dialed.Close()
	})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	hold = holdConn(r.WithContext(withConn(r.Context(), accepted)), unacknowledged)
	hold.watch(d, func() {})
	return accepted.(*net.TCPConn), dialed.(*net.TCPConn), hold, d
}

// A stream's own descriptor is all that is left of the server's connection: what is written to it arrives, its client's going is told,
// and its end is the client's.
func TestAStreamsOwnSocketIsTheConnection(t *testing.T) {
	for _, reset := range []bool{false, true} {
		here, there, hold, d := heldPair(t)
		s, err := newOwnSocket(&hold)
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan struct{})
		s.take(&hold, d, func() { close(gone) })
		if _, err := here.Write([]byte("x")); !errors.Is(err, net.ErrClosed) || hold.conn != nil {
			t.Errorf("the server's connection fails with %v, %+v is held of it", err, hold)
		}
		if n, err := s.send([]byte("event")); n != 5 || err != nil {
			t.Fatalf("%d bytes are sent, %v", n, err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(there, got); err != nil || string(got) != "event" {
			t.Errorf("the client got %q, %v", got, err)
		}
		if _, err := there.Write([]byte("who asked?")); err != nil {
			t.Fatal(err)
		}
		if !reset {
			if err := there.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			<-gone
		}
		s.close(reset)
		if _, err := there.Read(got); errors.Is(err, io.EOF) == reset {
			t.Errorf("with reset %v the client's end is %v", reset, err)
		}
	}
}

func TestASocketThatIsDroppedStaysTheServers(t *testing.T) {
	here, there, hold, _ := heldPair(t)
	s, err := newOwnSocket(&hold)
	if err != nil {
		t.Fatal(err)
	}
	s.drop()
	if _, err := here.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := there.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("the client got %d bytes, %v", n, err)
	}
	hold.release(false)
}

func TestAConnectionThatIsClosedHasNoSocket(t *testing.T) {
	here, _, hold, _ := heldPair(t)
	here.Close()
	if s, err := newOwnSocket(&hold); err == nil {
		t.Errorf("a socket of it has the descriptor %d", s.fd)
	}
	s, err := newServerSocket(&hold)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.send([]byte("x")); n != 0 || err == nil {
		t.Errorf("%d bytes are sent, %v", n, err)
	}
	hold.release(true)
}
