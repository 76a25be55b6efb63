package redissse

import (
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// While an old configuration is there its larger total_size counts; once it has gone what is over the smaller one goes at once.
func TestAShrunkTotalSizeCountsOnceTheOldConfigurationHasGone(t *testing.T) {
	large := &settings{Bounds: roomy}
	small := *large
	small.Budget.Bytes = 10_000
	h := newHub("shrunk"+nonce(), large, zap.NewNop())
	h.register("large", large, zap.NewNop())
	if _, err := h.memory.Open(0, []string{"a"}, nil, hub.NewWaiter()); err != nil {
		t.Fatal(err)
	}
	replies := h.memory.NewReplies()
	kind, names := replies.Next()
	if _, err := replies.Confirmed(kind, names[0]); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		h.memory.Receive("", "a", strings.Repeat("x", 1000))
	}
	h.register("small", &small, zap.NewNop())
	if n := heldMessages(h); n != 100 {
		t.Errorf("beside the larger total_size %d messages are left", n)
	}
	h.unregister("large")
	if held := h.memory.Holds(); held.Messages < 7 || held.Bytes > 10_000 {
		t.Errorf("left are %+v", held)
	}
}

// For a message of more than half of total_size all others would have to go, and it might go, too.
func TestAChannelHasAtMostHalfOfTotalSize(t *testing.T) {
	s, err := (&Hub{Buffer: &Buffer{TotalSize: minTotalSize}}).resolve()
	if err != nil || s.Limits.Bytes != minTotalSize/2 {
		t.Errorf("channel_size is %d, %v, want half of %d", s.Limits.Bytes, err, int64(minTotalSize))
	}
}
