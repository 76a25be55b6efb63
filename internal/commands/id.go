package commands

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

func idCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "id <id>",
		Short: "Says what an event id says",
		Long: `Says what an event id says: its time, place in what the hub has read, the hub's
life that counted it, and by what other nodes know the place.

Exit status: 0; 1 if no hub has made the text.`,
		Example: "  $ caddy redis-sse id AZrEy6dZSpC-WH3mn4bQgYgsJrRr",
		Args:    oneArgument("the id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, ok := hub.ReadID(args[0])
			if !ok {
				return fmt.Errorf("reading the id: %q is none: those of events have 28 letters, digits, - and _, the first from A to H", args[0])
			}
			return writeID(cmd.OutOrStdout(), id, time.Now())
		},
	}
}

func writeID(w io.Writer, id hub.ID, now time.Time) error {
	at, anchor := "unknown: Redis's time was not known yet", "none: another node resumes by the time"
	if id.Time != 0 {
		when := time.UnixMilli(id.Time)
		at = fmt.Sprintf("%s, %s (Redis's clock): all published before it had been read", when.UTC().Format(rfc3339Milli), ago(now.Sub(when)))
	}
	if id.Anchor != 0 {
		anchor = fmt.Sprintf("%x: by it another node finds the message before the place", id.Anchor)
	}
	ended := ""
	if id.Ended {
		ended = "ended     the client has an answer up to its end\n"
	}
	_, err := fmt.Fprintf(w, "time      %s\nsequence  %d\nhub life  %x: one run of one process; the sequence counts only there\nanchor    %s\n%s",
		at, id.Seq, id.Life, anchor, ended)
	return err
}

const rfc3339Milli = "2006-01-02T15:04:05.000Z07:00"

// ago says how long ago something was, or will be.
func ago(d time.Duration) string {
	if d < 0 {
		return "in " + short(-d)
	}
	return short(d) + " ago"
}

// short is a duration in two units at the most: what is under a minute to a tenth of a second, days above two of them.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	seconds, minutes := d.Round(time.Second), d.Round(time.Minute)
	switch {
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case seconds < time.Hour:
		return fmt.Sprintf("%dm%ds", seconds/time.Minute, seconds%time.Minute/time.Second)
	case minutes < 2*day:
		return fmt.Sprintf("%dh%dm", minutes/time.Hour, minutes%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", minutes/day, minutes%day/time.Hour)
}
