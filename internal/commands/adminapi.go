package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

const (
	// adminTimeout bounds one request. A status takes milliseconds; a Caddy that is busy for so long has another problem.
	adminTimeout = 10 * time.Second
	// maxAdminAnswer is far above a status with thousands of channels. What is longer comes from something else.
	maxAdminAnswer = 64 << 20
)

// adminAPI is the admin API of a Caddy. It is not asked through caddycmd.AdminAPIRequest, which cannot be stopped or told how long to
// wait, leaves a connection open for each request, and returns errors that nobody can tell apart.
type adminAPI struct {
	address string // as it was given
	origin  string
	client  *http.Client
}

func newAdminAPI(address string) (*adminAPI, error) {
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return nil, fmt.Errorf("reading the address of the admin API: %w", err)
	}
	if parsed.PortRangeSize() > 1 {
		return nil, fmt.Errorf("reading the address of the admin API: %q has more than one port", address)
	}
	api := &adminAPI{address: address, origin: "http://" + parsed.JoinHostPort(0)}
	if parsed.IsUnixNetwork() {
		api.origin = "http://127.0.0.1"                   // which Caddy asks for
		parsed.Host, _, _ = strings.Cut(parsed.Host, "|") // permissions that Caddy would give the socket
	}
	var dialer net.Dialer
	api.client = &http.Client{Timeout: adminTimeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, parsed.Network, parsed.JoinHostPort(0))
		},
	}}
	return api, nil
}

func (a *adminAPI) close() { a.client.CloseIdleConnections() }

// get returns the body of an answer that is 200.
func (a *adminAPI) get(ctx context.Context, uri string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.origin+uri, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the address of the admin API: %w", withoutURL(err))
	}
	r.Header.Set("Origin", a.origin)
	response, err := a.client.Do(r)
	if err != nil {
		return nil, a.unreachable(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAdminAnswer+1))
	switch {
	case err != nil:
		return nil, a.unreachable(err)
	case len(body) > maxAdminAnswer:
		return nil, fmt.Errorf("asking %s: the answer is over %d bytes", a.address, maxAdminAnswer)
	case response.StatusCode != http.StatusOK:
		return nil, a.refused(response.StatusCode, body)
	}
	return body, nil
}

// unreachable is about no answer.
func (a *adminAPI) unreachable(err error) error {
	err = withoutURL(err)
	if _, dialing := errors.AsType[*net.OpError](err); dialing {
		return fmt.Errorf("asking the admin API at %s: %w: does Caddy run, with its admin API there? "+
			"--address or --config says where it is; \"admin off\" turns it off", a.address, err)
	}
	return fmt.Errorf("asking the admin API at %s: %w", a.address, err)
}

// refused is about an answer that is not 200.
func (a *adminAPI) refused(status int, body []byte) error {
	if status == http.StatusNotFound {
		return fmt.Errorf("asking %s: it has no status of redis_sse: what runs there is a Caddy without this module, "+
			"or with an older version of it, or no admin API", a.address)
	}
	var said struct{ Error string }
	if json.Unmarshal(body, &said) != nil || said.Error == "" {
		said.Error = strings.TrimSpace(string(body[:min(len(body), maxAnswer)]))
	}
	return fmt.Errorf("asking the admin API at %s: %d %s: %s", a.address, status, http.StatusText(status), escaped(said.Error))
}
