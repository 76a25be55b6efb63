//go:build browser && linux

package browsertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// testDir is where this run keeps what outlives a single test.
var testDir string

// tabs counts the tabs that were opened, which names them.
var tabs atomic.Int64

// browser is a running browser. What its tabs do is told by what their pages report.
type browser interface {
	name() string
	open(tab, url string) error
	close(tab string) error
	quit() error
}

// Browsers are started by the first test that needs them, and shared by all: a fresh Firefox takes seconds.
var (
	oneChromium = sync.OnceValues(startChromium)
	oneFirefox  = sync.OnceValues(startFirefox)
)

// running are the browsers that have to quit at the end.
var running struct {
	sync.Mutex
	browsers []browser
}

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "browsertest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a directory for the tests:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	testDir = dir
	if authority, err = makeAuthority(filepath.Join(dir, "tls")); err != nil {
		fmt.Fprintln(os.Stderr, "making the certificates:", err)
		return 1
	}
	code = m.Run()
	for _, b := range running.browsers {
		err = errors.Join(err, b.quit())
	}
	if code == 0 {
		err = errors.Join(err, awaitNoLeak())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// leakWait is how long a goroutine may outlive its test: go-redis's dials after a row of failures linger for a second after
// Close.
const leakWait = 5 * time.Second

func awaitNoLeak() error {
	var err error
	for end := time.Now().Add(leakWait); time.Now().Before(end); {
		if err = goleak.Find(); err == nil {
			return nil
		}
	}
	return err
}

// keep remembers a browser, for the end of the run.
func keep(b browser) {
	running.Lock()
	defer running.Unlock()
	running.browsers = append(running.browsers, b)
}

// inEach runs a subtest in each browser, over each of the HTTP versions.
func inEach(t *testing.T, protos []string, test func(t *testing.T, b browser, g *gateway)) {
	t.Parallel()
	for _, which := range []struct {
		name  string
		start func() (browser, error)
	}{
		{(*chromium)(nil).name(), func() (browser, error) { return oneChromium() }},
		{(*firefox)(nil).name(), func() (browser, error) { return oneFirefox() }},
	} {
		for _, proto := range protos {
			t.Run(which.name+"/"+proto, func(t *testing.T) {
				t.Parallel()
				b, err := which.start()
				if err != nil {
					t.Fatal(err)
				}
				test(t, b, newGateway(t, proto))
			})
		}
	}
}

// within returns an error unless what closes done happens in time.
func within(what string, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("waiting for %s: not after %v", what, patience)
	}
}
