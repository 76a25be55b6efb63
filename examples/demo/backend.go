package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"time"
)

//go:embed web
var web embed.FS

// backend is the app behind Caddy. It serves the page and publishes; no stream passes through it.
type backend struct {
	demo   *demo
	addr   string
	server *http.Server
	cancel context.CancelFunc
	done   <-chan struct{} // closed by cancel
	serve  sync.WaitGroup
}

func startBackend(d *demo) (*backend, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the app: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &backend{demo: d, addr: ln.Addr().String(), cancel: cancel, done: ctx.Done()}
	b.server = &http.Server{
		// The buttons change things: only this site's own pages may press them.
		Handler:           http.NewCrossOriginProtection().Handler(b.routes()),
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	b.serve.Go(func() { _ = b.server.Serve(ln) }) // ErrServerClosed, from close
	return b, nil
}

// close also cuts short an outage of Redis or of the network that is under way.
func (b *backend) close() error {
	b.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := b.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("stopping the app: %w", err), b.server.Close())
	}
	b.serve.Wait()
	return err
}

func (b *backend) routes() http.Handler {
	files, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // the name is a constant
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", noCache(http.FileServerFS(files)))
	mux.HandleFunc("GET /demo/state", b.state)
	mux.HandleFunc("GET /demo/Caddyfile", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(config)
	})
	mux.HandleFunc("GET /demo/shown-config", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, shownConfig())
	})
	mux.HandleFunc("POST /demo/publish", b.publish)
	mux.HandleFunc("POST /demo/ask", b.ask)
	mux.HandleFunc("POST /demo/lose-network", b.loseNetwork)
	mux.HandleFunc("POST /demo/restart-redis", b.restartRedis)
	mux.HandleFunc("POST /demo/reload-caddy", b.reloadCaddy)
	return mux
}

func noCache(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src data:")
		next.ServeHTTP(w, r)
	})
}

// state is what the page cannot see from the stream.
func (b *backend) state(w http.ResponseWriter, _ *http.Request) {
	d := b.demo
	reply(w, http.StatusOK, map[string]any{
		"now":        time.Now().UnixMilli(),
		"http":       d.httpURL(),
		"https":      d.httpsURL(),
		"redis":      d.redisName(),
		"embedded":   d.redis != nil,
		"run":        d.worker.run,
		"published":  d.worker.published.Load(),
		"unreceived": d.worker.unreceived.Load(),
		"failed":     d.worker.failed.Load(),
	})
}

// publish sends a line typed by hand to one of the demo's channels.
func (b *backend) publish(w http.ResponseWriter, r *http.Request) {
	channel := r.URL.Query().Get("channel")
	if channel != chatChannel && channel != jobChannel {
		fail(w, http.StatusBadRequest, fmt.Errorf("checking the channel: %q is neither %q nor %q", channel, chatChannel, jobChannel))
		return
	}
	payload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<10))
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("reading the message: %w", err))
		return
	}
	receivers, err := b.demo.worker.publish(r.Context(), channel, payload)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	reply(w, http.StatusOK, map[string]any{"channel": channel, "receivers": receivers})
}

// ask has a question answered, and says where: what the app gives to a page is the name of a channel.
func (b *backend) ask(w http.ResponseWriter, _ *http.Request) {
	id, err := b.demo.worker.answer()
	if err != nil {
		fail(w, http.StatusTooManyRequests, err)
		return
	}
	reply(w, http.StatusOK, map[string]string{"answer": id})
}

// loseNetwork answers when the network is back; before that its answer would not get through.
func (b *backend) loseNetwork(w http.ResponseWriter, _ *http.Request) {
	err := visitors.outage(b.done, b.demo.unreachable)
	switch {
	case errors.Is(err, errNetworkLost):
		fail(w, http.StatusConflict, err)
	case err != nil:
		fail(w, http.StatusServiceUnavailable, err)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// restartRedis answers when Redis is back. It does not look at the request's context: a visitor who leaves must not keep Redis
// down.
func (b *backend) restartRedis(w http.ResponseWriter, _ *http.Request) {
	if b.demo.redis == nil {
		fail(w, http.StatusNotFound, errors.New("restarting Redis: this one is not the demo's"))
		return
	}
	err := b.demo.redis.restart(b.done, b.demo.outage)
	switch {
	case errors.Is(err, errRestarting):
		fail(w, http.StatusConflict, err)
	case err != nil:
		fail(w, http.StatusInternalServerError, err)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// reloadCaddy is answered by the Caddy that goes away.
func (b *backend) reloadCaddy(w http.ResponseWriter, _ *http.Request) {
	if err := b.demo.caddy.reload(); err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a failed write is the client's leaving
}

func fail(w http.ResponseWriter, status int, err error) {
	reply(w, status, map[string]string{"error": err.Error()})
}
