//go:build unix

package examples_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// examples are the folders here and what runs each: its own files, in the real binary, with a real Redis.
var examples = map[string]func(t *testing.T){
	"access-log":     testAccessLog,
	"ai-protocols":   testAIProtocols,
	"backend-chosen": testBackendChosen,
	"basic":          testBasic,
	"behind-caddy":   testBehindCaddy,
	"behind-haproxy": testBehindHAProxy,
	"behind-nginx":   testBehindNginx,
	"encode":         testEncode,
	"forward-auth":   testForwardAuth,
	"kubernetes":     testKubernetes,
	"patterns":       testPatterns,
	"publish":        testPublish,
	"reauthorize":    testReauthorize,
	"two-channels":   testTwoChannels,
	"two-hubs":       testTwoHubs,
}

// ownTests are the folders with tests of their own: in them, or in full_example_test.go or systemd_linux_test.go.
var ownTests = []string{"ai-chat", "compose", "demo", "fastapi", "full", "systemd"}

func TestExamples(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			examples[name](t)
		})
	}
}

func TestEveryExampleIsRun(t *testing.T) {
	found, err := filepath.Glob("*/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	run := append(slices.Collect(maps.Keys(examples)), ownTests...)
	for _, name := range found {
		if !slices.Contains(run, name) {
			t.Errorf("no test runs examples/%s", name)
		}
	}
	for _, name := range run {
		if !slices.Contains(found, name) {
			t.Errorf("examples/%s has no Caddyfile", name)
		}
	}
}

func TestMain(m *testing.M) { os.Exit(proctest.Run(m)) }
