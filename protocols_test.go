package redissse

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// The HTTP versions that a stream may be read over, as http.Response names them.
const (
	httpOne   = "HTTP/1.1"
	httpTwo   = "HTTP/2.0"
	httpThree = "HTTP/3.0"
)

var protocols = []string{httpOne, httpTwo, httpThree}

// overEachProtocol runs a subtest for each HTTP version.
func overEachProtocol(t *testing.T, test func(t *testing.T, proto string)) {
	t.Helper()
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) { test(t, proto) })
	}
}

// siteOver is the site of a server at addr: without TLS for HTTP/1.1, else with a certificate of Caddy's own.
func siteOver(proto, addr string) string {
	if proto == httpOne {
		return "http://" + addr
	}
	_, port, _ := strings.Cut(addr, ":")
	return "https://localhost:" + port
}

// siteLines are the directives that the site needs besides what it serves.
func siteLines(proto string) string {
	if proto == httpOne {
		return ""
	}
	return "tls internal\n"
}

// clientOver returns a client that speaks this HTTP version only, to addr whatever the URL says, and trusts anybody.
func clientOver(t *testing.T, proto, addr string) *http.Client {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if proto == httpThree {
		transport := &http3.Transport{
			TLSClientConfig: config,
			Dial: func(ctx context.Context, _ string, config *tls.Config, options *quic.Config) (*quic.Conn, error) {
				return quic.DialAddrEarly(ctx, addr, config, options)
			},
		}
		t.Cleanup(func() { _ = transport.Close() })
		return &http.Client{Transport: again{transport}}
	}
	transport := &http.Transport{
		DisableCompression: true, MaxIdleConnsPerHost: 100,
		ForceAttemptHTTP2: proto == httpTwo, TLSClientConfig: config,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: again{transport}}
}

// again repeats a request that got no answer: in the moment of a reload, Caddy may drop a new connection. Browsers do the same.
type again struct{ http.RoundTripper }

func (a again) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := a.RoundTripper.RoundTrip(request)
	if request.Body == nil && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		return a.RoundTripper.RoundTrip(request)
	}
	return response, err
}

// CloseIdleConnections is what http.Client looks for.
func (a again) CloseIdleConnections() {
	a.RoundTripper.(interface{ CloseIdleConnections() }).CloseIdleConnections()
}

// awaitCertificate returns when the server at addr has one. Caddy makes it in the background.
func awaitCertificate(t *testing.T, addr string) {
	t.Helper()
	config := &tls.Config{ServerName: "localhost", InsecureSkipVerify: true}
	for end := time.Now().Add(gatewayWait); ; time.Sleep(5 * time.Millisecond) {
		conn, err := tls.Dial("tcp", addr, config)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no certificate after %v: %v", gatewayWait, err)
		}
	}
}

func TestEachProtocolIsSpokenAsItIsNamed(t *testing.T) {
	overEachProtocol(t, func(t *testing.T, proto string) {
		g := newGatewayOver(t, proto)
		g.load("redis://127.0.0.1:1/0", "", `respond "{http.request.proto}"`)
		response, err := g.client.Get(g.URL("/"))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.Proto != proto {
			t.Errorf("the response is %s", response.Proto)
		}
	})
}
