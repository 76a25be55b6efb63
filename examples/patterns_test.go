//go:build unix

package examples_test

import (
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

func testPatterns(t *testing.T) {
	g := startGateway(t, "patterns", theApp)
	proctest.Poll(t, "job:* to be subscribed", func() bool { return g.redis.Publish("job:0", "warm") == 1 })
	publish(t, g.redis, "job:42", "begins", "goes on") // with no client there
	job := open(t, g.url+"/jobs/42/events")
	wantMessages(t, job, "begins", "goes on")

	jobs := open(t, g.url+"/jobs")
	publish(t, g.redis, "job:7", "another")
	publish(t, g.redis, "job:42", "ends")
	wantMessages(t, job, "ends")
	wantNamed(t, jobs, "job:7", "another")
	wantNamed(t, jobs, "job:42", "ends")
	wantApp(t, g.url+"/jobs/x/events") // not the id of a job
}
