//go:build linux

package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be the two other programs, as bench's own
// binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "caddy" || os.Args[1] == "load") {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}
