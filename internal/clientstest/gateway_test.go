//go:build clients && linux

package clientstest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// gateway is "caddy run" with a Redis of its own.
type gateway struct {
	redis *redistest.Server
	url   string
}

// answerEnd is the message that ends a stream of /ending.
const answerEnd = "[DONE]"

// newGateway runs Caddy. /streams/x is a stream of channel x, and so are /aging/x, which ends soon, and /ending/x, which has an end.
func newGateway(t *testing.T, maxChannels int) *gateway {
	t.Helper()
	addr := proctest.FreeAddr(t)
	g := &gateway{redis: redistest.Start(t), url: "http://" + addr}
	text := fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	redis_sse {
		redis %s
		reconnect_min 100ms
		buffer {
			max_channels %d
		}
	}
}
%s {
	redis_sse /streams/* {path.1} {
		retry 300ms
		heartbeat 200ms
	}
	redis_sse /aging/* {path.1} {
		retry 300ms
		max_stream_age 1s
	}
	redis_sse /ending/* {path.1} {
		retry 300ms
		end data %s
	}
}
`, g.redis.URL(), maxChannels, g.url, answerEnd)
	runCaddy(t, addr, text)
	return g
}

// runCaddy runs "caddy run" with the text as its Caddyfile, and more environment, and returns once it listens at addr.
func runCaddy(t *testing.T, addr, text string, env ...string) {
	t.Helper()
	dir := t.TempDir()
	file := write(t, dir, "Caddyfile", text)
	cmd := exec.Command(proctest.Caddy(t), "run", "--config", file)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Env = append(cmd.Env, env...)
	proctest.Start(t, cmd).AwaitListening(t, addr)
}
