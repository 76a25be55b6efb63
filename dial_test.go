package redissse

import (
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// go-redis looks at a pooled connection's socket before it uses it, but not at one below TLS.
func TestPooledSocketsCanBeLookedAt(t *testing.T) {
	fake := startFakeRedis(t)
	o, err := redis.ParseURL(fake.url())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := commandOptions(o, idleTrusted, &pauses{clock: newHub("", &settings{Bounds: roomy}, zap.NewNop()).memory.Clock}).Dialer(t.Context(), "tcp", o.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, ok := conn.(syscall.Conn); !ok {
		t.Error("a socket cannot be looked at")
	}
}
