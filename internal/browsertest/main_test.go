//go:build browser && linux

package browsertest

import (
	"os"
	"sync/atomic"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/browsers"
	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// tabs counts the tabs that were opened, which names them.
var tabs atomic.Int64

type (
	browser  = browsers.Browser
	chromium = browsers.Chromium
	firefox  = browsers.Firefox
	command  = browsers.Command
)

// authority is whose certificate gateways have for localhost.
var authority browsers.Certificates

func TestMain(m *testing.M) {
	os.Exit(proctest.Run(m, func() (err error) {
		authority, err = browsers.Authority()
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
		{(*chromium)(nil).Name(), func() (browser, error) { return browsers.OneChromium() }},
		{(*firefox)(nil).Name(), func() (browser, error) { return browsers.OneFirefox() }},
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
