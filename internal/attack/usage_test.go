//go:build attack && linux

package attack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

const mib = 1 << 20

// clockTick is the unit of times in /proc/PID/stat, see proc(5).
const clockTick = 10 * time.Millisecond

// cpu is the processor time that the gateway has used.
func (g *gateway) cpu() time.Duration {
	g.t.Helper()
	text := g.proc("stat")
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		if err != nil {
			g.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick
}

// peak is the most memory that the gateway has had since resetPeak.
func (g *gateway) peak() float64 { return g.memory("VmHWM:") }

// resetPeak begins anew with what the gateway has now, which it returns.
func (g *gateway) resetPeak() float64 {
	g.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.Pid()), []byte("5"), 0); err != nil {
		g.t.Fatal(err)
	}
	return g.memory("VmRSS:")
}

// memory is a line of /proc/PID/status, in MiB.
func (g *gateway) memory(key string) float64 {
	g.t.Helper()
	for line := range strings.Lines(string(g.proc("status"))) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				g.t.Fatal(err)
			}
			return kib / 1024
		}
	}
	g.t.Fatalf("no %s of the gateway", key)
	return 0
}

func (g *gateway) proc(name string) []byte {
	g.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", g.Pid(), name))
	if err != nil {
		g.t.Fatal(err)
	}
	return text
}

// awaitFull returns when the gateway takes no more memory, in the kernel or itself.
func (g *gateway) awaitFull() {
	g.t.Helper()
	const still = 3 // looks
	same, last := 0, -1.0
	g.Poll(g.t, "the gateway to be full", func() bool {
		if now := g.kernel() + g.memory("VmRSS:"); now > last {
			same, last = 0, now
		}
		same++
		return same > still
	})
}

// kernel is the memory in MiB that the kernel has for the gateway's sides of its clients' connections.
func (g *gateway) kernel() float64 {
	g.t.Helper()
	_, port, err := net.SplitHostPort(g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		g.t.Fatal(err)
	}
	used, err := socketMemory(uint16(n))
	if err != nil {
		g.t.Fatal(err)
	}
	return float64(used) / mib
}

// Of <linux/sock_diag.h> and <linux/inet_diag.h>.
const (
	netlinkSockDiag  = 4
	sockDiagByFamily = 20
	inetDiagSkMem    = 7 // attribute: struct sk_meminfo
)

// diagRequest is struct inet_diag_req_v2 behind its header.
type diagRequest struct {
	header                  syscall.NlMsghdr
	family, protocol, ext   uint8
	_                       uint8
	states                  uint32
	sourcePort, destination [2]byte // in network order, not looked at in a dump
	_                       [44]byte
}

// socketMemory is what the kernel has allocated for the TCP sockets at a local port, in bytes.
func socketMemory(port uint16) (sum int, err error) {
	for _, family := range []uint8{syscall.AF_INET, syscall.AF_INET6} { // who listens on all addresses has all clients in the second
		err = dumpSockets(family, func(socket []byte) { sum += memoryOf(socket, port) })
		if err != nil {
			return 0, fmt.Errorf("asking the kernel for sockets: %w", err)
		}
	}
	return sum, nil
}

// dumpSockets calls f with each TCP socket of a family, a struct inet_diag_msg and its attributes.
func dumpSockets(family uint8, f func([]byte)) error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW, netlinkSockDiag)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	request := diagRequest{
		header: syscall.NlMsghdr{Type: sockDiagByFamily, Flags: syscall.NLM_F_REQUEST | syscall.NLM_F_DUMP},
		family: family, protocol: syscall.IPPROTO_TCP, ext: 1 << (inetDiagSkMem - 1), states: 0xffffffff,
	}
	request.header.Len = uint32(unsafe.Sizeof(request))
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&request)), unsafe.Sizeof(request))
	if err := syscall.Sendto(fd, raw, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	for buf := make([]byte, 1<<16); ; {
		n, _, err := syscall.Recvfrom(fd, buf, 0)
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case syscall.NLMSG_DONE:
				return nil
			case syscall.NLMSG_ERROR:
				return fmt.Errorf("it answers %x", m.Data)
			}
			f(m.Data)
		}
	}
}

// memoryOf is the memory of one socket if that is at the local port.
func memoryOf(socket []byte, port uint16) int {
	const head = 72 // struct inet_diag_msg
	if len(socket) < head || binary.BigEndian.Uint16(socket[4:]) != port {
		return 0
	}
	for rest := socket[head:]; len(rest) >= syscall.SizeofRtAttr; {
		length, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if length < syscall.SizeofRtAttr || length > len(rest) {
			break
		}
		if kind == inetDiagSkMem {
			return skMem(rest[syscall.SizeofRtAttr:length])
		}
		rest = rest[min(len(rest), (length+3)&^3):]
	}
	return 0
}

// skMem adds up what is received, queued to be sent, and allocated ahead: SK_MEMINFO_RMEM_ALLOC, _WMEM_QUEUED, _FWD_ALLOC.
func skMem(words []byte) (sum int) {
	for _, i := range []int{0, 5, 4} {
		if at := 4 * i; len(words) >= at+4 {
			sum += int(binary.NativeEndian.Uint32(words[at:]))
		}
	}
	return sum
}

// TestSocketMemoryIsSeen is the control of what is measured: what a peer does not read is there.
func TestSocketMemoryIsSeen(t *testing.T) {
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	client, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const unread = 1 << 20
	_ = server.SetWriteDeadline(time.Now().Add(time.Second)) // it may not all fit
	sent, _ := server.Write(make([]byte, 16*unread))
	got, err := socketMemory(uint16(port))
	if err != nil || got < unread {
		t.Errorf("%d bytes of %d that nobody reads, %v", got, sent, err)
	}
}
