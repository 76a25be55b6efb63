package main

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

var errRestarting = errors.New("a restart is under way")

// embeddedRedis is a Redis in this process that can be made to fail.
type embeddedRedis struct {
	addr string

	mu     sync.Mutex // held through a restart
	server *miniredis.Miniredis
}

func startEmbeddedRedis() (*embeddedRedis, error) {
	server, err := miniredis.Run()
	if err != nil {
		return nil, fmt.Errorf("starting the embedded Redis: %w", err)
	}
	return &embeddedRedis{addr: server.Addr(), server: server}, nil
}

func (r *embeddedRedis) port() string {
	_, port, _ := net.SplitHostPort(r.addr)
	return port
}

// restart breaks all connections, refuses new ones for the length of the outage and comes back on the same address.
func (r *embeddedRedis) restart(stop <-chan struct{}, outage time.Duration) error {
	if !r.mu.TryLock() {
		return errRestarting
	}
	defer r.mu.Unlock()

	r.server.Close()
	select {
	case <-stop:
		return errors.New("restarting Redis: the demo is stopping")
	case <-time.After(outage):
	}
	// A new one: a closed miniredis keeps its cancelled context.
	r.server = miniredis.NewMiniRedis()
	if err := r.server.StartAddr(r.addr); err != nil {
		return fmt.Errorf("starting the embedded Redis on %q again: %w", r.addr, err)
	}
	return nil
}

func (r *embeddedRedis) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.server.Close()
	return nil
}
