package proctest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports come from below those that connections get by themselves, so that nobody takes one while its process is down, and
// from those that redistest leaves.
const firstPort, lastPort = 10000, 18999

// handedOut are the addresses of the tests that run: those that run side by side must not get the same one.
var handedOut sync.Map

// FreeAddr returns a loopback address that nobody listens on, and that no other test gets until this one has ended, in this process
// or, on Linux, in another one. Caddy itself would share it with another process.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if _, taken := handedOut.LoadOrStore(addr, true); taken {
			continue
		}
		t.Cleanup(func() { handedOut.Delete(addr) })
		release, ok := reserve(port)
		if !ok {
			continue
		}
		t.Cleanup(release)
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		_ = ln.Close()
		return addr
	}
	t.Fatal("no free port")
	return ""
}
