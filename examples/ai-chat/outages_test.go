//go:build clients && linux

package aichat_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// While Redis is away the model writes on. The stream tells of the gap, and gets the whole answer when Redis is back.
func TestAnOutageOfRedisCostsNothing(t *testing.T) {
	t.Parallel()
	e, v, chat, s := inMidAnswer(t)
	e.redis.Kill()
	e.model.words("the second one, ")
	proctest.Poll(t, "the app to say that nothing arrives", func() bool { return v.stored(chat).Held })
	v.want(http.StatusServiceUnavailable, http.MethodPost, "/api"+chat+"/stop", nil)
	v.want(http.StatusServiceUnavailable, http.MethodPost, "/api/chats", asked{"question": "Another one?"})
	if status, list := v.do(http.MethodGet, "/api/chats", nil); status != http.StatusOK || strings.Contains(list, "Another") {
		t.Errorf("a question that could not be asked is there: %s", list)
	}
	e.redis.Restart()
	s.until(t, firstHalf+"the second one, ")
	if s.gaps != 1 {
		t.Errorf("%d gaps were told", s.gaps)
	}
	e.model.words("up to the end.")
	e.model.end()
	s.untilEnd(t)
	if s.text != all {
		t.Errorf("in the end there is %q", s.text)
	}
	after := v.listen(v.start("And now?"))
	e.model.words(firstHalf)
	if after.until(t, firstHalf); after.gaps > 0 {
		t.Error("an answer that has begun after the outage has a gap")
	}
}

// An answer that ends while Redis is away is there at once for who asks the app, and its end is told later.
func TestAnEndInAnOutageIsToldLater(t *testing.T) {
	t.Parallel()
	e, v, chat, s := inMidAnswer(t)
	e.redis.Kill()
	e.model.words(secondHalf)
	e.model.end()
	if got := v.awaitState(chat, "finished"); got.Answer != all {
		t.Errorf("stored is %+v", got)
	}
	v.want(http.StatusServiceUnavailable, http.MethodPost, "/api"+chat+"/questions", asked{"question": "And now?"})
	if got := v.stored(chat).Answers; len(got) != 1 {
		t.Errorf("a question that could not be asked is there: %+v", got)
	}
	e.redis.Restart()
	s.untilEnd(t)
}

// What was published while Caddy was away from Redis is told again when it is back.
func TestWhatNobodyHasTakenIsToldAgain(t *testing.T) {
	t.Parallel()
	e, _, _, s := inMidAnswer(t)
	e.toRedis.SetRefuse(true)
	e.toRedis.Reset()
	proctest.Poll(t, "Caddy to be away", func() bool { return e.redis.Do("PUBSUB", "NUMPAT").(int64) == 0 })
	e.model.say(secondHalf)
	e.toRedis.SetRefuse(false)
	s.until(t, all)
}

// A PUBLISH of which the app cannot know whether it was executed is not executed twice: what comes then is the whole.
func TestAPublishThatMayHaveBeenExecutedDoublesNothing(t *testing.T) {
	t.Parallel()
	e, _, _, s := inMidAnswer(t)
	e.fromApp.SetDropToClient(true)
	e.model.say("the second one, ")
	s.until(t, firstHalf+"the second one, ")
	e.fromApp.Reset()
	e.fromApp.SetDropToClient(false)
	e.model.say("up to the end.")
	s.until(t, all)
	e.model.end()
	s.untilEnd(t)
}

// Where only Caddy loses something on its way nobody knows but the gap. All of the answer is told again to who asks for it.
func TestALossOnTheWayIsToldAndMended(t *testing.T) {
	t.Parallel()
	e, v, chat, s := inMidAnswer(t)
	e.loseOnTheWay(chat, "the second one, ")
	for s.gaps == 0 {
		s.take(t)
	}
	e.model.words("up to the end.")
	s.until(t, firstHalf+"up to the end.") // with a hole
	v.want(http.StatusAccepted, http.MethodPost, "/api"+chat+"/again", nil)
	s.until(t, all)
	late := v.listen(chat)
	late.until(t, all)
	e.model.end()
	s.untilEnd(t)
}

// loseOnTheWay has a part of an answer be lost between Redis and Caddy, which comes back. Another subscriber gets it, as another
// Caddy would, so that the worker takes it for delivered.
func (e *example) loseOnTheWay(chat, text string) {
	e.t.Helper()
	there := e.redis.Client().Subscribe(e.t.Context(), "chat:"+strings.TrimPrefix(chat, "/chats/"))
	defer there.Close()
	if _, err := there.Receive(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
	e.toRedis.SetDropToClient(true)
	e.model.words(text)
	for got := ""; !strings.HasSuffix(got, text); {
		m, err := there.ReceiveMessage(e.t.Context())
		if err != nil {
			e.t.Fatal(err)
		}
		var part struct{ Text string }
		if err := json.Unmarshal([]byte(m.Payload), &part); err != nil {
			e.t.Fatal(err)
		}
		got += part.Text
	}
	e.toRedis.Reset()
	e.toRedis.SetDropToClient(false)
}

// An answer whose worker is killed is not waited for for ever.
func TestAKilledWorkerIsTold(t *testing.T) {
	t.Parallel()
	e, v, chat, s := inMidAnswer(t)
	e.app.Kill()
	e.redis.Do("SET", "alive:1", 1) // however long the start takes
	e.startApp()
	if got := v.stored(chat).Answers[0]; got.State != "writing" {
		t.Errorf("with a worker that has just been alive the answer is %+v", got)
	}
	e.redis.Do("DEL", "alive:1") // as after 10 s
	if got := v.stored(chat).Answers[0]; got.State != "failed" || got.Error != "The answer was interrupted." {
		t.Errorf("the answer is %+v", got)
	}
	s.untilEnd(t)
	v.want(http.StatusAccepted, http.MethodPost, "/api"+chat+"/questions", asked{"question": "Once more?"})
}

// An app that is told to end stores what there is of its answers, and says so.
func TestAnExitOfTheAppInterruptsAnswers(t *testing.T) {
	t.Parallel()
	e, v, chat, s := inMidAnswer(t)
	e.app.Signal(t, syscall.SIGTERM)
	s.untilEnd(t)
	proctest.Await(t, "uvicorn to end", e.app.Exited())
	e.startApp()
	if got := v.stored(chat).Answers[0]; got.State != "failed" || got.Answer != firstHalf {
		t.Errorf("stored is %+v", got)
	}
}
