package redissse

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// fuzzCaddyfiles are where a text stands in a Caddyfile: in the directive, in
// the global option, or as all of it.
var fuzzCaddyfiles = [][3]string{{":8080 {\nredis_sse ", " {\n", "\n}\n}\n"}, {"{\nredis_sse ", " {\n", "\n}\n}\n"}, {}}

func FuzzDirective(f *testing.F) {
	files, err := filepath.Glob(adaptFiles)
	if err != nil || len(files) == 0 {
		f.Fatalf("no files %s: %v", adaptFiles, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		input, _, _ := strings.Cut(string(text), adaptSeparator)
		f.Add("", input, byte(2))
	}
	for _, line := range []string{
		"heartbeat 1m", "drain 0 0", "drain -1s", "from last 1 2", "from since 1d", "from since 292y", "event field a b", "event field", `gap_event ""`,
		"gap_event {env.X}", "redis {env.X}\nhub h", "redis rediss://u:p@h:1/3", "channel {http.request.uri.path.1} /a *", "client_from\nclient_from",
		"retry 600s\nopen_timeout 1h1ns", "max_stream_age 365d", "channel <<A\n a\nA", "channel {$X:news}", "channel \"\x00\" `a\nb` \xff", "}\nredis_sse b {",
	} {
		f.Add("news", line, byte(0))
	}
	for _, line := range []string{
		"linger 0", "linger 1d", "ping_interval 5s\ndead_after 9s", "reconnect_min 1m", "reconnect_max 10m", "redis unix:///run/redis.sock",
		"redis {env.X}", "buffer {\nmessages 1\nmax_age 1s\nchannel_size 4KiB\n}", "buffer {\nchannel_size 1TiB\n}\nbuffer", "}\nredis_sse b {", "}\nredis_sse {",
	} {
		f.Add("", line, byte(1))
		f.Add("b", line, byte(1))
	}
	f.Fuzz(func(t *testing.T, args, body string, where byte) {
		in := fuzzCaddyfiles[where%3]
		input := in[0] + args + in[1] + body + in[2]
		if !fuzzOnlyOurs(input) {
			return
		}
		config, err := adapt(input)
		again, errAgain := adapt(input)
		if (err == nil) != (errAgain == nil) || string(config) != string(again) {
			t.Fatalf("%q adapts to %s, %v, and then to %s, %v", input, config, err, again, errAgain)
		}
		if err != nil {
			if err.Error() == "" || err.Error() != errAgain.Error() {
				t.Errorf("%q: the errors are %q and %q", input, err, errAgain)
			}
			return
		}
		fuzzJSON(t, input, config)
	})
}

// fuzzOnlyOurs reports whether adapting a Caddyfile runs our code and only
// that: other directives may read files, as import does.
func fuzzOnlyOurs(input string) bool {
	if strings.Contains(input, "import") {
		return false
	}
	blocks, err := caddyfile.Parse("Caddyfile", []byte(input))
	ours := 0
	for _, block := range blocks {
		for _, segment := range block.Segments {
			if segment.Directive() != "redis_sse" {
				return false
			}
			ours++
		}
	}
	return err == nil && ours > 0
}

// fuzzJSON wants of what was adapted that it loads, but for what only the
// machine knows that it runs on.
func fuzzJSON(t *testing.T, input string, config []byte) {
	t.Helper()
	var all struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(config, &all); err != nil {
		t.Fatal(err)
	}
	if raw := all.Apps["redis_sse"]; raw != nil {
		var app App
		fuzzSame(t, input, raw, &app)
		for name, hub := range app.Hubs {
			if err := fuzzResolve(hub); err != nil || name == "" {
				t.Errorf("%q adapts to hub %q, which does not load: %v", input, name, err)
			}
		}
	}
	for _, raw := range fuzzHandlers(t, all.Apps["http"]) {
		var h Handler
		fuzzSame(t, input, raw, &h)
		if err := h.resolve(); err != nil {
			t.Errorf("%q adapts to %s, which does not load: %v", input, raw, err)
		}
		if err := fuzzResolve(&Hub{Redis: h.Redis}); err != nil || h.Hub != "" && h.Redis != "" {
			t.Errorf("%q adapts to %s, whose Redis does not load: %v", input, raw, err)
		}
	}
}

// fuzzSame loads JSON as Caddy does, and wants nothing of it to be lost.
func fuzzSame(t *testing.T, input string, raw []byte, to any) {
	t.Helper()
	if err := caddy.StrictUnmarshalJSON(raw, to); err != nil {
		t.Fatalf("%q adapts to %s, which does not load: %v", input, raw, err)
	}
	again, err := json.Marshal(to)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fuzzSorted(t, again), fuzzSorted(t, raw); got != want {
		t.Errorf("%q adapts to %s, which loads as %s", input, want, got)
	}
}

func fuzzSorted(t *testing.T, raw []byte) string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // a year in nanoseconds is more than a float64 holds
	var value any
	if err := d.Decode(&value); err != nil {
		t.Fatal(err)
	}
	sorted, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(sorted)
}

func fuzzResolve(hub *Hub) error {
	resolve := hub.resolve
	if strings.Contains(hub.Redis, "{") {
		resolve = hub.tuning
	}
	_, err := resolve()
	return err
}

// fuzzHandlers returns our handlers at any depth, without the key that tells
// Caddy which module they are.
func fuzzHandlers(t *testing.T, raw json.RawMessage) (found [][]byte) {
	t.Helper()
	var list []json.RawMessage
	var object map[string]json.RawMessage
	switch {
	case json.Unmarshal(raw, &list) == nil:
		for _, item := range list {
			found = append(found, fuzzHandlers(t, item)...)
		}
	case json.Unmarshal(raw, &object) == nil && string(object["handler"]) == `"redis_sse"`:
		delete(object, "handler")
		handler, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		return [][]byte{handler}
	default:
		for _, item := range object {
			found = append(found, fuzzHandlers(t, item)...)
		}
	}
	return found
}
