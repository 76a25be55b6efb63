package faults

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// parallel is how many faults happen at a time, unless -parallel says so: they mostly wait, and two cores have room for that many.
const parallel = "6"

func TestMain(m *testing.M) {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		if err := flag.Set("test.parallel", parallel); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(proctest.Run(m))
}
