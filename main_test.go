package redissse

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// parallel is how many tests run side by side, unless -parallel says so: they mostly wait, and two cores have room for that many.
const parallel = 8

func TestMain(m *testing.M) {
	os.Exit(proctest.Run(m, proctest.Parallel(parallel), moveHome, setLean, ignoreLeaks))
}

// setLean has the run play another default of the option "lean": make test-lean.
func setLean() (err error) {
	if lean := proctest.Lean(); lean != "" {
		defaultLean, err = checkLean(lean)
	}
	return err
}

// ignoreLeaks is about what Caddy keeps.
func ignoreLeaks() error {
	proctest.IgnoreLeaks(
		goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"), // lives as long as a lock file
	)
	return nil
}

// moveHome points everything that Caddy stores at this run's directory, and leaves the caches of Go, which some tests run, where
// they are.
func moveHome() error {
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
		errs = append(errs, os.Setenv(key, filepath.Join(proctest.Dir(), value)))
	}
	return errors.Join(errs...)
}
