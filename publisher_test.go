package redissse

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// restHub is a hub that is not started.
func restHub(t *testing.T, url string) *redisHub {
	t.Helper()
	s, err := (&Hub{Redis: url}).resolve()
	if err != nil {
		t.Fatal(err)
	}
	h := newHub(t.Name(), s, zap.NewNop())
	t.Cleanup(func() { _ = h.Destruct() })
	return h
}

// otherOptions puts the same Redis in force as a reload does.
func (h *redisHub) otherOptions() {
	s := *h.settings.Load()
	o := *s.redis
	s.redis = &o
	h.settings.Store(&s)
}

func TestCallsSurviveTheReplacementOfTheirClient(t *testing.T) {
	fake := startFakeRedis(t)
	h := restHub(t, fake.url())
	for _, replace := range []func(){h.otherOptions, h.publisher.renew} {
		holds := make(chan struct{})
		fake.set(func() { fake.holds = holds })
		before, old := fake.count("PUBLISH"), make(chan error)
		go func() {
			_, _, err := h.publisher.publish(t.Context(), "a", []byte("x"))
			old <- err
		}()
		await(t, "the PUBLISH", func() bool { return fake.count("PUBLISH") > before })
		replace()
		fake.set(func() { fake.holds = nil })
		if _, _, err := h.publisher.publish(t.Context(), "a", []byte("y")); err != nil {
			t.Errorf("publishing with new options: %v", err)
		}
		close(holds)
		if err := <-old; err != nil {
			t.Errorf("the call that was under way: %v", err)
		}
		await(t, "the end of the old connection", func() bool { return fake.open() == 1 })
	}
	if err := h.Destruct(); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of all connections", func() bool { return fake.open() == 0 })
	if _, _, err := h.publisher.publish(t.Context(), "a", []byte("x")); !errors.Is(err, errPublisherClosed) {
		t.Errorf("publishing through a hub that has ended: %v", err)
	}
}

func TestPublishingWhileClientsAreReplaced(t *testing.T) {
	server := redistest.Start(t)
	h := restHub(t, server.URL())
	var publishing sync.WaitGroup
	for range 8 {
		publishing.Go(func() {
			for range 100 {
				if _, _, err := h.publisher.publish(t.Context(), "a", []byte("x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 50 {
		h.publisher.renew()
		h.otherOptions()
		if _, _, err := h.publisher.publish(t.Context(), "a", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	publishing.Wait()
}

func TestEachCallHasADeadline(t *testing.T) {
	h := restHub(t, "redis://127.0.0.1:1")
	var left time.Duration
	_ = h.publisher.do(context.Background(), func(ctx context.Context, _ *redis.Client) error {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return nil
	})
	if left <= 0 || left > commandTimeout {
		t.Errorf("%v are left, want up to %v", left, commandTimeout)
	}
}

// TestAReconnectionRenewsThePublisher: the address may lead to another server now, and the old one may live on.
func TestAReconnectionRenewsThePublisher(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	h := startProbed(t, fake.url(), time.Minute, "a")
	h.awaitProved(1)
	first, before := h.subscriber.generation.Load(), map[*fakeConn]bool{}
	fake.set(func() {
		for c := range fake.conns {
			before[c] = true
			if len(c.subs) > 0 {
				_ = c.Close()
			}
		}
	})
	if len(before) != 2 {
		t.Fatalf("%d connections, want the subscription's and the publisher's", len(before))
	}
	await(t, "a proof in another generation", func() bool { return h.subscriber.generation.Load() != first && h.proved() })
	await(t, "the end of the old connections", func() (none bool) {
		fake.set(func() {
			none = true
			for c := range before {
				none = none && !fake.conns[c]
			}
		})
		return none
	})
}

// What go-redis has to say is in Caddy's log for those who look closely.
func TestTheLibraryLogsThroughCaddy(t *testing.T) {
	g := newGateway(t)
	g.loadConfig("debug\n"+hubAt(adaptDead, ""), publishRoutes)
	g.publish("news", "x")
	g.waitLog("redis_sse.go-redis")
}
