package redissse

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// validateServer is a configuration with one handler and the app, both JSON.
func validateServer(handler, app string) []byte {
	return []byte(`{"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"automatic_https":{"disable":true},
		"routes":[{"handle":[` + handler + `]}]}}},"redis_sse":` + app + `}}`)
}

func TestJSONErrors(t *testing.T) {
	key := hubKey{name: "json errors", network: "tcp", addr: "127.0.0.1:1"}
	app := func(options string) string {
		return `{"hubs":{"json errors":{"redis":"` + adaptDead + `"` + options + `}}}`
	}
	handler := func(options string) string {
		return `{"handler":"redis_sse","hub":"json errors"` + options + `}`
	}
	const news = `,"channels":["news"]`
	good := handler(news)
	for _, test := range []struct {
		name, handler, app string
		want               []string
	}{
		{"no error", good, app(""), nil},
		{"no channels", handler(""), app(""), []string{"no channel"}},
		{"empty channel list", handler(`,"channels":[]`), app(""), []string{"no channel"}},
		{"empty channel", handler(`,"channels":["news",""]`), app(""), []string{"channel is empty"}},
		{"reserved channel", handler(`,"channels":["__redis_sse:x"]`), app(""), []string{"__redis_sse:x", "reserved"}},
		{"only a pattern", handler(`,"patterns":["job:*"]`), app(""), nil},
		{"empty pattern list", handler(`,"patterns":[]`), app(""), []string{"no channel", "pattern"}},
		{"empty pattern", handler(news + `,"patterns":[""]`), app(""), []string{"pattern is empty"}},
		{"reserved pattern", handler(news + `,"patterns":["__redis_sse:*"]`), app(""), []string{"pattern", "__redis_sse:*", "reserved"}},
		{"placeholder in a pattern", handler(news + `,"patterns":["job:{http.auth.user.id}"]`), app(""), []string{"pattern", "job:{http.auth.user.id}", "constants"}},
		{"pattern over 1 KiB", handler(`,"patterns":["` + strings.Repeat("p", maxChannel+1) + `"]`), app(""), []string{"pattern", "1025 bytes"}},
		{"keep", good, app(`,"keep":["job:*"]`), nil},
		{"empty keep", good, app(`,"keep":[""]`), []string{`hub "json errors"`, "keep is empty"}},
		{"reserved keep", good, app(`,"keep":["__redis_sse:*"]`), []string{`hub "json errors"`, "keep", "__redis_sse:*", "reserved"}},
		{"placeholder in keep", good, app(`,"keep":["{env.APP}:*"]`), []string{`hub "json errors"`, "keep", "{env.APP}:*", "constants"}},
		{"unknown field of the handler", handler(news + `,"chanels":["x"]`), app(""), []string{"unknown field", "chanels"}},
		{"unknown field of a hub", good, app(`,"lingering":1`), []string{"unknown field", "lingering"}},
		{"unknown field of the buffer", good, app(`,"buffer":{"size":1}`), []string{"unknown field", "size"}},
		{"unknown field of the app", good, `{"hub":{}}`, []string{"unknown field", "hub"}},
		{"hub not defined", `{"handler":"redis_sse","hub":"nowhere"` + news + `}`, app(""), []string{`hub "nowhere" is not defined`}},
		{"hub and redis", handler(news + `,"redis":"` + adaptDead + `"`), app(""), []string{"json errors", "redis", "both"}},
		{"hub without a name", good, `{"hubs":{"":{}}}`, []string{"hub without a name"}},
		{"address for a hub's name", good, `{"hubs":{"redis.example:6379":{}}}`, []string{"a hub's name is a URL or an address"}},
		{"null hub with an address for its name", good, `{"hubs":{"redis.example:6379":null}}`, []string{"a hub's name is a URL or an address"}},
		{"URL for a handler's hub", `{"handler":"redis_sse","hub":"` + adaptDead + `"` + news + `}`, app(""), []string{"hub is a URL"}},
		{"hub not defined, but one like it", `{"handler":"redis_sse","hub":"json error"` + news + `}`, app(""), []string{`perhaps "json errors" is meant`, `["default" "json errors"]`}},
		{"several origins in one", handler(news + `,"cors_origins":["https://a.example,https://b.example"]`), app(""), []string{"cors_origins", "separated by spaces"}},
		{"size out of range", good, app(`,"buffer":{"total_size":65535}`), []string{"total_size is 65535, want 64KiB to 1TiB"}},
		{"from", handler(news + `,"from":"then"`), app(""), []string{"from", "then"}},
		{"event", handler(news + `,"event":"name"`), app(""), []string{"event", "name"}},
		{"gap_event", handler(news + `,"gap_event":"a\nb"`), app(""), []string{"gap_event", `a\nb`}},
		{"gap_event that is the cursor event", handler(news + `,"gap_event":"x","cursor_event":"x"`), app(""), []string{"gap_event", "cursor_event", `"x"`}},
		{"negative heartbeat", handler(news + `,"heartbeat":-1`), app(""), []string{"heartbeat is -1ns"}},
		{"heartbeat of a minute", handler(news + `,"heartbeat":"60s"`), app(""), []string{"heartbeat is 1m,"}},
		{"negative retry", handler(news + `,"retry":"-1s"`), app(""), []string{"retry is -1s"}},
		{"negative open_timeout", handler(news + `,"open_timeout":"-1s"`), app(""), []string{"open_timeout is -1s"}},
		{"negative stall_timeout", handler(news + `,"stall_timeout":"-1s"`), app(""), []string{"stall_timeout is -1s"}},
		{"negative max_stream_age", handler(news + `,"max_stream_age":"-1s"`), app(""), []string{"max_stream_age is -1s"}},
		{"long drain", handler(news + `,"drain":{"reload":"61m"}`), app(""), []string{"drain is 1h1m, want 0s to 1h"}},
		{"long drain on exit", handler(news + `,"drain":{"exit":"61m"}`), app(""), []string{"drain is 1h1m, want 0s to 1h"}},
		{"several at once", handler(news + `,"retry":"-1s","heartbeat":"-2s"`), app(""), []string{"retry is -1s", "heartbeat is -2s"}},
		{"negative ping_interval", good, app(`,"ping_interval":"-1s"`), []string{`hub "json errors"`, "ping_interval is -1s"}},
		{"negative dead_after", good, app(`,"dead_after":"-1s"`), []string{`hub "json errors"`, "dead_after is -1s"}},
		{"dead_after follows a long ping_interval", good, app(`,"ping_interval":"5s"`), nil},
		{"dead_after of two long pings", good, app(`,"ping_interval":"5s","dead_after":"10s"`), nil},
		{"dead_after below two long pings", good, app(`,"ping_interval":"5s","dead_after":"9s"`), []string{"dead_after is 9s, want 10s"}},
		{"negative reconnect_min", good, app(`,"reconnect_min":"-1s"`), []string{"reconnect_min is -1s"}},
		{"negative reconnect_max", good, app(`,"reconnect_max":"-1s"`), []string{"reconnect_max is -1s"}},
		{"negative messages", good, app(`,"buffer":{"messages":-1}`), []string{"messages is -1"}},
		{"negative max_age", good, app(`,"buffer":{"max_age":"-1s"}`), []string{"max_age is -1s"}},
		{"negative channel_size", good, app(`,"buffer":{"channel_size":-1}`), []string{"channel_size is -1"}},
		{"negative total_size", good, app(`,"buffer":{"total_size":-1}`), []string{"total_size is -1"}},
		{"small total_size", good, app(`,"buffer":{"total_size":65535}`), []string{"total_size is 65535"}},
		{"negative max_message", good, app(`,"buffer":{"max_message":-1}`), []string{"max_message is -1"}},
		{"negative max_channels", good, app(`,"buffer":{"max_channels":-1}`), []string{"max_channels is -1"}},
		{"negative linger is none", good, app(`,"linger":-1`), nil},
		{"null hub", `{"handler":"redis_sse"` + news + `}`, `{"hubs":{"default":null}}`, nil},
		{"publishing without a channel", `{"handler":"redis_sse_publish","hub":"json errors"}`, app(""), []string{"no channel"}},
		{"publishing through a hub not defined", `{"handler":"redis_sse_publish","hub":"nowhere","channel":"news"}`, app(""), []string{`hub "nowhere" is not defined`}},
		{"a handler's own redis", `{"handler":"redis_sse","redis":"http://127.0.0.1"` + news + `}`, app(""), []string{"provision http.handlers.redis_sse: redis"}},
		{"no app", `{"handler":"redis_sse"` + news + `}`, `{}`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := caddy.Validate(adaptLoad(t, validateServer(test.handler, test.app)))
			if (err == nil) != (test.want == nil) {
				t.Fatalf("error = %v, want one with %q", err, test.want)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q: %v", part, err)
				}
			}
			if n, ok := hubs.References(key); ok {
				t.Errorf("the hub is still held %d times", n)
			}
		})
	}
}

func TestHubDefaults(t *testing.T) {
	got, err := new(Hub).resolve()
	if err != nil {
		t.Fatal(err)
	}
	addr := got.redis.Addr
	got.redis = nil
	want := settings{
		Bounds: hub.Bounds{
			Limits: hub.Limits{Messages: 10000, Bytes: 4 << 20, Message: 1 << 20, MaxAge: 900_000},
			Budget: hub.Budget{Bytes: 256 << 20, Channels: 100_000},
			Linger: 5 * time.Minute,
		},
		pingInterval: time.Second, deadAfter: 9 * time.Second,
		probeEvery:   10 * time.Second,
		reconnectMin: time.Second, reconnectMax: 10 * time.Second,
		publishing: publishing{3, 100 * time.Millisecond, breakerSettings{5, time.Minute}},
	}
	if !reflect.DeepEqual(*got, want) || addr != "127.0.0.1:6379" {
		t.Errorf("got %+v at %s, want %+v", *got, addr, want)
	}
	if got, err := (&Hub{Linger: -1}).resolve(); err != nil || got.Linger != 0 {
		t.Errorf("a negative linger: %v, want none at all", err)
	}
}
