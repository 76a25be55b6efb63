package commands

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/http/httpguts"
)

// tailFlags are what tail may be told.
type tailFlags struct {
	headers             []string
	lastID              string
	lasts               time.Duration
	insecure, raw       bool
	cursors             bool
	gapName, cursorName string
}

func tailCommand() *cobra.Command {
	var flags tailFlags
	cmd := &cobra.Command{
		Use:   "tail <url>",
		Short: "Shows a stream as it comes, with gaps and reconnects",
		Long: `Shows a stream as it comes: the time, the event's name and its data, in a line;
gaps; and when the connection ends and comes back, in lines that begin with --.

It comes back by itself as a browser's EventSource does: after the time that the
stream's "retry" says, or 2 s, with the last id that it was sent. Any answer but
a stream ends it, as it ends an EventSource, except 502, 503 and 504. Redirects
are followed on the same host.

Exit status: 0 when Ctrl-C, --for or a 204 ended it and there was a stream; 1 if there
was none, or if it gave up.`,
		Example: `  $ caddy redis-sse tail http://localhost:8080/events/jobs
  $ caddy redis-sse tail https://example.com/events --header 'Cookie: session=abc'
  $ caddy redis-sse tail https://example.com/events --for 30s --raw >events.txt`,
		Args: oneArgument("the URL of a stream"),
		RunE: untilStopped(func(cmd *cobra.Command, args []string) error { return runTail(cmd, args[0], flags) }),
	}
	f := cmd.Flags()
	f.StringArrayVarP(&flags.headers, "header", "H", nil, "A `header` to send, as 'Name: value'; may be repeated")
	f.StringVar(&flags.lastID, "last-event-id", "", "Begin after the event with this `id`")
	f.DurationVar(&flags.lasts, "for", 0, "End after this `time`; 0: with Ctrl-C")
	f.BoolVarP(&flags.insecure, "insecure", "k", false, "Take any certificate")
	f.BoolVar(&flags.raw, "raw", false, "Print the stream's own lines; what is to say about it goes to stderr")
	f.BoolVar(&flags.cursors, "cursors", false, "Show cursors, too, which are the heartbeats")
	f.StringVar(&flags.gapName, "gap-event", "gap", "The route's gap_event")
	f.StringVar(&flags.cursorName, "cursor-event", "cursor", "The route's cursor_event")
	return cmd
}

func runTail(cmd *cobra.Command, address string, flags tailFlags) error {
	t, err := newTail(address, flags)
	if err != nil {
		return err
	}
	t.view = newTailView(cmd.OutOrStdout(), cmd.ErrOrStderr(), flags)
	ctx := cmd.Context()
	if flags.lasts > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, flags.lasts)
		defer cancel()
	}
	defer t.client.CloseIdleConnections()
	return t.run(ctx)
}

func newTail(address string, flags tailFlags) (*tail, error) {
	u, err := url.Parse(address)
	if err != nil {
		err = withoutURL(err) // a query may have a token
		return nil, fmt.Errorf("reading the URL: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("reading the URL: want http://host/path or https://host/path")
	}
	if flags.lasts < 0 {
		return nil, fmt.Errorf("reading --for: %v is negative", flags.lasts)
	}
	if !httpguts.ValidHeaderFieldValue(flags.lastID) {
		return nil, errors.New("reading --last-event-id: it has control characters")
	}
	header, err := parseHeaders(flags.headers)
	if err != nil {
		return nil, err
	}
	return &tail{url: u, header: header, client: newTailClient(flags.insecure), lastID: flags.lastID, wait: defaultWait, silence: maxSilence}, nil
}

// parseHeaders reads what --header has. Errors do not show a value: it may be a password.
func parseHeaders(lines []string) (http.Header, error) {
	header := http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-store"}}
	given := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case !ok:
			return nil, errors.New("reading --header: want 'Name: value', there is no colon")
		case !httpguts.ValidHeaderFieldName(name):
			return nil, fmt.Errorf("reading --header: %q is no name of a header", name)
		case !httpguts.ValidHeaderFieldValue(value):
			return nil, fmt.Errorf("reading --header: the value of %s has control characters", name)
		}
		given.Add(name, value)
	}
	for name, values := range given {
		header[name] = values
	}
	return header, nil
}
