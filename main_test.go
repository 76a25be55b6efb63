package redissse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// testDir is where this run of the tests keeps what outlives a single test.
var testDir string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "redissse-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a directory for the tests:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	testDir = dir
	if err := moveHome(dir); err != nil {
		fmt.Fprintln(os.Stderr, "moving the home directory:", err)
		return 1
	}
	before := goleak.IgnoreCurrent()
	if code = m.Run(); code != 0 {
		return code
	}
	if err := awaitNoLeak(before); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// moveHome points everything that Caddy stores at dir, and leaves the caches of Go, which some tests run, where they are.
func moveHome(dir string) error {
	cache, cacheErr := os.UserCacheDir()
	config, configErr := os.UserConfigDir()
	home, homeErr := os.UserHomeDir()
	errs := []error{cacheErr, configErr, homeErr}
	for key, value := range map[string]string{
		"GOCACHE": filepath.Join(cache, "go-build"),
		"GOENV":   filepath.Join(config, "go", "env"),
		"GOPATH":  filepath.Join(home, "go"),
	} {
		if os.Getenv(key) == "" {
			errs = append(errs, os.Setenv(key, value))
		}
	}
	for key, value := range map[string]string{
		"HOME": "", "XDG_DATA_HOME": "data", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state",
	} {
		errs = append(errs, os.Setenv(key, filepath.Join(dir, value)))
	}
	return errors.Join(errs...)
}

// leakWait is how long a goroutine may outlive its test: go-redis's dials after a row of failures linger for a second after
// Close.
const leakWait = 5 * time.Second

func awaitNoLeak(before goleak.Option) error {
	var err error
	for end := time.Now().Add(leakWait); time.Now().Before(end); {
		if err = goleak.Find(
			before,
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"), // lives as long as a lock file
		); err == nil {
			return nil
		}
	}
	return err
}
