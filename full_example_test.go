package redissse

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

func TestTheExamplesAreFormatted(t *testing.T) {
	files, err := filepath.Glob("examples/*/*Caddyfile")
	if err != nil || len(files) < 4 {
		t.Fatalf("the examples are %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(caddyfile.Format(text), text) {
			t.Errorf("%s: not as caddy fmt has it", file)
		}
	}
}

// What Caddy puts in for {$NAME} is a part of the configuration, which the admin endpoint shows.
func TestNoExamplePutsAPasswordIntoTheConfiguration(t *testing.T) {
	files, err := filepath.Glob("examples/*/*Caddyfile")
	if err != nil || len(files) < 4 {
		t.Fatalf("the examples are %v, %v", files, err)
	}
	for _, file := range append(files, "README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("redis {$")) {
			t.Errorf("%s has a URL from {$NAME}", file)
		}
	}
}

const fullExample = "examples/full/Caddyfile"

// It is what "caddy validate" does, without a Redis.
func TestTheFullExampleProvisions(t *testing.T) {
	text, err := os.ReadFile(fullExample)
	if err != nil {
		t.Fatal(err)
	}
	config, err := adapt(string(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("ANALYTICS_REDIS_URL", "redis://127.0.0.1:1")
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
		t.Fatal(err)
	}
	parsed.StorageRaw = []byte(`{"module": "file_system", "root": "` + filepath.Join(proctest.Dir(), "storage") + `"}`)
	if err := caddy.Validate(&parsed); err != nil {
		t.Fatal(err)
	}
}

// An option that the example lacks would not be noticed by who copies from it.
func TestTheFullExampleHasEveryOption(t *testing.T) {
	text, err := os.ReadFile(fullExample)
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`(?m)^\t+(\w+)`).FindAllStringSubmatch(string(text), -1)
	var has []string
	for _, word := range words {
		has = append(has, word[1])
	}
	for _, b := range allBlocks() {
		for _, option := range b.names() {
			if !slices.Contains(has, option) {
				t.Errorf("%s has no %s", fullExample, option)
			}
		}
	}
	for _, directive := range []string{"redis_sse_publish /publish/* events:", "redis_sse_health /ready default analytics {"} {
		if !strings.Contains(string(text), "\t"+directive) {
			t.Errorf("%s has no %s", fullExample, directive)
		}
	}
}
