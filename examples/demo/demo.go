package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"
)

type options struct {
	httpPort, httpsPort int
	redisURL            string        // empty: an embedded Redis
	tick                time.Duration // between two tokens
	outage              time.Duration // how long "restart Redis" keeps it down
	unreachable         time.Duration // how long "lose my network" lasts
}

// demo is everything that runs: Redis, the app behind Caddy, Caddy, and the worker that publishes.
type demo struct {
	options
	redis    *embeddedRedis // nil when the Redis is someone else's
	storage  string         // Caddy's certificates
	worker   *worker
	caddy    caddyServer
	shutdown []func() error // in the order of starting
}

// start brings everything up; on an error nothing is left running.
func start(opts options) (*demo, error) {
	d := &demo{options: opts}
	if err := d.startAll(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *demo) startAll() error {
	if err := d.checkPorts(); err != nil {
		return err
	}
	if d.redisURL == "" {
		redis, err := startEmbeddedRedis()
		if err != nil {
			return err
		}
		d.redis, d.redisURL = redis, "redis://"+redis.addr
		d.onClose(redis.close)
	}

	worker, err := newWorker(d.redisURL, d.tick)
	if err != nil {
		return err
	}
	d.worker = worker
	d.onClose(worker.close)

	backend, err := startBackend(d)
	if err != nil {
		return err
	}
	d.onClose(backend.close)

	d.storage, err = os.MkdirTemp("", "caddy-redis-sse-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for Caddy's certificates: %w", err)
	}
	d.onClose(func() error { return os.RemoveAll(d.storage) })

	if err := d.caddy.start(d.environment(backend.addr)); err != nil {
		return err
	}
	d.onClose(d.caddy.stop)
	if err := d.awaitTLS(); err != nil {
		return err
	}

	worker.start()
	d.onClose(worker.stop)
	return nil
}

func (d *demo) onClose(f func() error) { d.shutdown = append(d.shutdown, f) }

// close stops in the reverse order of starting: first the worker, last Redis.
func (d *demo) close() error {
	var errs []error
	for _, f := range slices.Backward(d.shutdown) {
		errs = append(errs, f())
	}
	d.shutdown = nil
	return errors.Join(errs...)
}

func (d *demo) httpURL() string  { return fmt.Sprintf("http://localhost:%d", d.httpPort) }
func (d *demo) httpsURL() string { return fmt.Sprintf("https://localhost:%d", d.httpsPort) }

// redisName is the Redis in a form that may be shown: without its password.
func (d *demo) redisName() string {
	u, err := url.Parse(d.redisURL)
	if err != nil {
		return "redis"
	}
	return u.Scheme + "://" + u.Host + u.Path
}
