//go:build linux

package faults

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

var figuresFile = flag.String("figures", "", "the `file` to write what was found to, as JSON")

// figures are of all runs of this process: with -count, of several of each fault.
var figures struct {
	mu   sync.Mutex
	rows map[string]Row
}

// record takes in a run.
func record(row Row) {
	figures.mu.Lock()
	defer figures.mu.Unlock()
	if figures.rows == nil {
		figures.rows = map[string]Row{}
		proctest.AtEnd(writeFigures)
	}
	all := figures.rows[row.Key]
	all.Add(row)
	figures.rows[row.Key] = all
}

func writeFigures() error {
	if *figuresFile == "" {
		return nil
	}
	text, err := json.MarshalIndent(figures.rows, "", "\t")
	if err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	return os.WriteFile(*figuresFile, text, 0o600)
}
