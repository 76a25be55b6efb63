package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/redis/go-redis/v9"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// overProtos runs a test over each HTTP version, with a demo of its own.
func overProtos(t *testing.T, test func(t *testing.T, d *demo, client *http.Client, events string)) {
	t.Run("h1", func(t *testing.T) {
		d := startDemo(t)
		test(t, d, http.DefaultClient, d.httpURL()+"/events")
	})
	t.Run("h2", func(t *testing.T) {
		d := startDemo(t)
		test(t, d, httpsClient(t, d), d.httpsURL()+"/events")
	})
	t.Run("h3", func(t *testing.T) {
		d := startDemo(t)
		test(t, d, quicClient(t, d), d.httpsURL()+"/events")
	})
}

func quicClient(t *testing.T, d *demo) *http.Client {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(d.httpsPort))
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{RootCAs: demoRoots(t, d)},
		Dial: func(ctx context.Context, _ string, config *tls.Config, options *quic.Config) (*quic.Conn, error) {
			return quic.DialAddrEarly(ctx, addr, config, options)
		},
	}
	t.Cleanup(func() { _ = transport.Close() })
	return &http.Client{Transport: transport}
}

// redisWitness sees what the worker publishes, also while nothing gets through to clients.
type redisWitness struct {
	t      *testing.T
	d      *demo
	pubsub *redis.PubSub
}

const markerChannel = "marker"

func watchRedis(t *testing.T, d *demo) *redisWitness {
	t.Helper()
	w := &redisWitness{t: t, d: d, pubsub: d.worker.client.Subscribe(t.Context(), chatChannel, markerChannel)}
	t.Cleanup(func() { _ = w.pubsub.Close() })
	for range 2 {
		if _, err := w.pubsub.ReceiveTimeout(t.Context(), 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// after returns the number of a message of chatChannel that is published after this call, and count others before it.
func (w *redisWitness) after(count int) int64 {
	w.t.Helper()
	if _, err := w.d.worker.publish(w.t.Context(), markerChannel, []byte("now")); err != nil {
		w.t.Fatal(err)
	}
	for w.receive().Channel != markerChannel {
	}
	for range count {
		w.receive()
	}
	return decode[message](w.t, w.receive().Payload).N
}

func (w *redisWitness) receive() *redis.Message {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	m, err := w.pubsub.ReceiveMessage(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func TestLostNetworkLetsNothingThroughAndAllArrivesLater(t *testing.T) {
	overProtos(t, func(t *testing.T, d *demo, client *http.Client, events string) {
		s := openCountedOver(t, client, events, map[string]int64{})
		s.until(s.beyond(0, 0))
		witness := watchRedis(t, d)
		restore := loseNetwork(t)
		first := witness.after(0)
		late := witness.after(30)
		for e, more := s.TryNext(0); more; e, more = s.TryNext(0) {
			s.count(e)
		}
		if last := s.last[chatChannel]; last >= first {
			t.Errorf("number %d arrived; from %d on the network was lost", last, first)
		}
		restore()
		s.until(s.beyond(late, 0))
		if len(s.gaps) > 0 {
			t.Errorf("gaps: %v", s.gaps)
		}
	})
}

// As the page does: it gives up a connection on which nothing comes, and asks for another one while the network is still lost.
func TestStreamThatIsOpenedInALostNetworkResumesExactly(t *testing.T) {
	overProtos(t, func(t *testing.T, d *demo, client *http.Client, events string) {
		s := openCountedOver(t, client, events, map[string]int64{})
		s.until(s.beyond(0, 0))
		witness := watchRedis(t, d)
		restore := loseNetwork(t)
		s.Close()
		var late int64
		var back sync.WaitGroup
		back.Go(func() {
			late = witness.after(30)
			restore()
		})
		resumed := openCountedOver(t, client, events, s.last, ssetest.WithLastEventID(s.lastID))
		back.Wait()
		resumed.until(resumed.beyond(late+30, 0))
		if len(resumed.gaps) > 0 {
			t.Errorf("gaps: %v", resumed.gaps)
		}
	})
}

func loseNetwork(t *testing.T) (restore func()) {
	t.Helper()
	restore, err := visitors.lose()
	if err != nil {
		t.Fatal(err)
	}
	restore = sync.OnceFunc(restore)
	t.Cleanup(restore)
	return restore
}

func TestLosingTheNetworkIsAnsweredWhenItIsBack(t *testing.T) {
	d := startDemo(t)
	if status, body := post(t, d.httpURL()+"/demo/lose-network", ""); status != http.StatusNoContent {
		t.Errorf("status %d: %s", status, body)
	}
	if visitors.lost() != nil {
		t.Error("the network is still lost")
	}

	loseNetwork(t)
	answer := httptest.NewRecorder()
	(&backend{demo: d}).loseNetwork(answer, httptest.NewRequest(http.MethodPost, "/demo/lose-network", nil))
	if answer.Code != http.StatusConflict {
		t.Errorf("losing a lost network: status %d, want 409", answer.Code)
	}
}

func TestDemoEndsWhileItsNetworkIsLost(t *testing.T) {
	d := startDemo(t)
	d.unreachable = time.Hour
	var asked sync.WaitGroup
	asked.Go(func() {
		resp, err := http.Post(d.httpURL()+"/demo/lose-network", "text/plain", nil)
		if err == nil {
			_ = resp.Body.Close()
		}
	})
	deadline := time.Now().Add(20 * time.Second)
	for visitors.lost() == nil {
		if time.Now().After(deadline) {
			t.Fatal("the network is not lost")
		}
		time.Sleep(time.Millisecond)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
	asked.Wait()
	if visitors.lost() != nil {
		t.Error("the network is still lost")
	}
}

func TestLostNetworkHoldsAMebibyteAtMost(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	n := &network{conns: map[*lossyConn]struct{}{}}
	conn := n.join(here)
	restore, err := n.lose()
	if err != nil {
		t.Fatal(err)
	}
	defer restore()
	if _, err := conn.Write(make([]byte, held)); err != nil {
		t.Errorf("writing %d bytes: %v", held, err)
	}
	if _, err := conn.Write([]byte{0}); err == nil {
		t.Error("one more byte was taken")
	}
	if len(n.conns) > 0 {
		t.Error("the connection is still there")
	}
}
