package attack

import (
	"fmt"
	"io"
	"strconv"
)

// figure is what an attack took, beside what it may take.
type figure struct {
	Attack string
	What   string
	Value  float64
	Unit   string  // "" for a count
	Bound  float64 // the most that Value may be, in the same unit
	Judged bool    // otherwise it is only told
}

// held tells whether the attack took no more than it may.
func (f figure) held() bool { return !f.Judged || f.Value <= f.Bound }

// rowFormat is wide enough for what the attacks say.
const rowFormat = "%-9s  %-94s  %12s  %10s  %s\n"

// table prints figures as they come, as the rows of a table.
type table struct {
	out    io.Writer
	rows   int
	broken int
}

// newTable returns a table that prints to out.
func newTable(out io.Writer) *table { return &table{out: out} }

// add prints a figure, and the heading before the first one.
func (t *table) add(f figure) {
	if t.rows == 0 {
		fmt.Fprintf(t.out, rowFormat, "attack", "figure", "value", "at most", "held")
	}
	t.rows++
	bound, held := "", ""
	if f.Judged {
		bound, held = text(f.Bound, f.Unit), "yes"
	}
	if !f.held() {
		held = "NO"
		t.broken++
	}
	fmt.Fprintf(t.out, rowFormat, f.Attack, f.What, text(f.Value, f.Unit), bound, held)
}

// err is an error if a bound is broken.
func (t *table) err() error {
	if t.broken == 0 {
		return nil
	}
	return fmt.Errorf("attacking: %d of %d figures break their bound", t.broken, t.rows)
}

// text writes a value with three digits that count.
func text(value float64, unit string) string {
	digits := 0
	switch {
	case value == float64(int64(value)):
	case value < 1:
		digits = 3
	case value < 10:
		digits = 2
	case value < 100:
		digits = 1
	}
	number := strconv.FormatFloat(value, 'f', digits, 64)
	if unit == "" {
		return number
	}
	return number + " " + unit
}
