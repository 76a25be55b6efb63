//go:build clients && linux

package clientstest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// options are what a Caddy of a test needs beside others.
const options = "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n"

// newApp is an app behind the gateway that knows one user, by a cookie.
func newApp(t *testing.T) (addr string) {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/auth":
			_, _ = io.WriteString(w, "the app")
		case r.Header.Get("Cookie") == "login=yes":
			w.Header().Set("X-User-Id", "42")
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(app.Close)
	return app.Listener.Addr().String()
}

// ask returns the status and the body of an answer that ends.
func ask(t *testing.T, url string, options ...ssetest.Option) (status int, body string) {
	t.Helper()
	response := ssetest.Do(t, http.DefaultClient, url, options...)
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("reading the answer of %s: %v", url, err)
	}
	return response.StatusCode, string(text)
}

// runUseIt runs that Caddyfile of the README, with more of its texts replaced, in front of an app.
func runUseIt(t *testing.T, redis *redistest.Server, oldNew ...string) (url string) {
	t.Helper()
	app, addr := newApp(t), proctest.FreeAddr(t)
	url = "http://" + addr
	oldNew = append(oldNew, "{\n\tredis_sse {\n", options+"\tredis_sse {\n", "example.com", url,
		"forward_auth 127.0.0.1:8000", "forward_auth "+app, "reverse_proxy 127.0.0.1:8000", "reverse_proxy "+app)
	runCaddy(t, addr, code(t, useCaddyfile, oldNew...), "REDIS_URL="+redis.URL())
	return url
}

// Without copy_headers a client chooses whose messages it reads.
func TestUseItNeedsItsCopyHeaders(t *testing.T) {
	t.Parallel()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	redis := redistest.Start(t)
	url := runUseIt(t, redis, "\t\t\tcopy_headers X-User-Id # also removes one that the browser sent\n", "")
	forged := ssetest.Open(t, http.DefaultClient, url+"/me/events", ssetest.WithHeader("Cookie", "login=yes"),
		ssetest.WithHeader("X-User-Id", "1"))
	forged.SkipCursor()
	redis.Publish("user:1", "for user 1")
	if got := forged.Messages(1)[0]; got != "for user 1" {
		t.Errorf("the stream has %q, want what the README warns of", got)
	}
}

func TestUseItDoesWhatItSays(t *testing.T) {
	t.Parallel()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	redis := redistest.Start(t)
	url := runUseIt(t, redis)

	news := ssetest.Open(t, http.DefaultClient, url+"/events")
	news.SkipCursor()
	me := ssetest.Open(t, http.DefaultClient, url+"/me/events", ssetest.WithHeader("Cookie", "login=yes"),
		ssetest.WithHeader("X-User-Id", "7")) // which means nothing
	me.SkipCursor()
	redis.Publish("news", "hello")
	if got := news.Messages(1)[0]; got != "hello" {
		t.Errorf("/events has %q, want what was published to news", got)
	}
	for _, channel := range []string{"user:42", "notice:all"} {
		redis.Publish(channel, "for "+channel)
		if got := me.Messages(1)[0]; got != "for "+channel {
			t.Errorf("/me/events has %q, want what was published to %s", got, channel)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		forged := ssetest.WithHeader("X-User-Id", "42")
		if status, _ := ask(t, url+"/me/events", ssetest.WithMethod(method), forged); status != http.StatusUnauthorized {
			t.Errorf("without a cookie %s /me/events answers %d, want what the app answers", method, status)
		}
	}
	if status, body := ask(t, url+"/else"); status != http.StatusOK || body != "the app" {
		t.Errorf("/else answers %d, %q, want the app", status, body)
	}
}

func TestPublishOverHTTPDoesWhatItSays(t *testing.T) {
	t.Parallel()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	redis, addr := redistest.Start(t), proctest.FreeAddr(t)
	url := "http://" + addr
	text := options + "\tredis_sse {\n\t\tredis " + redis.URL() + "\n\t}\n}\n" +
		url + " {\n" + code(t, publishHTTP) + "\nredis_sse /events news\n}\n"
	hash := "$2a$14$B4fAmSWyDZVX/nb6JgHz1eNmb2soSIf7GSaip2BHqIL6gKJbcFwWK" // of "secret", as in examples/publish
	runCaddy(t, addr, text, "PUBLISH_HASH="+hash)

	stream := ssetest.Open(t, http.DefaultClient, url+"/events")
	stream.SkipCursor()
	post := func(options ...ssetest.Option) (int, string) {
		options = append(options, ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader("hello")))
		return ask(t, url+"/publish/news", options...)
	}
	if status, _ := post(); status != http.StatusUnauthorized {
		t.Errorf("without a password the answer is %d, want 401", status)
	}
	password := ssetest.WithHeader("Authorization", "Basic YXBwOnNlY3JldA==") // app:secret
	if status, _ := post(password, ssetest.WithHeader("Sec-Fetch-Site", "cross-site")); status != http.StatusForbidden {
		t.Errorf("a page of another site is answered %d, want 403", status)
	}
	status, body := post(password)
	said := ""
	for _, line := range lines(t, readmeFile) {
		if _, rest, ok := strings.Cut(line, "It answers `"); ok {
			said, _, _ = strings.Cut(rest, "`")
		}
	}
	if status != http.StatusOK || strings.TrimSpace(body) != said {
		t.Errorf("the answer is %d, %q, want 200, %q as the README says", status, body, said)
	}
	if got := stream.Messages(1)[0]; got != "hello" {
		t.Errorf("the stream has %q, want the body", got)
	}
}
