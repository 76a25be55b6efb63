package hub

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The costs are explained where the sizes are that they count towards.
func TestTheReferenceHasTheFixedCosts(t *testing.T) {
	const file = "../../docs/reference.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, memory, ok := strings.Cut(string(text), "\n### Memory\n")
	if !ok {
		t.Fatalf("%s has no section on memory", file)
	}
	memory, _, _ = strings.Cut(memory, "\n#")
	memory = strings.Join(strings.Fields(memory), " ")
	for _, cost := range []struct {
		of    string
		bytes int
	}{
		{"a message", messageCost}, {"a cached event", frameCost}, {"a message and pattern", indexCost}, {"a channel", bufferCost},
		{"a packed message", rowCost}, {fmt.Sprintf("a run of %d", runLength), runCost},
	} {
		if want := fmt.Sprintf("%d bytes %s", cost.bytes, cost.of); !strings.Contains(memory, want) {
			t.Errorf("%s does not say %q", file, want)
		}
	}
}
