package proctest

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// dies makes the test binary one that starts a process and ends without a cleanup.
const dies = "PROCTEST_DIES"

func TestProcessEndsWithTheTestBinary(t *testing.T) {
	if os.Getenv(dies) != "" {
		cmd := exec.Command("sleep", "1000")
		cmd.Stdout = os.Stdout
		Start(t, cmd)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	r, w := pipe(t)
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), dies+"=1", "TMPDIR="+t.TempDir())
	cmd.Stdout = w
	_ = Start(t, cmd).Wait() // killed
	wantClosed(t, r, w)
}
