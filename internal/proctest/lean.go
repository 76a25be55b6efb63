package proctest

import "os"

// leanOption has what the option "lean" is where a configuration has none, for a run of the tests: on, off or auto. A run without it
// has what users have.
const leanOption = "TESTLEAN"

// Lean returns the option "lean" that this run is to have where a configuration has none; "" for that of users. [Caddy] is built
// with it; tests that have the handler in their own process set it themselves.
func Lean() string { return os.Getenv(leanOption) }
