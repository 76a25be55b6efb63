package redissse

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// toldOf is a hub of which only what it logs and emits is looked at.
func toldOf(t *testing.T) (*inForce, *observer.ObservedLogs) {
	t.Helper()
	s, err := (&Hub{Redis: "redis://app:secret@redis.test:6380/0"}).resolve()
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	of := &inForce{name: "test", metrics: newHubMetrics("test"), events: newEvents()}
	of.settings.Store(s)
	of.logger.Store(zap.New(core))
	return of, logs
}

// wantLine wants one line since the last call, with these fields among others; nothing is no line.
func wantLine(t *testing.T, logs *observer.ObservedLogs, line string, fields map[string]any) {
	t.Helper()
	all := logs.TakeAll()
	if line == "" && len(all) == 0 {
		return
	}
	if len(all) != 1 || fmt.Sprint(all[0].Level, " ", all[0].Message) != line {
		t.Fatalf("logged is %v, want one line: %s", all, line)
	}
	got := all[0].ContextMap()
	for key, want := range fields {
		if !reflect.DeepEqual(got[key], want) {
			t.Errorf("%s: %s is %v, want %v", line, key, got[key], want)
		}
	}
}

// wantEvents wants the events that wait: their names, each with its data but for the hub's name and address.
func wantEvents(t *testing.T, e *events, namesAndData ...any) {
	t.Helper()
	for i := 0; i < len(namesAndData); i += 2 {
		select {
		case got := <-e.waiting:
			delete(got.data, "hub")
			delete(got.data, "redis")
			if got.name != namesAndData[i] || !reflect.DeepEqual(got.data, namesAndData[i+1]) {
				t.Errorf("event %s %v, want %v", got.name, got.data, namesAndData[i:i+2])
			}
		default:
			t.Errorf("no event, want %v", namesAndData[i:i+2])
		}
	}
	if n := len(e.waiting); n > 0 {
		t.Errorf("%d more events", n)
	}
}

func TestAnOutageIsToldFromItsBeginningToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of, logs := toldOf(t)
		where := map[string]any{"hub": "test", "redis": "redis.test:6380"}
		refused := errors.New("connecting to redis: connection refused")
		var o outage
		o.remind(of)
		wantLine(t, logs, "", nil)

		o.connected(of)
		o.ended(of, hub.Restored{Patterns: 1}) // the first connection, which nobody waited for
		wantLine(t, logs, "info redis connected", where)

		o.began(of, broken{lossClosed, time.Hour, 2 * time.Second}, io.EOF)
		wantLine(t, logs, "warn no redis connection", map[string]any{
			"hub": "test", "redis": "redis.test:6380", "reason": "closed", "connected": time.Hour, "silent": 2 * time.Second, "error": "EOF",
		})
		for range 3 {
			time.Sleep(remindEvery / 4)
			o.began(of, broken{}, refused)
			o.remind(of)
		}
		wantLine(t, logs, "warn no redis connection", map[string]any{"error": refused.Error(), "reason": nil})
		time.Sleep(remindEvery / 4)
		for range 2 {
			o.remind(of)
		}
		wantLine(t, logs, "error redis is still away", map[string]any{
			"redis": "redis.test:6380", "since": time.Now().Add(-remindEvery), "away": remindEvery, "failed_attempts": int64(3), "error": refused.Error(),
		})
		time.Sleep(remindEvery)
		o.remind(of)
		wantLine(t, logs, "error redis is still away", map[string]any{"away": 2 * remindEvery})

		o.connected(of)
		wantLine(t, logs, "info redis connected", map[string]any{"away": 2 * remindEvery, "failed_attempts": int64(3)})
		time.Sleep(remindEvery) // there is a connection: it is not away
		o.remind(of)
		wantLine(t, logs, "", nil)
		// It breaks before all is confirmed: the outage goes on, and each connection is counted.
		o.began(of, broken{lossSilent, time.Second, time.Second}, errSilent)
		wantLine(t, logs, "warn no redis connection", map[string]any{"reason": "silent"})
		o.connected(of)
		wantLine(t, logs, "info redis connected", map[string]any{"away": 3 * remindEvery})
		o.ended(of, hub.Restored{Channels: 7, Patterns: 1, Denied: 2, Gaps: 9})
		wantLine(t, logs, "info redis delivers again", map[string]any{
			"redis": "redis.test:6380", "away": 3 * remindEvery, "channels": int64(7), "patterns": int64(1), "refused": int64(2), "gaps": int64(9),
		})
		wantEvents(t, &of.events,
			"redis_sse_hub_lost", map[string]any{"reason": "closed", "connected": time.Hour, "silent": 2 * time.Second, "error": "EOF"},
			"redis_sse_hub_recovered", map[string]any{
				"away": 3 * remindEvery, "failed_attempts": 3, "channels": 7, "patterns": 1, "refused": 2, "gaps": 9,
			})
	})
}

// A server that answers now with one error and now with another, or with a number in it, must not fill the log.
func TestACauseThatComesAgainIsNotLoggedAgain(t *testing.T) {
	of, logs := toldOf(t)
	var o outage
	for i := range 20 {
		o.began(of, broken{}, []error{io.EOF, errSilent}[i%2])
	}
	if n := logs.Len(); n != 2 {
		t.Errorf("%d lines of two causes", n)
	}
	for i := range 100 {
		o.began(of, broken{}, fmt.Errorf("attempt %d", i))
	}
	if n := logs.Len(); n != maxCauses {
		t.Errorf("%d lines of an outage, want at most %d", n, maxCauses)
	}
	wantEvents(t, &of.events, "redis_sse_hub_lost", map[string]any{"reason": "never_connected", "error": "EOF"})
}

func TestALostRedisAndItsReturnAreLoggedWithNumbers(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), quickHub+"keep job:*", outageRoutes)
	g.opened("/all")
	g.wait("the pattern", func() bool { return server.Publish("job:1", "x") == 1 })
	g.wait("the message", func() bool { return heldMessages(g.hub()) > 0 })
	server.Kill()
	where := fmt.Sprintf(`"hub":"default","redis":%q`, server.Addr())
	g.waitLog(`"msg":"no redis connection",` + where + `,"reason":"`)
	server.Restart()
	g.waitLog(`"msg":"redis connected",` + where + `,"since":`)
	g.waitLog(`"msg":"redis delivers again",` + where + `,"since":`)
	g.waitLog(`"channels":3,"patterns":1,"refused":0,"gaps":4}`) // of three that are open and one that is kept
}
