package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// modulesOf are the modules named redis_sse and reverse_proxy in an adapted config, in their order, and the app.
func modulesOf(t *testing.T, text string) []any {
	t.Helper()
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil || len(warnings) > 0 {
		t.Fatalf("adapting: %v, warnings %v\n%s", err, warnings, text)
	}
	var cfg struct {
		Apps map[string]any `json:"apps"`
	}
	if err := json.Unmarshal(adapted, &cfg); err != nil {
		t.Fatal(err)
	}
	return append(handlersIn(cfg.Apps["http"]), cfg.Apps["redis_sse"])
}

func handlersIn(v any) (found []any) {
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			found = append(found, handlersIn(element)...)
		}
	case map[string]any:
		if name := v["handler"]; name == "redis_sse" || name == "reverse_proxy" {
			delete(v, "heartbeat") // the demo's hurry, which its page tells
			delete(v, "drain")
			return []any{v}
		}
		for _, key := range []string{"servers", "srv0", "srv1", "routes", "handle"} {
			found = append(found, handlersIn(v[key])...)
		}
	}
	return found
}

func TestShownConfigIsShortAndWhatRuns(t *testing.T) {
	shown := shownConfig()
	if strings.Contains(shown, "demo") && !strings.Contains(shown, "DEMO_BACKEND") {
		t.Errorf("it speaks of the demo:\n%s", shown)
	}
	lines := 0
	for line := range strings.Lines(shown) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines++
		}
	}
	if lines > 15 {
		t.Errorf("%d lines:\n%s", lines, shown)
	}
	if formatted := string(caddyfile.Format([]byte(shown))); formatted != shown {
		t.Errorf("caddy fmt would write:\n%s", formatted)
	}
	short, whole := modulesOf(t, shown), modulesOf(t, string(config))
	if len(short) < 4 || !reflect.DeepEqual(short, whole) {
		t.Errorf("what is shown is\n%v\nand what runs\n%v", short, whole)
	}
}
