package ssetest

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"testing"
	"time"
)

// deadline bounds every wait of a test for the server. It is far above what a busy machine needs, since a test that waits that
// long fails anyway.
const deadline = 20 * time.Second

// bodyShown is how much of the body of an unexpected response a failed test prints.
const bodyShown = 2 << 10

// Option changes a request.
type Option func(*request)

type request struct {
	method string
	body   io.Reader
	header http.Header
}

// WithHeader sets a header, "Host" included. An empty value removes what the request would carry otherwise.
func WithHeader(key, value string) Option {
	return func(r *request) { r.header.Set(key, value) }
}

// WithMethod sets the method; GET is the default.
func WithMethod(method string) Option {
	return func(r *request) { r.method = method }
}

// WithBody sets the body. It does not set the method.
func WithBody(body io.Reader) Option {
	return func(r *request) { r.body = body }
}

// WithLastEventID makes the request that of a browser that comes back with id, unless id is empty.
func WithLastEventID(id string) Option {
	return WithHeader("Last-Event-ID", id)
}

// Do performs the request of an EventSource and returns the response, whatever its status, with the body unread. It ends the
// test if the headers are not there after 20 s. The request is cancelled at the end of the test. A client with a timeout would
// cut the body off too.
func Do(t testing.TB, client *http.Client, url string, opts ...Option) *http.Response {
	t.Helper()
	response, cancel := do(t, client, url, opts)
	t.Cleanup(func() {
		cancel()
		_ = response.Body.Close()
	})
	return response
}

// do leaves it to the caller to cancel the request and to close the body.
func do(t testing.TB, client *http.Client, url string, opts []Option) (*http.Response, context.CancelFunc) {
	t.Helper()
	r := newRequest(opts)
	// Not the test's context: that ends before the cleanups of the test, in which a stream may still be wanted.
	ctx, cancel := context.WithCancel(context.Background())
	httpRequest, err := r.build(ctx, url)
	if err != nil {
		cancel()
		t.Fatalf("building a request for %q: %v", url, err)
	}
	late := time.AfterFunc(deadline, cancel)
	response, err := client.Do(httpRequest)
	if !late.Stop() && err == nil {
		_ = response.Body.Close()
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		t.Fatalf("%s %s, waiting for the headers for at most %v: %v", r.method, url, deadline, err)
	}
	return response, cancel
}

func newRequest(opts []Option) *request {
	r := &request{method: http.MethodGet, header: http.Header{
		"Accept":        {"text/event-stream"},
		"Cache-Control": {"no-cache"},
	}}
	for _, opt := range opts {
		opt(r)
	}
	return r
}

func (r *request) build(ctx context.Context, url string) (*http.Request, error) {
	httpRequest, err := http.NewRequestWithContext(ctx, r.method, url, r.body)
	if err != nil {
		return nil, err
	}
	for key, values := range r.header {
		switch {
		case key == "Host":
			httpRequest.Host = values[0]
		case values[0] != "":
			httpRequest.Header[key] = values
		}
	}
	return httpRequest, nil
}

// streamError tells why an EventSource would refuse the response, nil if it would not.
func streamError(response *http.Response) error {
	contentType, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode == http.StatusOK && contentType == "text/event-stream" {
		return nil
	}
	// The body may be a stream without an end after all.
	timer := time.AfterFunc(time.Second, func() { _ = response.Body.Close() })
	defer timer.Stop()
	body, _ := io.ReadAll(io.LimitReader(response.Body, bodyShown))
	return fmt.Errorf("an EventSource refuses status %q with content type %q; the body begins %q", response.Status,
		response.Header.Get("Content-Type"), body)
}
