//go:build linux

package browsers

import "sync"

// Browser is a running browser. What its tabs do is told by what their pages report.
type Browser interface {
	Name() string
	Open(tab, url string) error
	Close(tab string) error
}

// The browsers of a run of tests. The first test that asks starts one, and it ends with the run: a fresh Firefox takes seconds.
var (
	OneChromium = sync.OnceValues(startChromium)
	OneFirefox  = sync.OnceValues(startFirefox)
)
