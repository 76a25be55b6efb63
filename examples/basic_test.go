//go:build unix

package examples_test

import "testing"

func testBasic(t *testing.T) {
	g := startGateway(t, "basic", theApp)
	one, two := open(t, g.url+"/events"), open(t, g.url+"/events")
	publish(t, g.redis, "news", "hello")
	wantMessages(t, one, "hello")
	wantMessages(t, two, "hello")
	wantApp(t, g.url+"/")
	wantApp(t, g.url+"/events/more")
}
