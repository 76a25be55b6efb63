//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// peer is one of the servers that are compared.
type peer string

const (
	gateway    peer = "gateway"   // with its defaults and lean streams
	leanOff    peer = "lean off"  // the gateway without them
	twoCores   peer = "two cores" // the gateway on all cores, beside the clients
	bareCaddy  peer = "bare"
	nchan      peer = "nchan"       // its memory store: one nginx, no Redis
	nchanRedis peer = "nchan-redis" // its Redis store
)

// ours are the gateways.
var ours = []peer{gateway, leanOff, twoCores}

func (p peer) isNginx() bool { return p == nchan || p == nchanRedis }

// site is a running peer, and a Redis beside it.
type site struct {
	peer   peer
	redis  *process
	server *process
	addrs  addrs
}

// addrs are the addresses of a site.
type addrs struct{ redis, plain, secure, publish string }

// host starts sites, each afresh, since a server that has served before has
// another heap. dir holds the certificate and everything they write.
type host struct {
	binary  string // this program
	dir     string
	profile string // where profiles go, empty for none

	// The server under test has one core to itself, so that figures are per
	// core; the clients and Redis share the other. One on two cores shares the
	// second with them.
	serverCore, loadCore string
}

func newHost(profile string) (*host, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	h := &host{binary: binary, dir: dir, profile: profile, serverCore: "0", loadCore: "1"}
	return h, h.makeCertificate()
}

func (h *host) close() error { return os.RemoveAll(h.dir) }

func (h *host) start(ctx context.Context, who peer) (*site, error) {
	s := &site{peer: who}
	if err := freeAddrs(&s.addrs.redis, &s.addrs.plain, &s.addrs.secure, &s.addrs.publish); err != nil {
		return nil, err
	}
	if err := h.launch(ctx, s); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (h *host) launch(ctx context.Context, s *site) (err error) {
	_, port, err := net.SplitHostPort(s.addrs.redis)
	if err != nil {
		return err
	}
	s.redis = newProcess(h.loadCore, h.dir, nil, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	if err := s.redis.start(); err != nil {
		return err
	}
	if err := s.redis.awaitListening(ctx, s.addrs.redis); err != nil {
		return err
	}
	if s.server, err = h.server(s); err != nil {
		return err
	}
	if err := s.server.start(); err != nil {
		return err
	}
	return s.server.awaitListening(ctx, s.addrs.plain)
}

// server prepares the server, on a core of its own. GOMAXPROCS is what Go would
// find on a machine with one core; left alone, it counts the cores that the
// process may use, which is the same, but not in every container.
func (h *host) server(s *site) (*process, error) {
	if s.peer.isNginx() {
		conf := filepath.Join(h.dir, "nginx.conf")
		if err := os.WriteFile(conf, []byte(h.nginxConf(s)), 0o600); err != nil {
			return nil, err
		}
		return newProcess(h.serverCore, h.dir, nil, "nginx", "-c", conf), nil
	}
	conf := filepath.Join(h.dir, "Caddyfile")
	if err := os.WriteFile(conf, []byte(h.caddyfile(s)), 0o600); err != nil {
		return nil, err
	}
	core, processors := h.serverCore, 1
	if s.peer == twoCores {
		core, processors = h.bothCores(), 2
	}
	env := []string{fmt.Sprint("GOMAXPROCS=", processors), "XDG_DATA_HOME=" + h.dir, "XDG_CONFIG_HOME=" + h.dir}
	return newProcess(core, h.dir, env, h.binary, "caddy", "run", "--config", conf, "--adapter", "caddyfile"), nil
}

func (h *host) bothCores() string {
	if h.serverCore == "" {
		return ""
	}
	return h.serverCore + "," + h.loadCore
}

func (s *site) stop() {
	if s.server != nil {
		s.server.stop()
	}
	if s.redis != nil {
		s.redis.stop()
	}
}

// complete returns a load with the addresses of the site.
func (s *site) complete(l spec) spec {
	l.Addr, l.Path, l.Publish = s.addrs.plain, "/events/%d", endpoint{Addr: s.addrs.redis}
	if l.HTTP2 {
		l.Addr = s.addrs.secure
	}
	if s.peer.isNginx() {
		l.Publish = endpoint{Addr: s.addrs.publish, Path: "/publish/%d"}
	}
	return l
}

// lean is how each gateway has its streams written.
var lean = map[peer]string{gateway: "lean on", twoCores: "lean on", leanOff: "lean off"}

// caddyfile has nothing but what a default configuration has: Caddy's own
// timeouts stay, there are no access logs and no metrics unless asked for.
func (h *host) caddyfile(s *site) string {
	handler := fmt.Sprintf("bench_bare /events/* %s", s.addrs.redis)
	if slices.Contains(ours, s.peer) {
		handler = fmt.Sprintf("redis_sse /events/* %s{http.request.uri.path.1} {\n\t\t%s\n\t}", channelPrefix, lean[s.peer])
	}
	admin := "off"
	if h.profile != "" {
		admin = s.addrs.publish
	}
	return fmt.Sprintf(`{
	admin %[5]s
	persist_config off
	auto_https disable_redirects
	skip_install_trust
	default_bind 127.0.0.1
	servers {
		protocols h1 h2
	}
	redis_sse {
		redis redis://%[1]s/0
	}
}
http://%[2]s {
	%[4]s
}
https://%[3]s {
	tls cert.pem key.pem
	%[4]s
}
`, s.addrs.redis, s.addrs.plain, s.addrs.secure, handler, admin)
}

// nginxConf is nchan as its documentation sets it up, with room for the
// clients, one worker, memory enough, and buffers of 1,000 messages instead of
// 10: they are not to be what limits it.
func (h *host) nginxConf(s *site) string {
	global, local := "", ""
	if s.peer == nchanRedis {
		global = "upstream store { nchan_redis_server redis://" + s.addrs.redis + "; }"
		local = "nchan_redis_pass store;"
	}
	return fmt.Sprintf(`
include /etc/nginx/modules-enabled/*.conf;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
pid %s/nginx.pid;
error_log stderr error;
events { worker_connections 15000; }
http {
	access_log off;
	nchan_shared_memory_size 512M;
	nchan_message_buffer_length 1000;
	keepalive_requests 10000000;
	%s
	server {
		listen %s backlog=4096;
		listen %s ssl http2 backlog=4096;
		ssl_certificate cert.pem;
		ssl_certificate_key key.pem;
		location ~ ^/events/(\d+)$ {
			nchan_subscriber eventsource;
			nchan_channel_id $1;
			nchan_channel_group load;
			%s
		}
	}
	server {
		listen %s;
		location ~ ^/publish/(\d+)$ {
			nchan_publisher http;
			nchan_channel_id $1;
			nchan_channel_group load;
			%s
		}
	}
}
`, h.dir, global, s.addrs.plain, s.addrs.secure, local, s.addrs.publish, local)
}

// makeCertificate writes a certificate for both servers, so that they do the
// same handshakes.
func (h *host) makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(h.dir, "cert.pem"), "CERTIFICATE", cert); err != nil {
		return err
	}
	return writePEM(filepath.Join(h.dir, "key.pem"), "PRIVATE KEY", secret)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
