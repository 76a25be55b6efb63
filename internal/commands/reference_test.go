package commands

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagRow is a row about a flag: its long form, its short one and its default.
var flagRow = regexp.MustCompile("(?m)^\\| `--([a-z-]+)`(?:, `-(.)`)? \\| (?:`([^`]*)`)? ?\\|")

// TestTheReferenceHasEachFlag holds docs/reference.md to the commands, both ways.
func TestTheReferenceHasEachFlag(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	cmd := &cobra.Command{}
	Command().CobraFunc(cmd)
	for _, c := range cmd.Commands() {
		_, section, ok := strings.Cut(string(text), "\n### `caddy redis-sse "+c.Name()+"`\n")
		if !ok {
			t.Errorf("no section about %s", c.Name())
			continue
		}
		section, _, _ = strings.Cut(section, "\n#")
		documented := map[string]string{}
		for _, row := range flagRow.FindAllStringSubmatch(section, -1) {
			documented[row[1]] = row[2] + " " + row[3]
		}
		has := map[string]string{}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			standard := f.DefValue
			if slices.Contains([]string{"false", "0s", "[]"}, standard) {
				standard = ""
			}
			has[f.Name] = f.Shorthand + " " + standard
		})
		if !maps.Equal(has, documented) {
			t.Errorf("%s has the flags %q, documented are %q", c.Name(), has, documented)
		}
	}
}
