package commands

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// defaultWait is before a client comes back that no retry has told how long. Browsers take 2 to 5 s.
	defaultWait = 2 * time.Second
	// minWait keeps a server that says "retry: 0" and ends each stream from being asked without a pause.
	minWait = 100 * time.Millisecond
	// maxSilence is above the longest heartbeat that a route may have, which is under a minute. A connection that is silent for longer
	// is dead, or its proxy holds everything back: it is given up, and a line says so.
	maxSilence = 90 * time.Second
	// pingAfter is how long an HTTP/2 connection may be silent, and may take to answer then, before nobody takes it for another stream.
	pingAfter = 15 * time.Second
	// maxAnswer is how much is read of an answer that is no stream, to say why.
	maxAnswer = 4 << 10
	// maxRedirects is what browsers and Go's client follow at most, roughly.
	maxRedirects = 10
)

// tail follows one URL.
type tail struct {
	url     *url.URL
	header  http.Header
	client  *http.Client
	view    *tailView
	lastID  string
	wait    time.Duration
	silence time.Duration // after which a connection is given up

	streams int // opened so far
}

func newTailClient(insecure bool) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // it would hold events back
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: insecure}
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter}
	return &http.Client{Transport: transport, CheckRedirect: followOnSameHost}
}

// followOnSameHost keeps headers, which may have passwords, from other hosts and from where everybody can read them.
func followOnSameHost(r *http.Request, via []*http.Request) error {
	switch first := via[0].URL; {
	case len(via) >= maxRedirects:
		return &gaveUpError{fmt.Errorf("following redirects: more than %d", maxRedirects)}
	case r.URL.Hostname() != first.Hostname() || first.Scheme == "https" && r.URL.Scheme != "https":
		return &gaveUpError{fmt.Errorf("following a redirect: it leads to %s: give that URL", shown(r.URL))}
	}
	return nil
}

// shown is a URL without what may be secret of it.
func shown(u *url.URL) string {
	return escaped((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
}

// gaveUpError is one that coming back would not mend.
type gaveUpError struct{ reason error }

func (e *gaveUpError) Error() string { return e.reason.Error() }
func (e *gaveUpError) Unwrap() error { return e.reason }

var (
	errEnded  = errors.New("the server ended the stream")
	errNoMore = errors.New("opening the stream: the answer is 204 No Content: there is nothing to stream")
	errSilent = errors.New("nothing came, not even a heartbeat: the connection is dead, or a proxy holds everything back")
)

// run follows the URL until ctx ends, or until coming back is of no use.
func (t *tail) run(ctx context.Context) error {
	began := time.Now()
	var err error
	for {
		err = t.stream(ctx)
		if _, final := errors.AsType[*gaveUpError](err); final || ctx.Err() != nil {
			break
		}
		t.client.CloseIdleConnections() // one that is dead must not carry the next stream
		t.view.broken(err, t.wait)
		if !sleep(ctx, t.wait) {
			break
		}
	}
	if errors.Is(err, errNoMore) && t.streams > 0 {
		t.view.note(faint, "done", "the server has nothing more to stream: 204 No Content") // as it says to an EventSource
		err = nil
	}
	t.view.summary(t.streams, time.Since(began), t.lastID)
	switch {
	case ctx.Err() == nil && err != nil:
		return err
	case t.streams == 0:
		return fmt.Errorf("waiting for a stream: there was none: %w", err)
	}
	return t.view.err
}

// sleep tells whether ctx has lasted so long.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// stream opens a stream and shows it to its end. It always returns an error.
func (t *tail) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(t.silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	response, err := t.open(ctx)
	if err != nil {
		return because(ctx, err)
	}
	defer response.Body.Close()
	t.streams++
	t.view.opened(shown(response.Request.URL), response.Proto, t.lastID)
	return because(ctx, t.read(&awake{response.Body, func() { watchdog.Reset(t.silence) }}))
}

// because is why a stream ended: what we did ourselves goes before what came of that.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(cause, errSilent) {
		return cause
	}
	return err
}

// awake tells of each read that got something.
type awake struct {
	io.Reader
	got func()
}

func (a *awake) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if n > 0 {
		a.got()
	}
	return n, err
}

// open returns a response that is a stream.
func (t *tail) open(ctx context.Context) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url.String(), nil)
	if err != nil {
		return nil, &gaveUpError{fmt.Errorf("making the request: %w", withoutURL(err))}
	}
	r.Header = t.header.Clone()
	r.Host = r.Header.Get("Host")
	if t.lastID != "" {
		r.Header.Set("Last-Event-ID", t.lastID)
	}
	response, err := t.client.Do(r)
	if err != nil {
		if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
			return nil, &gaveUpError{fmt.Errorf("connecting: %w (--insecure takes any certificate)", withoutURL(err))}
		}
		return nil, fmt.Errorf("connecting: %w", withoutURL(err))
	}
	if err := judge(response); err != nil {
		_ = response.Body.Close()
		return nil, err
	}
	return response, nil
}

// withoutURL is an error without the URL, whose query may have a token.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// temporary are what a proxy answers while nobody is behind it.
var temporary = []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// judge returns an error unless a response is a stream.
func judge(response *http.Response) error {
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode == http.StatusOK && media == "text/event-stream" {
		return nil
	}
	if response.StatusCode == http.StatusNoContent {
		return &gaveUpError{errNoMore}
	}
	said, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer)) // what has come of it
	what := fmt.Sprintf("the answer is %s", escaped(response.Status))
	if response.StatusCode == http.StatusOK {
		what = fmt.Sprintf("the answer is no text/event-stream but %q", response.Header.Get("Content-Type"))
	}
	if text := strings.TrimSpace(string(said)); text != "" {
		what += ": " + escaped(text)
	}
	err := fmt.Errorf("opening the stream: %s", what)
	if slices.Contains(temporary, response.StatusCode) {
		return err
	}
	return &gaveUpError{err}
}

// read shows what a stream has, to its end.
func (t *tail) read(body io.Reader) error {
	d := newDecoder(body, t.lastID)
	d.line = t.view.rawLine
	for {
		it, err := d.next()
		t.lastID = d.lastID
		switch {
		case errors.Is(err, io.EOF):
			return errEnded
		case errors.Is(err, errTooLong):
			return &gaveUpError{err}
		case err != nil:
			return fmt.Errorf("reading the stream: %w", err)
		case it.kind == retryItem:
			t.wait = max(minWait, it.wait)
		default:
			t.view.show(it)
		}
		if t.view.err != nil {
			return &gaveUpError{t.view.err}
		}
	}
}
