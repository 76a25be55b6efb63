package proctest

import (
	"sync"
	"testing"
)

func TestFreeAddrsDiffer(t *testing.T) {
	var got sync.Map
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 50 {
				addr := FreeAddr(t)
				if _, twice := got.LoadOrStore(addr, true); twice {
					t.Errorf("%s was handed out twice", addr)
				}
			}
		})
	}
	all.Wait()
}
