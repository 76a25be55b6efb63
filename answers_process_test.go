//go:build unix

package redissse

import (
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// processAnswers serve answers by channel.
const processAnswers = `
	redis_sse /answers/* {http.request.uri.path.1} {
		from start
		retry 100ms
		end data [DONE]
		control comments
		gap_data {gap}
		drain 0s 0s
	}
	redis_sse /events/* {http.request.uri.path.1} {
		from start
		end data [DONE]
		drain 0s 500ms
	}
`

// The commands follow an answer to its end, and read the id of that.
func TestTheCommandsKnowTheEndOfAnAnswer(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	gateway := startCaddy(t, "", processAnswers)
	tail := startCommand(t, "tail", gateway.url(httpOne, "/answers/42"))
	gateway.redis.WaitNumSub("42", 1)
	gateway.redis.Publish("42", "a token")
	awaitSaid(t, tail, 1, "  message   a token\n")
	if is := gateway.fromAdmin("/redis_sse/channels/42"); !strings.Contains(is, `"streams":1`) {
		t.Errorf("the channel is %s", is)
	}
	gateway.redis.Publish("42", "[DONE]")
	if err := tail.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	last := regexp.MustCompile(`the last id is ([\w-]+)\n`).FindStringSubmatch(tail.Log())
	if last == nil || !strings.Contains(tail.Log(), "-- done   the server has nothing more to stream: 204 No Content\n") || strings.Contains(tail.Log(), "  :  ") {
		t.Fatalf("tail says:\n%s", tail.Log())
	}
	said, _, err := runCaddy(t, "", "redis-sse", "id", last[1])
	if err != nil || !strings.Contains(said, "\nended     the client has an answer up to its end\n") {
		t.Errorf("the id is %v:\n%s", err, said)
	}
	place, _ := placeOf(last[1])
	place.Ended = false
	if said, _, err = runCaddy(t, "", "redis-sse", "id", place.ID()); err != nil || strings.Contains(said, "ended") {
		t.Errorf("the id without its flag is %v:\n%s", err, said)
	}
}

// At an exit nobody may take half an answer for all of it, either.
func TestAnExitCutsAnswers(t *testing.T) {
	exitOverEachProtocol(t, func(t *testing.T, proto string) {
		p := startCaddy(t, "", processAnswers)
		streams := p.open(proto, "/events/a", 20)
		finished := p.open(proto, "/events/b", 5)
		p.redis.Publish("a", "half of")
		p.redis.Publish("b", "[DONE]")
		for _, s := range streams {
			resumeMessages(t, s, "half of")
		}
		p.Signal(p.t, syscall.SIGTERM)
		said := 0
		for _, s := range streams {
			if cutLastWords(t, proto, s) {
				said++
			}
		}
		if said == 0 {
			t.Error("no stream had its last words")
		}
		for _, s := range finished {
			ended(t, s, "[DONE]")
		}
		p.awaitExit()
		if log := p.Log(); strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
			t.Errorf("the log is\n%s", log)
		}
	})
}
