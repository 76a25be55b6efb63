//go:build ai && linux

package aitest

import (
	"os"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

func TestMain(m *testing.M) { os.Exit(proctest.Run(m)) }
