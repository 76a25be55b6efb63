package outlet

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// breath is how an outlet lets what comes over the network in. Go looks at its network poller when a
// processor has nothing to run, and besides every 10 ms. An outlet that only yields is always there to be
// run: with one processor the reader of a hub then waits for those 10 ms, and with it all that is
// published meanwhile. So the outlet itself waits for the poller, for a descriptor that is ready.
type breath struct {
	file *os.File
	raw  syscall.RawConn // nil: it cannot be had
	rung bool
	ring func(fd uintptr) (done bool)
}

func newBreath() *breath {
	b := &breath{}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return b
	}
	b.file = os.NewFile(uintptr(fd), "eventfd") // Go's poller gets what does not block
	b.raw, _ = b.file.SyscallConn()             // fails only for a file that is closed
	var count [8]byte                           // of eventfd(2)
	one := [8]byte{1}
	b.ring = func(fd uintptr) (done bool) {
		if b.rung {
			_, _ = unix.Read(int(fd), count[:])
			return true
		}
		_, err := unix.Write(int(fd), one[:])
		b.rung = true
		return err != nil
	}
	return b
}

// take waits until Go has polled the network. It reports false if it cannot.
func (b *breath) take() bool {
	if b.raw == nil {
		return false
	}
	b.rung = false
	return b.raw.Read(b.ring) == nil
}

func (b *breath) close() {
	if b.file != nil {
		_ = b.file.Close()
	}
}
