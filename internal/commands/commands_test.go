package commands

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestWithoutACommandTheUsageIsShown(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}} {
		stdout, _, err := run(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"$ caddy redis-sse status --watch", "$ caddy redis-sse tail http", "$ caddy redis-sse id "} {
			if !strings.Contains(stdout, want) {
				t.Errorf("%v: no %q:\n%s", args, want, stdout)
			}
		}
	}
	if _, stderr, err := run(t.Context(), "sttus"); err == nil || !strings.Contains(stderr, `unknown command "sttus"`) {
		t.Errorf("of an unknown command: %v, %s", err, stderr)
	}
}

// TestEachCommandSaysHowItEnds is about what a script needs.
func TestEachCommandSaysHowItEnds(t *testing.T) {
	cmd := &cobra.Command{}
	Command().CobraFunc(cmd)
	for _, c := range cmd.Commands() {
		if !strings.Contains(c.Long, "Exit status: 0") || !strings.Contains(c.Example, "$ caddy redis-sse "+c.Name()) {
			t.Errorf("%s: no exit status or no example", c.Name())
		}
	}
}

func TestArgumentsThatAreWrongAreNamed(t *testing.T) {
	for args, want := range map[string]string{
		"id":                                         "want one, the id, got 0",
		"id a b":                                     "want one, the id, got 2",
		"tail":                                       "want one, the URL of a stream, got 0",
		"tail localhost:8080/events":                 "reading the URL: want http://host/path",
		"tail ftp://localhost/events":                "reading the URL: want http://host/path",
		"tail http://h/?token=s3cr3t%zz\x7f":         "reading the URL: ",
		"tail http://h --for -1s":                    "reading --for: -1s is negative",
		"tail http://h --header s3cr3t":              "there is no colon",
		"tail http://h --header =:s3cr3t":            `"=" is no name of a header`,
		"tail http://h --header X-A:s3cr3t\x00":      "the value of X-A has control characters",
		"tail http://h --last-event-id s3cr3t\x00":   "reading --last-event-id: it has control characters",
		"status now":                                 `unknown command "now"`,
		"status --by size":                           `reading --by: "size" is none of streams, rate, bytes`,
		"status --top -1":                            "reading --top: -1 is negative",
		"status --interval 1ms":                      "reading --interval: 1ms is under 100ms",
		"status --address localhost:1-2":             `"localhost:1-2" has more than one port`,
		"status --address localhost:port":            "reading the address of the admin API: ",
		"status --config /no/such/file.json":         "finding the address of the admin API: ",
		"status --config x --adapter no-such-format": "finding the address of the admin API: ",
	} {
		_, stderr, err := run(t.Context(), strings.Split(args, " ")...)
		if err == nil || !strings.Contains(stderr, want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
		if strings.Contains(stderr, "s3cr3t") {
			t.Errorf("%q: tells what may be secret: %s", args, stderr)
		}
	}
}
