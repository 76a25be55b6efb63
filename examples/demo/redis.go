package main

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

var errRestarting = errors.New("a restart is under way")

// embeddedRedis is a Redis in this process that can be made to fail.
type embeddedRedis struct {
	addr string

	mu     sync.Mutex // held through a restart
	server *miniredis.Miniredis
}

func startEmbeddedRedis() (*embeddedRedis, error) {
	server, err := startMiniredis("127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the embedded Redis: %w", err)
	}
	return &embeddedRedis{addr: server.Addr(), server: server}, nil
}

// startMiniredis adds ROLE, which miniredis lacks and hubs ask for: they would warn that a demo does without it.
func startMiniredis(addr string) (*miniredis.Miniredis, error) {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(addr); err != nil {
		return nil, err
	}
	err := m.Server().Register("ROLE", func(c *server.Peer, _ string, _ []string) {
		c.WriteLen(3) // a master, at offset 0, without replicas
		c.WriteBulk("master")
		c.WriteInt(0)
		c.WriteLen(0)
	})
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("adding ROLE: %w", err)
	}
	return m, nil
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
	server, err := startMiniredis(r.addr)
	if err != nil {
		return fmt.Errorf("starting the embedded Redis on %q again: %w", r.addr, err)
	}
	r.server = server
	return nil
}

func (r *embeddedRedis) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.server.Close()
	return nil
}
