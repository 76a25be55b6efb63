package attack

import (
	"strings"
	"testing"
)

func TestTableJudges(t *testing.T) {
	var out strings.Builder
	r := newTable(&out)
	r.add(figure{Attack: "a", What: "told", Value: 1e6, Unit: "ms"})
	r.add(figure{Attack: "a", What: "at its bound", Value: 3, Bound: 3, Judged: true})
	if err := r.err(); err != nil {
		t.Errorf("nothing is broken: %v", err)
	}
	r.add(figure{Attack: "b", What: "over it", Value: 0.0625, Unit: "MiB", Bound: 0.0624, Judged: true})
	if err := r.err(); err == nil || err.Error() != "attacking: 1 of 3 figures break their bound" {
		t.Errorf("got the error %v", err)
	}
	var rows []string
	for line := range strings.Lines(out.String()) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"attack figure value at most held",
		"a told 1000000 ms",
		"a at its bound 3 3 yes",
		"b over it 0.062 MiB 0.062 MiB NO",
	}
	if got := strings.Join(rows, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", out.String())
	}
}

func TestTextHasThreeDigits(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 0.1234: "0.123", 1.5: "1.50", 12.34: "12.3", 123.4: "123", 4000: "4000"} {
		if got := text(value, ""); got != want {
			t.Errorf("%v: got %q, want %q", value, got, want)
		}
	}
}
