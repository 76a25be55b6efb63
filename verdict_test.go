package redissse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// redisReply is an error reply as go-redis returns it.
type redisReply string

func (e redisReply) Error() string { return string(e) }

func (redisReply) RedisError() {}

var _ redis.Error = redisReply("")

func TestVerdicts(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	write := &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}
	read := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	unreachable := verdict{dropUnreachable, http.StatusServiceUnavailable, true, weightFailure}
	unavailable := verdict{dropUnavailable, http.StatusServiceUnavailable, true, weightFailure}
	lasting := verdict{dropUnavailable, http.StatusServiceUnavailable, false, weightFailure}
	unknown := verdict{dropUnknown, http.StatusGatewayTimeout, false, weightFailure}
	for _, c := range []struct {
		err  error
		sent bool
		want verdict
	}{
		{dial, false, unreachable},
		{fmt.Errorf("wrapped: %w", dial), false, unreachable},
		{io.EOF, false, unreachable}, // of the handshake
		{read, false, unreachable},
		{context.DeadlineExceeded, false, unreachable},
		{write, true, unreachable}, // half a command is none
		{read, true, unknown},
		{io.EOF, true, unknown},
		{syscall.ECONNRESET, true, unknown},
		{context.DeadlineExceeded, true, unknown},
		{errors.New("redis: can't parse reply"), true, unknown},
		{redisReply("LOADING Redis is loading"), true, unavailable},
		{redisReply("READONLY You can't write"), true, unavailable},
		{redisReply("MASTERDOWN Link"), true, unavailable},
		{redisReply("CLUSTERDOWN The cluster is down"), true, unavailable},
		{redisReply("TRYAGAIN later"), true, unavailable},
		{redisReply("ERR max number of clients reached"), false, unavailable},
		{redisReply("OOM command not allowed"), true, lasting},
		{redisReply("NOREPLICAS Not enough"), true, lasting},
		{redisReply("MISCONF Redis is configured"), true, lasting},
		{redisReply("NOAUTH Authentication required."), true, verdict{dropDenied, http.StatusBadGateway, false, weightFailure}},
		{fmt.Errorf("authenticating: %w", redisReply("WRONGPASS invalid")), false, verdict{dropDenied, http.StatusBadGateway, false, weightFailure}},
		{redisReply("NOPERM this user"), true, verdict{dropDenied, http.StatusBadGateway, false, weightSuccess}},
		{redisReply("ERR unknown command"), true, verdict{dropRejected, http.StatusBadGateway, false, weightSuccess}},
		{redis.ErrPoolTimeout, false, verdict{dropBusy, http.StatusServiceUnavailable, false, weightNone}},
	} {
		if got := judge(c.err, c.sent, false); got != c.want {
			t.Errorf("%v, sent %v: %+v, want %+v", c.err, c.sent, got, c.want)
		}
		got := judge(c.err, c.sent, true)
		if got.weight == weightFailure || got.again {
			t.Errorf("%v, sent %v, the request has ended: %+v, want nothing of it", c.err, c.sent, got)
		}
		if (c.want.reason == dropUnknown) != (got.reason == dropUnknown) {
			t.Errorf("%v, sent %v, the request has ended: %+v; what is unknown stays so, and nothing else becomes it", c.err, c.sent, got)
		}
	}
}
