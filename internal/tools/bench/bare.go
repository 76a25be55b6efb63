//go:build linux

package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/redis/go-redis/v9"
)

func init() {
	caddy.RegisterModule(bare{})
	httpcaddyfile.RegisterHandlerDirective("bench_bare", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		b := new(bare)
		return b, b.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("bench_bare", httpcaddyfile.Before, "respond")
}

// bare is the floor: the least that a Caddy handler can do to stream the same
// bytes. One Redis subscription, a frame encoded once, a Go channel per client,
// one write and one flush per message. No ids that mean something, no replay,
// no gaps, no health checks; a slow client holds up all others.
type bare struct {
	Redis string `json:"redis,omitempty"`

	fans   *fans
	client *redis.Client
	sub    *redis.PubSub
	done   chan struct{}
}

// CaddyModule describes the module to Caddy.
func (bare) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench_bare", New: func() caddy.Module { return new(bare) }}
}

// UnmarshalCaddyfile reads "bench_bare <address>".
func (b *bare) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&b.Redis) {
		return d.ArgErr()
	}
	return nil
}

// Provision subscribes to all of the load's channels.
func (b *bare) Provision(caddy.Context) error {
	b.fans = &fans{byChannel: make(map[string]*fan)}
	b.client = redis.NewClient(&redis.Options{Addr: b.Redis, Protocol: 2})
	b.sub = b.client.PSubscribe(context.Background(), channelPrefix+"*")
	b.done = make(chan struct{})
	go func() {
		defer close(b.done)
		for {
			m, err := b.sub.ReceiveMessage(context.Background())
			if err != nil {
				return // closed
			}
			b.fans.of(m.Channel).send(encodeBare(m.Payload))
		}
	}()
	return nil
}

// Cleanup ends the subscription.
func (b *bare) Cleanup() error {
	err := errors.Join(b.sub.Close(), b.client.Close())
	<-b.done
	return err
}

// bareID has the length of the gateway's ids.
const bareID = "AaIFuuVeg7RzfHCasip2KBEaKzxN"

// bareFrame is an encoded message, all of it.
type bareFrame struct{ bytes []byte }

func encodeBare(payload string) *bareFrame {
	return &bareFrame{[]byte("id: " + bareID + "\ndata: " + payload + "\n\n")}
}

// bareBegin is what the gateway begins a stream with.
const bareBegin = "retry: 2000\nevent: cursor\nid: " + bareID + "\ndata: {}\n\n"

// ServeHTTP streams one channel.
func (b *bare) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	channel := channelPrefix + r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	client := bareClient{make(chan *bareFrame, bareQueue), r.Context().Done()}
	f := b.fans.of(channel)
	f.join(client)
	defer f.leave(client)

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store, no-transform")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	frame := &bareFrame{[]byte(bareBegin)}
	for {
		if _, err := w.Write(frame.bytes); err != nil {
			return nil
		}
		if err := control.Flush(); err != nil {
			return nil
		}
		select {
		case frame = <-client.frames:
		case <-client.gone:
			return nil
		}
	}
}

// bareQueue is how many frames may wait for a client: about what comes in the
// time after which a rate does not count as sustained any more, and 1 KiB.
const bareQueue = 128

type fans struct {
	mu        sync.Mutex
	byChannel map[string]*fan
}

func (f *fans) of(channel string) *fan {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.byChannel[channel]
	if one == nil {
		one = new(fan)
		f.byChannel[channel] = one
	}
	return one
}

// fan is a channel's clients.
type fan struct {
	mu      sync.Mutex
	clients []bareClient
}

type bareClient struct {
	frames chan *bareFrame
	gone   <-chan struct{}
}

func (f *fan) join(c bareClient) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients = append(f.clients, c)
}

func (f *fan) leave(c bareClient) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.clients, c)
	f.clients = slices.Delete(f.clients, i, i+1)
}

func (f *fan) send(frame *bareFrame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.clients {
		select {
		case c.frames <- frame:
			continue
		default:
		}
		select {
		case c.frames <- frame:
		case <-c.gone:
		}
	}
}
