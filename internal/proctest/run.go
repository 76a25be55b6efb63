package proctest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// leakWait is how long a goroutine may outlive its test: go-redis's dials after a row of failures linger for a second after
// Close.
const leakWait = 5 * time.Second

// run is what the tests of this binary share.
var run struct {
	dir string

	mu    sync.Mutex
	end   []func() error
	leaks []goleak.Option
}

// Run runs the tests of a package, after what comes first. It returns how to exit: a goroutine that is left is a failure.
func Run(m *testing.M, first ...func() error) (code int) {
	var err error
	if run.dir, err = os.MkdirTemp("", filepath.Base(os.Args[0])+"-"); err != nil {
		fmt.Fprintln(os.Stderr, "making a directory for the tests:", err)
		return 1
	}
	defer os.RemoveAll(run.dir)
	for _, f := range first {
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	code = m.Run()
	for _, f := range run.end {
		err = errors.Join(err, f())
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

// Dir is where a run of the tests keeps what outlives a single one. It goes with Run.
func Dir() string { return run.dir }

// AtEnd has Run call f after all tests, for what they share.
func AtEnd(f func() error) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.end = append(run.end, f)
}

// IgnoreLeaks tells Run which goroutines are not of the tests.
func IgnoreLeaks(options ...goleak.Option) { run.leaks = append(run.leaks, options...) }

// awaitNoLeak returns an error unless all goroutines of the tests end soon.
func awaitNoLeak() error {
	var err error
	for end := time.Now().Add(leakWait); time.Now().Before(end); {
		if err = goleak.Find(run.leaks...); err == nil {
			return nil
		}
	}
	return err
}
