//go:build linux

package browsers

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// Firefox is one that nobody drives. It starts with a page of ours, home.html, which asks what to do and opens tabs.
type Firefox struct {
	process *proctest.Process
	home    *httptest.Server
	quitted chan struct{} // closed by quit
	mu      sync.Mutex    // held while an order is carried out
	orders  chan order
	done    chan string // how the last order went, empty if well
}

type order struct {
	Open  string `json:"open,omitempty"` // the URL
	Close bool   `json:"close,omitempty"`
	Tab   string `json:"tab"`
}

//go:embed home.html
var homePage []byte

//go:embed user.js
var firefoxSettings []byte

func startFirefox() (*Firefox, error) {
	profile := filepath.Join(proctest.Dir(), "firefox")
	if err := makeProfile(profile); err != nil {
		return nil, fmt.Errorf("making a profile for firefox: %w", err)
	}
	f := &Firefox{quitted: make(chan struct{}), orders: make(chan order), done: make(chan string)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(homePage)
	})
	mux.HandleFunc("GET /order", f.order)
	mux.HandleFunc("POST /done", f.carriedOut)
	f.home = httptest.NewServer(mux)

	cmd := exec.Command("firefox-esr", "--headless", "--no-remote", "--profile", profile, f.home.URL)
	cmd.Env = append(os.Environ(), "HOME="+profile, "XDG_CONFIG_HOME="+profile, "XDG_CACHE_HOME="+profile, "MOZ_CRASHREPORTER_DISABLE=1")
	var err error
	if f.process, err = proctest.Launch(cmd); err != nil {
		f.home.Close()
		return nil, fmt.Errorf("starting firefox: %w", err)
	}
	proctest.AtEnd(f.quit)
	return f, nil
}

// makeProfile makes a profile that calls nobody and trusts the authority.
func makeProfile(dir string) error {
	authority, err := Authority()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "user.js"), firefoxSettings, 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-N", "--empty-password"},
		{"-A", "-n", "browsers", "-t", "C,,", "-i", authority.Root},
	} {
		out, err := exec.Command("certutil", append(args, "-d", "sql:"+dir)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("certutil %q: %w: %s", args, err, out)
		}
	}
	return nil
}

// order answers the home page when there is something to do.
func (f *Firefox) order(w http.ResponseWriter, r *http.Request) {
	select {
	case o := <-f.orders:
		_ = json.NewEncoder(w).Encode(o) // a failed write is firefox's end
	case <-r.Context().Done():
	case <-f.quitted:
	}
}

func (f *Firefox) carriedOut(_ http.ResponseWriter, r *http.Request) {
	select {
	case f.done <- r.URL.Query().Get("error"):
	case <-r.Context().Done():
	case <-f.quitted:
	}
}

// do has the home page carry out an order. Tests that run side by side take turns.
func (f *Firefox) do(o order) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	timeout := time.After(proctest.Patience)
	orders, done := f.orders, (chan string)(nil) // first to give the order, then to hear of it
	for {
		select {
		case orders <- o:
			orders, done = nil, f.done
		case failed := <-done:
			if failed != "" {
				return fmt.Errorf("driving firefox, %+v: %s", o, failed)
			}
			return nil
		case <-f.process.Exited():
			return fmt.Errorf("driving firefox: it has ended: %w: %s", f.process.Wait(), f.process.Log())
		case <-timeout:
			return fmt.Errorf("driving firefox, %+v: no answer after %v: %s", o, proctest.Patience, f.process.Log())
		}
	}
}

// Name is what its tests are called by.
func (*Firefox) Name() string { return "firefox" }

// Home is the URL of the page it starts with, whose origin is that of what opens tabs.
func (f *Firefox) Home() string { return f.home.URL }

// Open opens a URL in a new tab. Whether its page comes is not waited for.
func (f *Firefox) Open(tab, url string) error { return f.do(order{Open: url, Tab: tab}) }

// Close closes a tab.
func (f *Firefox) Close(tab string) error { return f.do(order{Close: true, Tab: tab}) }

// quit kills it: the profile goes, too.
func (f *Firefox) quit() error {
	close(f.quitted)
	f.process.Kill()
	f.home.Close()
	return nil
}
