// Package commands has what "caddy redis-sse" does: for who looks at a gateway from a terminal.
//
// It knows the gateway as others do, by its admin API and its streams, and imports nothing of it but how ids are read. What others
// have sent, payloads and channel names, is shown with its control characters escaped: it must not drive the terminal.
package commands

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// Command is "caddy redis-sse", to be registered with [caddycmd.RegisterCommand].
func Command() caddycmd.Command {
	return caddycmd.Command{
		Name:  "redis-sse",
		Short: "Looks at a gateway's hubs, streams and ids (redis_sse)",
		Long: `Looks at a gateway from Redis to Server-Sent Events: its hubs and busiest
channels, a stream as a browser gets it, and what an event id says.

Each command ends with exit status 0 if it did what it was asked, also when
Ctrl-C ended it, and with 1 and a line on stderr if not.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Use = "redis-sse"
			cmd.Example = `  $ caddy redis-sse status --watch
  $ caddy redis-sse tail https://example.com/events/jobs
  $ caddy redis-sse id AZrEy6dZSpC-WH3mn4bQgYgsJrRr`
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.AddCommand(statusCommand(), tailCommand(), idCommand())
		},
	}
}

// oneArgument wants exactly one, and says what it is if there is none.
func oneArgument(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("reading the arguments: want one, %s, got %d: %s --help shows examples", what, len(args), cmd.CommandPath())
		}
		return nil
	}
}

// untilStopped has run's context end with Ctrl-C or SIGTERM. A second Ctrl-C ends the process, whatever it waits for.
func untilStopped(run func(cmd *cobra.Command, args []string) error) func(cmd *cobra.Command, args []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		defer context.AfterFunc(ctx, stop)()
		cmd.SetContext(ctx)
		if err := run(cmd, args); err != nil {
			return errors.New(escaped(err.Error())) // it may quote what a server said
		}
		return nil
	}
}
