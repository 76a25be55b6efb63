package commands

import (
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func TestIDSaysWhatAnIDSays(t *testing.T) {
	stdout, _, err := run(t.Context(), "id", ssetest.Place{MS: 1764238272345, Seq: 17, Epoch: 0x9f86d08188, Anchor: 0x2c26b46b}.ID())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"time      2025-11-27T10:11:12.345Z, ", " ago (Redis's clock)", "\nsequence  17\n", "\nhub life  9f86d08188: ", "\nanchor    2c26b46b: ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q:\n%s", want, stdout)
		}
	}
	stdout, _, err = run(t.Context(), "id", ssetest.Place{Seq: 17, Epoch: 1}.ID())
	if err != nil || !strings.Contains(stdout, "time      unknown") || !strings.Contains(stdout, "anchor    none") {
		t.Errorf("%v:\n%s", err, stdout)
	}
}

func TestWhatIsNoIDIsAnError(t *testing.T) {
	for _, text := range []string{"", "17", strings.Repeat("A", 27), strings.Repeat("I", 28), "1764238272345-17-9f86d081884c7d65-2c26b46b", "\x1b[2J"} {
		stdout, stderr, err := run(t.Context(), "id", text)
		if err == nil || stdout != "" || !strings.Contains(stderr, "is none: those of events have 28 letters, digits, - and _") || strings.Contains(stderr, "\x1b") {
			t.Errorf("%q: %v, %q, %q", text, err, stdout, stderr)
		}
	}
}

func TestTimesAreShownAsPeopleSayThem(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                               "0s ago",
		1234 * time.Millisecond:         "1.2s ago",
		-3 * time.Second:                "in 3s",
		59*time.Second + 999999999:      "1m0s ago",
		192 * time.Second:               "3m12s ago",
		time.Hour - time.Millisecond:    "1h0m ago",
		3*time.Hour + 12*time.Minute:    "3h12m ago",
		48*time.Hour - time.Millisecond: "2d0h ago",
		75 * time.Hour:                  "3d3h ago",
	} {
		if got := ago(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
	var out strings.Builder
	if err := writeID(&out, hub.ID{Time: 5000}, time.UnixMilli(2000)); err != nil || !strings.Contains(out.String(), "1970-01-01T00:00:05.000Z, in 3s") {
		t.Errorf("%v: %s", err, out.String())
	}
}
