package proctest

import (
	"fmt"
	"net"
)

// reserve takes a port for this process: no other one that asks for it gets it before release, or before this one has ended. A name
// in Linux's abstract namespace is as good as a lock, and nothing to clean up.
func reserve(port int) (release func(), ok bool) {
	name, err := net.Listen("unix", fmt.Sprintf("@caddy-redis-sse-test-port-%d", port))
	if err != nil {
		return nil, false
	}
	return func() { _ = name.Close() }, true
}
