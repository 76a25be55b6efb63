package redissse

import (
	"hash/maphash"
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// ipv6Site is how much of an IPv6 address tells callers apart: whoever has one
// address of a network has its other 2^64, too.
const ipv6Site = 64

// networkOf returns so many bits of an IPv6 address, and all of an IPv4
// address, also of one that is written as IPv6.
func networkOf(ip netip.Addr, bits int) netip.Addr {
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip
	}
	return netip.PrefixFrom(ip, bits).Masked().Addr()
}

var callerSeed = maphash.MakeSeed()

// callerOf returns who opens a stream: the client's address as Caddy knows it,
// which asks its trusted_proxies.
func callerOf(r *http.Request) hub.Caller {
	ip, err := netip.ParseAddr(clientIP(r))
	if err != nil {
		return 0 // of a Unix socket
	}
	return hub.Caller(maphash.Comparable(callerSeed, networkOf(ip, ipv6Site)))
}

// clientIP returns the client's address as Caddy knows it, empty if it does not.
func clientIP(r *http.Request) string {
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return address
}
