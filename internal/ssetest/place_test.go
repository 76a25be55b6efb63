package ssetest

import (
	"strings"
	"testing"
)

// Worked out by hand: 6 bits a character.
func TestPlacesAreReadAndWrittenAsTheyAreDocumented(t *testing.T) {
	for id, want := range map[string]Place{
		strings.Repeat("A", 28):        {},
		"H" + strings.Repeat("_", 27):  {MS: 1<<44 - 1, Seq: 1<<48 - 1, Epoch: 1<<40 - 1, Anchor: 1<<32 - 1, Ended: true},
		"EAAAAAABAAAAAAABAAAAAAEAAAAB": {MS: 1, Seq: 1, Epoch: 1, Anchor: 1, Ended: true},
		"D" + strings.Repeat("A", 27):  {MS: 3 << 42},
	} {
		if got, ok := PlaceOf(id); !ok || got != want {
			t.Errorf("%s is read as %v, %v, want %v", id, got, ok, want)
		}
		if got := want.ID(); got != id {
			t.Errorf("%v is written as %s, want %s", want, got, id)
		}
	}
	for _, text := range []string{"", "1-2-3-4", strings.Repeat("A", 27), strings.Repeat("A", 29), strings.Repeat("A", 27) + "+", "I" + strings.Repeat("A", 27)} {
		if got, ok := PlaceOf(text); ok {
			t.Errorf("%q is read as %v", text, got)
		}
	}
	for _, p := range []Place{{MS: 1 << 44}, {MS: -1}, {Seq: 1 << 48}, {Epoch: 1 << 40}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v makes an id", p)
				}
			}()
			p.ID()
		}()
	}
	if got := (Place{MS: 10, Seq: 11, Epoch: 12, Anchor: 13, Ended: true}).String(); got != "10-11-c-d-e" {
		t.Errorf("for people it is %s", got)
	}
}
