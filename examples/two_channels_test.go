//go:build unix

package examples_test

import "testing"

func testTwoChannels(t *testing.T) {
	g := startGateway(t, "two-channels", theApp)
	s := open(t, g.url+"/jobs/42/events")
	other := open(t, g.url+"/jobs/7/events")
	publish(t, g.redis, "job:42", `{"done":0.5}`)
	publish(t, g.redis, "notice:all", "maintenance at noon")
	wantNamed(t, s, "job:42", `{"done":0.5}`)
	wantNamed(t, s, "notice:all", "maintenance at noon")
	wantNamed(t, other, "notice:all", "maintenance at noon")

	late := open(t, g.url+"/jobs/42/events") // gets what is buffered
	wantNamed(t, late, "job:42", `{"done":0.5}`)
	wantNamed(t, late, "notice:all", "maintenance at noon")
	wantApp(t, g.url+"/jobs/x/events")
}
