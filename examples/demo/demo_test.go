package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/goleak"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// startDemo runs a quick demo on free ports; it ends with the test, and must leave nothing behind then.
func startDemo(t *testing.T) *demo {
	t.Helper()
	ignore := []goleak.Option{
		goleak.IgnoreCurrent(),
		// Refreshes the lock files of certificates until the process ends: certmagic's, one per process.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
	}
	d, err := start(options{
		httpPort: freePort(t), httpsPort: freePort(t),
		tick: 5 * time.Millisecond, outage: 200 * time.Millisecond, unreachable: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := d.close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		if _, err := os.Stat(d.storage); !os.IsNotExist(err) {
			t.Errorf("the certificates in %q are left behind: %v", d.storage, err)
		}
		goleak.VerifyNone(t, ignore...)
	})
	return d
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// httpsClient trusts the demo's own authority and speaks HTTP/2, as a browser would.
func httpsClient(t *testing.T, d *demo) *http.Client {
	t.Helper()
	roots := demoRoots(t, d)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			// CloseIdleConnections is not enough: a stream that was just closed may still count as open.
			t.Cleanup(func() { _ = conn.Close() })
		}
		return conn, err
	}
	return &http.Client{Transport: &http.Transport{
		DialContext:       dial,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}}
}

// demoRoots is the demo's own authority.
func demoRoots(t *testing.T, d *demo) *x509.CertPool {
	t.Helper()
	root, err := os.ReadFile(filepath.Join(d.storage, "pki", "authorities", "local", "root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		t.Fatal("no certificate in root.crt")
	}
	return pool
}

func get(t *testing.T, client *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// post is a button of the page.
func post(t *testing.T, url, body string) (status int, answer string) {
	t.Helper()
	resp, err := http.Post(url, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestPageAndStreamOverHTTPAndHTTPS(t *testing.T) {
	d := startDemo(t)
	for _, tc := range []struct {
		url    string
		client *http.Client
		major  int
	}{
		{d.httpURL(), http.DefaultClient, 1},
		{d.httpsURL(), httpsClient(t, d), 2},
	} {
		t.Run(strings.Split(tc.url, ":")[0], func(t *testing.T) {
			resp, page := get(t, tc.client, tc.url+"/")
			if resp.StatusCode != http.StatusOK || resp.ProtoMajor != tc.major || !strings.Contains(page, "<title>Redis pub/sub") {
				t.Errorf("page: status %d over %s:\n%s", resp.StatusCode, resp.Proto, page)
			}
			for _, file := range []string{"/app.js", "/answer.js", "/check.js", "/style.css", "/demo/Caddyfile", "/demo/shown-config"} {
				if resp, _ := get(t, tc.client, tc.url+file); resp.StatusCode != http.StatusOK {
					t.Errorf("%s: status %d", file, resp.StatusCode)
				}
			}
			s := ssetest.Open(t, tc.client, tc.url+"/events")
			s.SkipCursor()
			s.NextOf(chatChannel)
			s.NextOf(jobChannel)
		})
	}
}

func TestStateTellsThePageWhatItNeeds(t *testing.T) {
	d := startDemo(t)
	_, body := get(t, http.DefaultClient, d.httpURL()+"/demo/state")
	var state map[string]any
	if err := json.Unmarshal([]byte(body), &state); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"http": d.httpURL(), "https": d.httpsURL(), "embedded": true, "redis": d.redisURL} {
		if state[key] != want {
			t.Errorf("%s: %v, want %v", key, state[key], want)
		}
	}
	if state["run"] != d.worker.run {
		t.Errorf("run: %v, want %q", state["run"], d.worker.run)
	}
	for _, key := range []string{"now", "published", "unreceived", "failed"} {
		if _, ok := state[key].(float64); !ok {
			t.Errorf("%s: %v, want a number", key, state[key])
		}
	}
}

func TestPasswordIsNotShown(t *testing.T) {
	d := &demo{options: options{redisURL: "rediss://app:secret@redis.example:6380/1"}}
	if name := d.redisName(); name != "rediss://redis.example:6380/1" {
		t.Errorf("name: %q", name)
	}
	if strings.Contains(d.banner(), "secret") {
		t.Errorf("the banner shows the password:\n%s", d.banner())
	}
}

func TestDroppedStreamResumesExactly(t *testing.T) {
	for _, by := range []string{"header", "query"} {
		t.Run(by, func(t *testing.T) {
			d := startDemo(t)
			events := d.httpURL() + "/events"
			dropped, witness := openCounted(t, events, map[string]int64{}), openCounted(t, events, map[string]int64{})

			dropped.until(dropped.beyond(0, 0))
			dropped.Close()
			// Another client sees time pass.
			witness.until(witness.beyond(dropped.last[chatChannel]+30, dropped.last[jobChannel]+10))

			var opts []ssetest.Option
			if by == "header" {
				opts = append(opts, ssetest.WithLastEventID(dropped.lastID))
			} else {
				events += "?last_event_id=" + url.QueryEscape(dropped.lastID)
			}
			resumed := openCounted(t, events, dropped.last, opts...)
			resumed.until(resumed.beyond(witness.last[chatChannel]+30, witness.last[jobChannel]+10))
			if len(resumed.gaps) > 0 {
				t.Errorf("gaps after the resume: %v", resumed.gaps)
			}
		})
	}
}

func TestReloadLosesNothing(t *testing.T) {
	d := startDemo(t)
	events := d.httpURL() + "/events"
	before := openCounted(t, events, map[string]int64{})
	before.until(before.beyond(0, 0))
	if status, body := post(t, d.httpURL()+"/demo/reload-caddy", ""); status != http.StatusNoContent {
		t.Fatalf("reload: status %d: %s", status, body)
	}
	before.untilEnd()

	after := openCounted(t, events, before.last, ssetest.WithLastEventID(before.lastID))
	after.until(after.beyond(before.last[chatChannel]+30, before.last[jobChannel]+10))
	if len(before.gaps)+len(after.gaps) > 0 {
		t.Errorf("gaps before and after the reload: %v, %v", before.gaps, after.gaps)
	}
}

func TestRedisRestartIsOneGapPerChannel(t *testing.T) {
	d := startDemo(t)
	s := openCounted(t, d.httpURL()+"/events", map[string]int64{})
	s.until(s.beyond(0, 0))

	if status, body := post(t, d.httpURL()+"/demo/restart-redis", ""); status != http.StatusNoContent {
		t.Fatalf("restart: status %d: %s", status, body)
	}
	s.until(func() bool { return len(s.gaps) == 2 })
	s.until(s.beyond(s.last[chatChannel]+200, s.last[jobChannel]+60))
	for _, channel := range []string{chatChannel, jobChannel} {
		if gaps := s.gaps[channel]; len(gaps) != 1 || gaps[0] != "redis_disconnected" {
			t.Errorf("%s: gaps %q, want one redis_disconnected", channel, gaps)
		}
		if s.hole[channel] == 0 {
			t.Errorf("%s: nothing is missing behind the gap; was Redis down?", channel)
		}
	}
	if d.worker.failed.Load() == 0 {
		t.Error("no publish failed while Redis was down")
	}
}

func TestSecondRestartIsRefused(t *testing.T) {
	d := startDemo(t)
	d.redis.mu.Lock()         // a restart is under way
	defer d.redis.mu.Unlock() // also if post fails: the demo's end waits for it
	status, _ := post(t, d.httpURL()+"/demo/restart-redis", "")
	if status != http.StatusConflict {
		t.Errorf("status %d, want 409", status)
	}
}

func TestPublishByHandArrives(t *testing.T) {
	d := startDemo(t)
	s := ssetest.Open(t, http.DefaultClient, d.httpURL()+"/events")
	s.SkipCursor()
	const text = "two\nlines"
	status, body := post(t, d.httpURL()+"/demo/publish?channel=chat:1", text)
	if status != http.StatusOK || !strings.Contains(body, `"receivers":1`) {
		t.Fatalf("publish: status %d: %s", status, body)
	}
	arrived := false
	for range 100 {
		e := s.NextAfterCursors()
		arrived = arrived || e.Type == chatChannel && e.Data == text
	}
	if !arrived {
		t.Error("what was published by hand is not among the next 100 events")
	}
	if status, _ := post(t, d.httpURL()+"/demo/publish?channel=other", text); status != http.StatusBadRequest {
		t.Errorf("a channel that is not the demo's: status %d, want 400", status)
	}
}

func TestOtherSitesCannotPressTheButtons(t *testing.T) {
	d := startDemo(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.httpURL()+"/demo/restart-redis", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %d, want 403", resp.StatusCode)
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().(*net.TCPAddr).Port
	for flag, opts := range map[string]options{
		"-http":  {httpPort: taken, httpsPort: freePort(t)},
		"-https": {httpPort: freePort(t), httpsPort: taken},
	} {
		_, err := start(opts)
		if err == nil || !strings.Contains(err.Error(), strconv.Itoa(taken)) || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s taken: %v", flag, err)
		}
	}
}

func TestCaddyfileIsFormatted(t *testing.T) {
	if formatted := caddyfile.Format(config); !bytes.Equal(formatted, config) {
		t.Errorf("caddy fmt would write:\n%s", formatted)
	}
}
