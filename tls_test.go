package redissse

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// startSecureRedis starts a server that speaks TLS, too. It returns its URL for that, and who is to be trusted for it.
func startSecureRedis(t *testing.T) (server *redistest.Server, url string, trusted *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cert, secret := write("cert.pem", "CERTIFICATE", certificate), write("key.pem", "PRIVATE KEY", private)
	addr := proctest.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	server = redistest.Start(t, "--tls-port", port, "--tls-auth-clients", "no",
		"--tls-cert-file", cert, "--tls-key-file", secret, "--tls-ca-cert-file", cert)
	parsed, err := x509.ParseCertificate(certificate)
	if err != nil {
		t.Fatal(err)
	}
	trusted = x509.NewCertPool()
	trusted.AddCert(parsed)
	return server, "rediss://" + addr, trusted
}

// trust has the hub trust these from its next connection on. (The options have no file of them: the system's are trusted.)
func (h *probed) trust(these *x509.CertPool) {
	s := *h.settings.Load()
	options := *s.redis
	options.TLSConfig = &tls.Config{ServerName: options.TLSConfig.ServerName, MinVersion: tls.VersionTLS12, RootCAs: these}
	s.redis = &options
	h.settings.Store(&s)
}

func TestRedisOverTLS(t *testing.T) {
	t.Parallel()
	server, url, trusted := startSecureRedis(t)
	h := startProbed(t, url, time.Minute)
	await(t, "an outage", func() bool { return len(h.causes()) > 0 })
	if _, _, err := h.publisher.publish(t.Context(), "a", []byte("to whom?")); err == nil {
		t.Error("a message was published to a server with a certificate of its own making")
	}
	if causes := h.causes(); !strings.Contains(causes[0], "certificate signed by unknown authority") || h.subscriber.connected.Load() {
		t.Errorf("the causes are %q", causes)
	}
	h.trust(trusted)
	if _, err := h.memory.Open(0, []string{"a"}, nil, hub.NewWaiter()); err != nil {
		t.Fatal(err)
	}
	h.awaitLive("a")
	server.Publish("a", "1")
	h.awaitMessage("a", "1")
	if n, _, err := h.publisher.publish(t.Context(), "a", []byte("2")); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	h.awaitMessage("a", "2")
	h.awaitProved(1)
	server.KillPubSub()
	h.wantLost(lossClosed)
	h.awaitLive("a")
	server.Publish("a", "3")
	h.awaitMessage("a", "3")
}
