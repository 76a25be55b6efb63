package main

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// TestMain lets a test run the program itself: the exit of a process cannot be tested within it.
func TestMain(m *testing.M) {
	if os.Getenv("DEMO_TEST_RUN_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestSignalStopsItPromptlyAndCleanly(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			port, tmp, home := freePort(t), t.TempDir(), t.TempDir()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-http", strconv.Itoa(port), "-https", strconv.Itoa(freePort(t)))
			cmd.Env = append(os.Environ(), "DEMO_TEST_RUN_MAIN=1", "REDIS_URL=",
				"TMPDIR="+tmp, "HOME="+home, "XDG_DATA_HOME=", "XDG_CONFIG_HOME=")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stdout)
			for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C") {
			}
			// With a stream open: it must not hold the exit up.
			s := ssetest.Open(t, http.DefaultClient, "http://localhost:"+strconv.Itoa(port)+"/events")
			s.NextOf(chatChannel)

			began := time.Now()
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			for lines.Scan() {
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("exit: %v\n%s", err, stderr.String())
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("stopping took %v", took)
			}
			for _, dir := range []string{tmp, home} {
				if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
					t.Errorf("left behind in %s: %v %v", dir, left, err)
				}
			}
		})
	}
}
