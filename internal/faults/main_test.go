package faults

import (
	"flag"
	"os"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// So many faults happen at a time, unless -parallel says so: they mostly wait, and two cores have room for that many. In the long form
// more goes on beside them.
const parallel, parallelLong = 10, 6

func TestMain(m *testing.M) {
	os.Exit(proctest.Run(m, func() error {
		flag.Parse()
		if f := flag.Lookup("long"); f != nil && f.Value.String() == "true" {
			return proctest.Parallel(parallelLong)()
		}
		return proctest.Parallel(parallel)()
	}))
}
