package faults

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
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

// buildRacing builds the gateway with the race detector: what a fault does to its locks counts, too.
var buildRacing = sync.OnceValues(func() (string, error) {
	path := filepath.Join(proctest.Dir(), "caddy")
	out, err := exec.Command("go", "build", "-race", "-o", path, "github.com/redis-sse/caddy-redis-sse/cmd/caddy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building cmd/caddy: %w\n%s", err, out)
	}
	return path, nil
})
