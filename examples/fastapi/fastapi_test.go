//go:build clients && linux

package fastapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// state is what a job publishes, and what the app says of it.
type state struct {
	N     int     `json:"n"`
	Done  float64 `json:"done"`
	State string  `json:"state"`
}

// A job is told from its beginning to a stream that is opened when it has long begun, and again to one that is opened after its
// end.
func TestAJobIsToldFromItsBeginning(t *testing.T) {
	t.Parallel()
	e := startExample(t, "JOB_PAGES=10", "JOB_PAUSE=0.1")
	id := e.startJob()
	e.poll("the job to be at work", func() bool { return e.state(id).N >= 3 })
	for _, when := range []string{"during", "after"} {
		stream := e.open(id)
		for n := 1; n <= 11; n++ {
			want := state{N: n, Done: float64(min(n, 10)) / 10, State: "running"}
			if n == 11 {
				want.State = "finished"
			}
			if got := next(t, stream); got != want {
				t.Errorf("%s: got %+v, want %+v", when, got, want)
			}
		}
		stream.Close()
	}
	if got, want := e.state(id), (state{N: 11, Done: 1, State: "finished"}); got != want {
		t.Errorf("the app says %+v, want %+v", got, want)
	}
	if status := e.status(e.site + "/jobs/" + strings.Repeat("0", 32)); status != http.StatusNotFound {
		t.Errorf("status %d for a job that is none", status)
	}
}

// A connection that is cut in the middle costs nothing: the client goes on exactly where it was.
func TestACutConnectionLosesNothing(t *testing.T) {
	t.Parallel()
	e := startExample(t, "JOB_PAGES=1000000", "JOB_PAUSE=0.02")
	id := e.startJob()
	_, port, _ := strings.Cut(e.site, "localhost:")
	proxy := redistest.NewProxy(t, "127.0.0.1:"+port)
	url := "http://" + proxy.Addr() + "/jobs/" + id + "/events"
	host := ssetest.WithHeader("Host", "localhost:"+port)

	n := 0 // the last that was read
	take := func(event ssetest.Event) {
		if event.Type == "cursor" {
			return
		}
		if got := decode(t, event); got.N != n+1 {
			t.Fatalf("after number %d: %+v", n, got)
		}
		n++
	}
	stream := ssetest.Open(t, e.client, url, host)
	for range 3 {
		for end := n + 30; n < end; {
			take(stream.Next())
		}
		proxy.Reset()
		proctest.Await(t, "the stream to be cut", stream.Ended())
		for event, more := stream.TryNext(0); more; event, more = stream.TryNext(0) {
			take(event)
		}
		before := n
		e.poll("the job to go on", func() bool { return e.state(id).N > before+5 })
		stream = ssetest.Open(t, e.client, url, host, ssetest.WithLastEventID(stream.LastEventID()))
	}
	for end := n + 30; n < end; {
		take(stream.Next())
	}
}

// While Redis is restarted messages are lost, as pub/sub does; the stream stays open and says so, and the app knows the rest.
func TestARedisRestartIsAGap(t *testing.T) {
	t.Parallel()
	e := startExample(t, "JOB_PAGES=60", "JOB_PAUSE=0.1")
	id := e.startJob()
	stream := e.open(id)
	for range 3 {
		next(t, stream)
	}
	e.redis.Kill()
	down := e.state(id).N
	e.poll("messages to be lost", func() bool {
		now := e.state(id)
		return now.N >= down+2 || now.State == "finished"
	})
	e.redis.Restart()
	last := 3
	for event := stream.NextAfterCursors(); event.Type != "gap"; event = stream.NextAfterCursors() {
		last++
		if got := decode(t, event); got.N != last {
			t.Fatalf("number %d without a gap before: %+v", last, got)
		}
	}
	// What a page does.
	shown := e.state(id)
	if shown.N < last {
		t.Errorf("after the gap the app says %+v, but %d was published", shown, last)
	}
	for shown.State == "running" {
		if got := next(t, stream); got.N > shown.N+1 {
			t.Fatalf("after %+v, fetched or read: %+v", shown, got)
		} else if got.N > shown.N {
			shown = got
		}
	}
	if want := (state{N: 61, Done: 1, State: "finished"}); shown != want {
		t.Errorf("in the end %+v, want %+v", shown, want)
	}
}

// Where only the app has lost Redis there is no gap. It tells the end of a job as soon as it can.
func TestTheEndIsToldAfterAnOutageOfTheApp(t *testing.T) {
	t.Parallel()
	e := startExample(t, "JOB_PAGES=20", "JOB_PAUSE=0.1")
	id := e.startJob()
	stream := e.open(id)
	next(t, stream)
	e.toRedis.SetRefuse(true)
	e.toRedis.Reset()
	e.poll("the job to end", func() bool { return e.state(id).State == "finished" })
	e.toRedis.SetRefuse(false)
	got := next(t, stream)
	for got.State == "running" {
		got = next(t, stream)
	}
	if want := (state{N: 21, Done: 1, State: "finished"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The app ends while there is a stream, which does not notice.
func TestAnExitOfTheAppTouchesNoStream(t *testing.T) {
	t.Parallel()
	e := startExample(t, "JOB_PAGES=1", "JOB_PAUSE=0")
	id := e.startJob()
	stream := e.open(id)
	for n := 1; n <= 2; n++ {
		next(t, stream)
	}
	e.app.Signal(t, syscall.SIGTERM)
	proctest.Await(t, "uvicorn to end", e.app.Exited())
	e.redis.Publish("job:"+id, `{"n":3}`)
	if got, want := next(t, stream), (state{N: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Redis has one subscribed connection, however many streams there are.
func TestOneConnectionForAllStreams(t *testing.T) {
	t.Parallel()
	e := startExample(t, "JOB_PAGES=1", "JOB_PAUSE=0")
	for range 20 {
		id := e.startJob()
		for range 2 {
			stream := e.open(id)
			next(t, stream)
		}
	}
	if n := e.redis.PubSubClients(); n != 1 {
		t.Errorf("%d subscribed connections for 40 streams of 20 channels, want 1", n)
	}
}

func (e *example) startJob() string {
	e.t.Helper()
	response, err := e.client.Post(e.site+"/jobs", "", nil)
	if err != nil {
		e.t.Fatal(err)
	}
	defer response.Body.Close()
	var job struct{ ID string }
	if err := json.NewDecoder(response.Body).Decode(&job); err != nil {
		e.t.Fatal(err)
	}
	if where := response.Header.Get("Location"); response.StatusCode != http.StatusAccepted || where != "/jobs/"+job.ID {
		e.t.Fatalf("starting a job: status %q, location %q, id %q", response.Status, where, job.ID)
	}
	return job.ID
}

// state is what the app says of a job.
func (e *example) state(id string) (s state) {
	e.t.Helper()
	response, err := e.client.Get(e.site + "/jobs/" + id)
	if err != nil {
		e.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		e.t.Fatalf("the state of job %s: %s", id, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(&s); err != nil {
		e.t.Fatal(err)
	}
	return s
}

func (e *example) open(id string, opts ...ssetest.Option) *ssetest.Stream {
	e.t.Helper()
	stream := ssetest.Open(e.t, e.client, fmt.Sprintf("%s/jobs/%s/events", e.site, id), opts...)
	stream.SkipCursor()
	return stream
}

func next(t *testing.T, stream *ssetest.Stream) state {
	t.Helper()
	return decode(t, stream.NextAfterCursors())
}

func decode(t *testing.T, event ssetest.Event) (s state) {
	t.Helper()
	if event.Type != "message" {
		t.Fatalf("got %+v, want a message", event)
	}
	if err := json.Unmarshal([]byte(event.Data), &s); err != nil {
		t.Fatalf("%q: %v", event.Data, err)
	}
	return s
}
