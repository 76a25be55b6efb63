//go:build browser && linux

package browsertest

import (
	"net/http"
	"testing"
)

// readyState of an EventSource.
const (
	connecting = 0
	closed     = 2
)

// Hence a gateway that cannot serve a stream for now must not say so with a status.
func TestAnyOtherStatusStopsAnEventSource(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.open(b)
		p.awaitType("cursor", 1)
		g.collector.denies.Store(http.StatusUnauthorized)
		g.proxy.Reset()
		p.awaitType("error", 2)
		g.collector.denies.Store(0)
		if last := p.events()[len(p.events())-1]; last.State != closed {
			t.Errorf("after a 401 the page reports %+v, want it closed", last)
		}
		// Far longer than its retry: another page is opened, and comes back from a loss.
		other := g.open(b)
		other.awaitType("cursor", 1)
		g.cut(other, func() {})
		other.awaitType("cursor", 2)
		if visits := p.visits(); len(visits) != 2 {
			t.Errorf("the page asked %d times for its stream, want twice", len(visits))
		}
	})
}
