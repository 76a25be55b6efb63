//go:build race

package hub

// checking is whether each operation checks the invariants of what it touched.
const checking = true
