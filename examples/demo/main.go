// Command demo shows Redis pub/sub arriving in a browser through Caddy: an embedded Redis, a worker that publishes, the real
// Caddy with this folder's Caddyfile, and a page that checks what it receives.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() error {
	opts := options{redisURL: os.Getenv("REDIS_URL"), tick: 300 * time.Millisecond, outage: 3 * time.Second, unreachable: 10 * time.Second}
	flag.IntVar(&opts.httpPort, "http", envPort("DEMO_HTTP_PORT", 8080), "port for http ($DEMO_HTTP_PORT)")
	flag.IntVar(&opts.httpsPort, "https", envPort("DEMO_HTTPS_PORT", 8443), "port for https ($DEMO_HTTPS_PORT)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d, err := start(opts)
	if err != nil {
		return err
	}
	fmt.Print(d.banner())

	<-ctx.Done()
	stop() // from here on a second Ctrl-C kills
	fmt.Println("\nstopping")
	return d.close()
}

func envPort(name string, fallback int) int {
	if port, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return port
	}
	return fallback
}

// banner says what to open and what to type.
func (d *demo) banner() string {
	http, https := d.httpURL(), d.httpsURL()
	cli := "redis-cli -u " + d.redisName()
	if d.redis != nil {
		cli = "redis-cli -p " + d.redis.port()
	}
	return "Redis pub/sub as Server-Sent Events, by Caddy.\n\n" +
		"  open     " + http + "\n" +
		"           " + https + "  (a certificate of its own: accept the warning)\n" +
		"  stream   curl -N " + http + "/events\n" +
		"           curl -kN " + https + "/events\n" +
		"  publish  curl -d hello '" + http + "/demo/publish?channel=chat:1'\n" +
		"           " + cli + " PUBLISH chat:1 hello\n" +
		"\nCtrl-C stops it.\n"
}
