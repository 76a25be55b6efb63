package browsertest

import (
	"strings"
	"testing"
)

// script builds reports from a short form: "m1" is a message, "gap" and "open" are themselves, "c7" is a cursor with id 7.
func script(words string) (events []event) {
	for i, word := range strings.Fields(words) {
		e := event{Seq: i, Type: word}
		switch {
		case word == "gap":
			e.Data, e.ID = `{"reason":"evicted"}`, "id-gap"
		case word[0] == 'm':
			e.Type, e.Data, e.ID = "message", word, "id-"+word
		case word[0] == 'c':
			e.Type, e.ID = "cursor", word[1:]
		}
		events = append(events, e)
	}
	return events
}

func TestAudit(t *testing.T) {
	published := []string{"m1", "m2", "m3", "m4"}
	for _, test := range []struct {
		name, got string
		repeats   bool
		gaps      int
		fails     string // part of the error, empty for none
	}{
		{"all", "open c1 m1 m2 error open c2 m3 m4", false, 0, ""},
		{"a gap for one", "open c1 m1 gap m3 m4", false, 1, ""},
		{"a gap for none", "open c1 m1 gap m2 m3 m4", false, 1, ""},
		{"repeated", "m1 m2 open m2 m3 m4", true, 0, ""},
		{"missing", "m1 m3 m4", false, 0, `"m2" is missing`},
		{"missing at the beginning", "m2 m3 m4", false, 0, `"m1" is missing`},
		{"missing at the end", "m1 m2 m3", false, 0, `"m4" and what follows`},
		{"missing at the end, behind a gap", "m1 m2 m3 gap", false, 1, `"m4" and what follows`},
		{"missing after the gap's place", "gap m1 m3 m4", false, 1, `"m2" is missing`},
		{"missing, and repeated", "m1 m1 m3 m4", true, 0, `"m2" is missing`},
		{"doubled", "m1 m2 m2 m3 m4", false, 0, `"m2" came again`},
		{"doubled at the end", "m1 m2 m3 m4 m4", false, 0, `"m4" came again`},
		{"swapped", "m1 m3 m2 m4", false, 0, `"m2" is missing`},
		{"swapped behind a gap", "m1 gap m3 m2 m4", false, 1, `"m2" came again, or late`},
		{"foreign", "m1 m9 m2 m3 m4", false, 0, "never published"},
		{"nothing", "", false, 0, `"m1" and what follows`},
	} {
		t.Run(test.name, func(t *testing.T) {
			gaps, err := audit(script(test.got), published, test.repeats)
			if len(gaps) != test.gaps {
				t.Errorf("gaps %q, want %d", gaps, test.gaps)
			}
			failsWith(t, err, test.fails)
		})
	}
}

func TestAuditNoticesALostReport(t *testing.T) {
	events := script("open m1 m2")
	_, err := audit(append(events[:1:1], events[2]), []string{"m2"}, false)
	failsWith(t, err, "report 1 has the number 2")
}

func TestAuditNoticesAGapThatSaysNothing(t *testing.T) {
	_, err := audit([]event{{Type: "gap", Data: "lost"}}, nil, false)
	failsWith(t, err, "decoding the gap")
}

func TestCameBack(t *testing.T) {
	for _, test := range []struct {
		name, got string
		sent      []string
		fails     string
	}{
		{"from a cursor", "hello open c7 error open c8", []string{"", "7"}, ""},
		{"from a message", "open c7 m1 error error open c8 error open", []string{"", "id-m1", "8"}, ""},
		{"with an older id", "open c7 m1 error open", []string{"", "7"}, `came with "7"`},
		{"without", "open c7 error open", []string{"", ""}, `came with ""`},
		{"with an id at once", "open c7", []string{"7"}, `came with "7"`},
		{"not", "open c7 error", []string{"", "7"}, "1 streams opened, 2 were asked for"},
	} {
		t.Run(test.name, func(t *testing.T) {
			failsWith(t, cameBack(script(test.got), test.sent), test.fails)
		})
	}
}

func TestCameBackNoticesAnEventWithoutAnID(t *testing.T) {
	err := cameBack([]event{{Type: "open"}, {Type: "cursor"}}, []string{""})
	failsWith(t, err, "without an id")
}

// failsWith checks for an error with part in it, or for none where part is empty.
func failsWith(t *testing.T, err error, part string) {
	t.Helper()
	switch {
	case part == "" && err != nil:
		t.Error(err)
	case part != "" && (err == nil || !strings.Contains(err.Error(), part)):
		t.Errorf("error %v, want %q in it", err, part)
	}
}
