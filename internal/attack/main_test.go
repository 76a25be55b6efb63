//go:build attack && linux

package attack

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

var (
	little = flag.Bool("little", false, "little load, under a minute: times are told and not judged")
	caddy  = flag.String("caddy", "", "the caddy `binary` to attack, instead of this module's")
)

// report has what all attacks found.
var report = newTable(os.Stdout)

func TestMain(m *testing.M) {
	if spec := os.Getenv(replayersEnv); spec != "" {
		if err := serveReplays(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := proctest.Run(m)
	if err := report.err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// size is how much of an attack there is: all of it, or little.
func size(full, few int) int {
	if *little {
		return few
	}
	return full
}

// attack adds figures to the report under one name.
type attack string

// judge adds a figure that must be at most bound, whatever else the machine does.
func (a attack) judge(what string, value float64, unit string, bound float64) {
	report.add(figure{Attack: string(a), What: what, Value: value, Unit: unit, Bound: bound, Judged: true})
}

// judgeAlone adds a time, which must be at most bound on a machine that does
// nothing else. With little load it is told only.
func (a attack) judgeAlone(what string, value float64, unit string, bound float64) {
	report.add(figure{Attack: string(a), What: what, Value: value, Unit: unit, Bound: bound, Judged: !*little})
}

// tell adds a figure without a bound.
func (a attack) tell(what string, value float64, unit string) {
	report.add(figure{Attack: string(a), What: what, Value: value, Unit: unit})
}
