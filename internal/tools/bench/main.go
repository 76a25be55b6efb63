//go:build linux

// Command bench measures the gateway beside others in the same run: itself
// without lean streams, a bare Caddy handler, which is the floor that Caddy and
// net/http set, and nchan, which is the fastest of the servers that do something
// similar. It prints a report in Markdown. How it measures: docs/performance.md.
//
// It is three programs in one binary, so that the gateway and the bare handler
// are the same Caddy: "bench" itself, "bench load" (the clients, a process of
// its own) and "bench caddy" (Caddy's own command line).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/redis-sse/caddy-redis-sse"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "caddy" {
		os.Args = os.Args[1:]
		caddycmd.Main()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "load" {
		return serveLoad(ctx, os.Stdin, os.Stdout)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 3, "how often figures that vary are measured, the servers in turn; the median counts")
	doc := flags.String("doc", "", "a Markdown `file` to put the report into, between its marks")
	only := flags.String("only", "", "comma-separated `names` of scenarios to run, all if empty")
	profile := flags.String("profile", "", "a `directory` for CPU profiles of the Caddy servers")
	quick := flags.Bool("quick", false, "little load, to see that everything runs: the figures mean nothing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	sz := fullSizes
	if *quick {
		sz = quickSizes
	}
	plan, err := newPlan(sz, *rounds, *only)
	if err != nil {
		return err
	}
	return plan.run(ctx, *doc, *profile)
}
