package commands

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

func TestMain(m *testing.M) {
	os.Exit(proctest.Run(m, func() error {
		proctest.IgnoreLeaks(goleak.IgnoreCurrent())
		return nil
	}))
}

// run runs "redis-sse" with arguments.
func run(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	cmd := &cobra.Command{SilenceUsage: true}
	Command().CobraFunc(cmd)
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}
