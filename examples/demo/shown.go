package main

import (
	_ "embed"
	"strings"
)

//go:embed Caddyfile
var config []byte

// Between these, in the Caddyfile, stands what only a demo needs.
const (
	demoOnly      = "# demo only"
	endOfDemoOnly = "# end of demo only"
)

// shownConfig is the Caddyfile as a reader would copy it: without what only a demo needs and without the words at its top.
func shownConfig() string {
	var shown strings.Builder
	within := true // the top, up to the first block
	for line := range strings.Lines(string(config)) {
		switch trimmed := strings.TrimSpace(line); {
		case strings.HasPrefix(trimmed, endOfDemoOnly):
			within = false
			continue
		case strings.HasPrefix(trimmed, demoOnly):
			within = true
		case shown.Len() == 0 && trimmed == "{":
			within = false
		}
		if !within {
			shown.WriteString(line)
		}
	}
	return shown.String()
}
