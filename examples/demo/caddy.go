package main

// Of Caddy only what the Caddyfile uses: half of the standard modules' packages would be built for nothing.
import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"

	_ "github.com/redis-sse/caddy-redis-sse"
)

// environment is what the Caddyfile leaves open.
func (d *demo) environment(backend string) map[string]string {
	return map[string]string{
		"REDIS_URL":       d.redisURL,
		"DEMO_BACKEND":    backend,
		"DEMO_HTTP_PORT":  strconv.Itoa(d.httpPort),
		"DEMO_HTTPS_PORT": strconv.Itoa(d.httpsPort),
		"DEMO_STORAGE":    d.storage,
	}
}

// caddyServer is the Caddy of this process. There can be only one: its config and the environment it reads are the process's.
type caddyServer struct {
	mu      sync.Mutex
	running []byte // the config, as JSON; nil before start and after stop
}

func (c *caddyServer) start(env map[string]string) error {
	for name, value := range env {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(config, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return fmt.Errorf("adapting the Caddyfile: %w", err)
	}
	if adapted, err = overNetwork(adapted); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := caddy.Load(adapted, true); err != nil {
		return fmt.Errorf("starting caddy: %w", err)
	}
	c.running = adapted
	return nil
}

// overNetwork has the servers of a config listen behind the network that can be lost. The Caddyfile leaves it out, so that it is one for
// any Caddy.
func overNetwork(adapted []byte) ([]byte, error) {
	var cfg caddy.Config
	if err := json.Unmarshal(adapted, &cfg); err != nil {
		return nil, fmt.Errorf("reading the adapted config: %w", err)
	}
	var app caddyhttp.App
	if err := json.Unmarshal(cfg.AppsRaw["http"], &app); err != nil {
		return nil, fmt.Errorf("reading the adapted http app: %w", err)
	}
	lossy := json.RawMessage(`{"wrapper":"demo_network"}`)
	for _, server := range app.Servers {
		server.ListenerWrappersRaw = []json.RawMessage{lossy, json.RawMessage(`{"wrapper":"tls"}`)} // TLS within it
		server.PacketConnWrappersRaw = []json.RawMessage{lossy}
	}
	cfg.AppsRaw["http"] = caddyconfig.JSON(app, nil)
	return caddyconfig.JSON(cfg, nil), nil
}

// reload loads the same config again, as "caddy reload --force" does.
func (c *caddyServer) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil { // else a late request would bring Caddy back
		return errors.New("reloading caddy: it is not running")
	}
	if err := caddy.Load(c.running, true); err != nil {
		return fmt.Errorf("reloading caddy: %w", err)
	}
	return nil
}

func (c *caddyServer) stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = nil
	return caddy.Stop()
}

// awaitTLS returns when Caddy has made its certificate, which it does in the background.
func (d *demo) awaitTLS() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	// Only whether there is a certificate: who signed it is the visitor's question.
	dialer := tls.Dialer{Config: &tls.Config{ServerName: "localhost", InsecureSkipVerify: true}} //nolint:gosec // see above
	for {
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(d.httpsPort)))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for a certificate on port %d: %w", d.httpsPort, err)
		case <-retry.C:
		}
	}
}

// checkPorts asks before Caddy does: Caddy listens with SO_REUSEPORT, so two of them would share a port unnoticed.
func (d *demo) checkPorts() error {
	for _, p := range []struct {
		flag string
		port int
	}{{"-http", d.httpPort}, {"-https", d.httpsPort}} {
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("listening on port %d: it is taken; choose another with %s", p.port, p.flag)
		}
		if err != nil {
			return fmt.Errorf("listening on port %d: %w", p.port, err)
		}
		// Held until both are checked: the two must differ.
		defer ln.Close() //nolint:errcheck // nothing was accepted
	}
	return nil
}
