package redistest

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// libfaketime is not for this: with the jemalloc that redis-server is linked with it hangs before main.
//
//go:embed testdata/clock.c
var clockSource []byte

// StartWithClock is Start for a server whose wall clock StepClock sets. It compiles a library to preload, so it needs the C
// compiler that -race needs.
func StartWithClock(t testing.TB, args ...string) *Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "offset")
	offset := mapOffset(t, file)
	s := start(t, []string{"LD_PRELOAD=" + compileClock(t), "REDISTEST_CLOCK=" + file}, args)
	s.offset = offset
	return s
}

// StepClock sets the server's wall clock to the true time and d, also for its lives to come. The clock that its event loop has
// its timers by is left alone. Any goroutine may call it until the test ends.
func (s *Server) StepClock(d time.Duration) {
	s.t.Helper()
	if s.offset == nil {
		s.t.Fatalf("stepping the clock of a server that StartWithClock has not started")
	}
	s.offset.Store(d.Microseconds())
}

// mapOffset maps a new file into memory, so that no read of the server's finds half of a number.
func mapOffset(t testing.TB, path string) *atomic.Int64 {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatalf("creating the clock's file: %v", err)
	}
	defer file.Close()
	const size = int(unsafe.Sizeof(atomic.Int64{}))
	if err := file.Truncate(int64(size)); err != nil {
		t.Fatalf("creating the clock's file: %v", err)
	}
	memory, err := syscall.Mmap(int(file.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatalf("mapping the clock's file: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(memory) })
	return (*atomic.Int64)(unsafe.Pointer(&memory[0]))
}

func compileClock(t testing.TB) (library string) {
	t.Helper()
	named, err := exec.Command("go", "env", "CC").Output()
	compiler := strings.Fields(string(named)) // as in "ccache gcc"
	if err != nil || len(compiler) == 0 {
		t.Fatalf("asking go for its C compiler: %q, %v", named, err)
	}
	dir := t.TempDir()
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		t.Fatal(err)
	}
	args := append(compiler[1:], "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o", library, source)
	if out, err := exec.Command(compiler[0], args...).CombinedOutput(); err != nil {
		t.Fatalf("compiling the clock with %s, which scripts/install-test-tools.sh installs: %v\n%s", compiler[0], err, out)
	}
	return library
}
