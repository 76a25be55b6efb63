package redissse

import (
	"encoding/json"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/faults"
	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
	"go.uber.org/zap"
)

// TestTheWriterNoticesFirst: the reader is busy with a message while Redis closes the connection, and a PING meets that. There
// go-redis connects again and subscribes to all, and the reader, which has seen no error, reads on from the new connection.
func TestTheWriterNoticesFirst(t *testing.T) {
	const patientHub = "ping_interval 200ms\ndead_after 20s\nreconnect_min 100ms\nreconnect_max 500ms\n"
	server := redistest.Start(t)
	reader := holdReader(t, server)
	g := startGateway(t, server.URL(), patientHub, outageRoutes)
	client := ssetest.StartEventSource(t, g.client, g.URL("/a"))
	client.AwaitOpened()
	traffic := startNumbered(t, server, "a")
	g.wait("messages", func() bool { return traffic.after(client, time.Time{}) >= trafficShown })

	reader.hold()
	if n := server.KillPubSub(); n != 1 {
		t.Errorf("%d connections were killed", n)
	}
	g.wait("the writer to give up", func() bool { return !isRunning("(*generation).write") })
	if !isRunning("(*heldReader).received") {
		t.Error("the reader was not held")
	}
	reader.release()
	over := time.Now()
	g.waitLog("writing to redis")
	g.wait("messages of the new connection", func() bool { return traffic.after(client, over) >= trafficShown })
	traffic.end()
	g.wait("the last message", func() bool { return traffic.after(client, traffic.log[len(traffic.log)-2].Sent) == 1 })
	client.Close()
	traffic.judge(client, over)
}

// heldReader holds the reader of a hub, as a message might that takes long.
type heldReader struct {
	wanted  atomic.Bool
	waiting chan struct{}
	free    chan struct{}
	release func()
}

// holdReader makes the hub that a gateway with a hub "default" at the server will take.
func holdReader(t *testing.T, server *redistest.Server) *heldReader {
	t.Helper()
	r := &heldReader{waiting: make(chan struct{}, 1), free: make(chan struct{})}
	r.release = sync.OnceFunc(func() { close(r.free) })
	s, err := (&Hub{Redis: server.URL()}).resolve()
	if err != nil {
		t.Fatal(err)
	}
	l, err := claimHub(hubKey{name: defaultHub, network: s.redis.Network, addr: s.redis.Addr, user: s.redis.Username}, s, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	l.hub.memory = hub.New(s.Bounds, r.received)
	l.hub.subscriber.memory = l.hub.memory
	t.Cleanup(func() {
		r.release()
		if err := l.release(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// hold returns once the reader is held.
func (r *heldReader) hold() {
	r.wanted.Store(true)
	<-r.waiting
}

func (r *heldReader) received(int) {
	if r.wanted.Swap(false) {
		r.waiting <- struct{}{}
		<-r.free
	}
}

// isRunning tells whether a goroutine is in a function of this package.
func isRunning(function string) bool {
	stacks := make([]byte, 1<<20)
	return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "caddy-redis-sse."+function+"(")
}

// numbered is traffic on a channel, with its log for the oracle of the matrix of faults.
type numbered struct {
	t       *testing.T
	channel string
	end     func()

	mu  sync.Mutex
	log []faults.Message
}

func startNumbered(t *testing.T, server *redistest.Server, channel string) *numbered {
	n := &numbered{t: t, channel: channel}
	done := make(chan struct{})
	var running sync.WaitGroup
	n.end = sync.OnceFunc(func() {
		close(done)
		running.Wait()
	})
	running.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				n.publish(server)
			}
		}
	})
	t.Cleanup(n.end)
	return n
}

func (n *numbered) publish(server *redistest.Server) {
	n.mu.Lock()
	number := len(n.log)
	n.log = append(n.log, faults.Message{N: number, Sent: time.Now(), Outcome: faults.Taken})
	n.mu.Unlock()
	payload, err := json.Marshal(faults.Payload{C: n.channel, N: number})
	if err != nil {
		n.t.Error(err)
	}
	_, err = server.TryPublish(n.channel, string(payload))
	n.mu.Lock()
	n.log[number].Answered = time.Now()
	n.mu.Unlock()
	if err != nil {
		n.t.Errorf("publishing: %v", err)
	}
}

// after is how many messages a client has that were published after a time.
func (n *numbered) after(client *ssetest.EventSource, at time.Time) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range client.Log() {
		var p faults.Payload
		if r.What != ssetest.Received || r.Event.Type != "message" || json.Unmarshal([]byte(r.Event.Data), &p) != nil {
			continue
		}
		if n.log[p.N].Sent.After(at) {
			count++
		}
	}
	return count
}

// judge wants one outage, and nothing lost without its gap.
func (n *numbered) judge(client *ssetest.EventSource, over time.Time) {
	n.t.Helper()
	h := faults.History{
		Messages: map[string][]faults.Message{n.channel: n.log},
		Clients:  []faults.Client{{Name: "the client", Channels: []string{n.channel}, Log: client.Log()}},
	}
	allowed := faults.Allowance{Gaps: map[string]int{string(gapDisconnected): 1}}
	overs := []time.Time{over}
	v := faults.Judge(h, overs, allowed)
	for _, p := range v.Problems {
		n.t.Error(p)
	}
	if v.Declared == 0 {
		n.t.Error("nothing was lost: the connection was not killed in the middle of traffic")
	}
	if told, err := faults.Control(h, overs, allowed); err != nil || told < 4 {
		n.t.Errorf("%d controls: %v", told, err)
	}
	n.t.Logf("%+v, back after %v", v.Tally, v.Back)
}
