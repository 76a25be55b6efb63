package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// minInterval keeps a typing error from keeping the gateway busy: a status lists all channels.
const minInterval = 100 * time.Millisecond

// busiestBy are what channels can be busiest by.
var busiestBy = []string{"streams", "rate", "bytes"}

// statusFlags are what status may be told.
type statusFlags struct {
	address, config, adapter string
	watch, json              bool
	interval                 time.Duration
	top                      int
	by                       string
}

func statusCommand() *cobra.Command {
	var flags statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Shows the hubs of the running Caddy and their busiest channels",
		Long: `Shows the hubs of the running Caddy, their routes and busiest channels, as its
admin API has them (GET /redis_sse/status).

The admin API is at --address, else where --config has it, else where Caddy has
it by default. With --watch the table is shown again every --interval, in place
on a terminal; it then waits for a Caddy that restarts.

Exit status: 0; 1 if the admin API did not answer, or not with a status.`,
		Example: `  $ caddy redis-sse status
  $ caddy redis-sse status --watch --by rate
  $ caddy redis-sse status --address unix//run/caddy/admin.sock
  $ caddy redis-sse status --json | jq '.hubs[].connected'`,
		Args: cobra.NoArgs,
		RunE: untilStopped(func(cmd *cobra.Command, _ []string) error { return runStatus(cmd, flags) }),
	}
	f := cmd.Flags()
	f.StringVar(&flags.address, "address", "", "The `address` of the admin API, if different from config")
	f.StringVarP(&flags.config, "config", "c", "", "A configuration `file` that has the address")
	f.StringVarP(&flags.adapter, "adapter", "a", "", "The `name` of the config adapter to apply")
	f.BoolVarP(&flags.watch, "watch", "w", false, "Show it again and again until Ctrl-C")
	f.DurationVar(&flags.interval, "interval", 2*time.Second, "The `time` between two looks of --watch")
	f.BoolVar(&flags.json, "json", false, "Print the JSON of the admin API, each time in a line")
	f.IntVar(&flags.top, "top", 10, "How many channels of each hub, up to 100")
	f.StringVar(&flags.by, "by", busiestBy[0], "What makes a channel busy: "+strings.Join(busiestBy, ", "))
	return cmd
}

func (f *statusFlags) check() error {
	switch {
	case !slices.Contains(busiestBy, f.by):
		return fmt.Errorf("reading --by: %q is none of %s", f.by, strings.Join(busiestBy, ", "))
	case f.top < 0:
		return fmt.Errorf("reading --top: %d is negative", f.top)
	case f.interval < minInterval:
		return fmt.Errorf("reading --interval: %v is under %v", f.interval, minInterval)
	}
	return nil
}

func runStatus(cmd *cobra.Command, flags statusFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	address, err := caddycmd.DetermineAdminAPIAddress(flags.address, nil, flags.config, flags.adapter)
	if err != nil {
		return fmt.Errorf("finding the address of the admin API: %w", err)
	}
	api, err := newAdminAPI(address)
	if err != nil {
		return err
	}
	defer api.close()
	query := url.Values{"by": {flags.by}, "top": {strconv.Itoa(flags.top)}}
	look := &statusLook{
		ask:    func(ctx context.Context) ([]byte, error) { return api.get(ctx, "/redis_sse/status?"+query.Encode()) },
		asJSON: flags.json, from: address,
	}
	if !flags.watch {
		text, err := look.text(cmd.Context())
		if err != nil {
			return ignoreStopped(cmd.Context(), err)
		}
		return write(cmd.OutOrStdout(), text)
	}
	return look.watch(cmd.Context(), flags.interval, newScreen(cmd.OutOrStdout(), cmd.ErrOrStderr(), flags.json))
}

// ignoreStopped takes an error that came of a signal for none.
func ignoreStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func write(w io.Writer, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// statusLook asks for the status, and makes text of it.
type statusLook struct {
	ask    func(context.Context) ([]byte, error)
	asJSON bool
	from   string        // the admin API's address
	before *statusReport // the one shown before, for rates
}

func (l *statusLook) text(ctx context.Context) (string, error) {
	body, err := l.ask(ctx)
	if err != nil {
		return "", err
	}
	report := new(statusReport)
	if err := json.Unmarshal(body, report); err != nil {
		return "", fmt.Errorf("reading the status from %s: %w", l.from, err)
	}
	if l.asJSON {
		return jsonLine(body)
	}
	text := report.table(l.from, l.before)
	l.before = report
	return text, nil
}

// jsonLine is JSON in one line of what a terminal can print. It keeps fields that this command does not know.
func jsonLine(body []byte) (string, error) {
	var line bytes.Buffer
	if err := json.Compact(&line, body); err != nil {
		return "", fmt.Errorf("reading the status: %w", err)
	}
	return jsonEscaped(line.String()) + "\n", nil
}

// watch shows the status until ctx ends. What fails later than the first time passes by itself: Caddy restarts.
func (l *statusLook) watch(ctx context.Context, interval time.Duration, s *screen) error {
	text, err := l.text(ctx)
	if err != nil {
		return ignoreStopped(ctx, err)
	}
	for {
		if err := s.show(text); err != nil {
			return err
		}
		if !sleep(ctx, interval) {
			return nil
		}
		if text, err = l.text(ctx); err != nil {
			text = s.problem(err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}
