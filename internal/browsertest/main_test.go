//go:build browser && linux

package browsertest

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// tabs counts the tabs that were opened, which names them.
var tabs atomic.Int64

// browser is a running browser. What its tabs do is told by what their pages report.
type browser interface {
	name() string
	open(tab, url string) error
	close(tab string) error
}

// Browsers are started by the first test that needs them, and shared by all: a fresh Firefox takes seconds.
var (
	oneChromium = sync.OnceValues(startChromium)
	oneFirefox  = sync.OnceValues(startFirefox)
)

func TestMain(m *testing.M) {
	os.Exit(proctest.Run(m, func() (err error) {
		authority, err = makeAuthority(filepath.Join(proctest.Dir(), "tls"))
		return err
	}))
}

// inEach runs a subtest in each browser, over each of the HTTP versions, with a gateway that has nothing special.
func inEach(t *testing.T, protos []string, test func(t *testing.T, b browser, g *gateway)) {
	inEachWith(t, protos, nil, test)
}

// inEachWith is inEach with something in the gateway's Caddyfile besides.
func inEachWith(
	t *testing.T, protos []string, add func(g *gateway) (global, site string), test func(t *testing.T, b browser, g *gateway),
) {
	t.Parallel()
	for _, which := range []struct {
		name  string
		start func() (browser, error)
	}{
		{(*chromium)(nil).name(), func() (browser, error) { return oneChromium() }},
		{(*firefox)(nil).name(), func() (browser, error) { return oneFirefox() }},
	} {
		for _, proto := range protos {
			t.Run(which.name+"/"+proto, func(t *testing.T) {
				t.Parallel()
				b, err := which.start()
				if err != nil {
					t.Fatal(err)
				}
				test(t, b, newGateway(t, proto, add))
			})
		}
	}
}
