package redissse

import (
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// Caddy writes a request's entry in the access log when the request is over. Of a lean stream that has
// left it, that would be an entry at the beginning, of no duration. So the stream has one
// of its own, at its end. The logger that Caddy takes, which may be one for each host, cannot be had;
// this one is ours. What is kept for the entry is kept for each stream, and is not the request.

// accessEntry is what is known of a request when its stream leaves it.
type accessEntry struct {
	began     time.Time
	remoteIP  string
	clientIP  string
	proto     string
	method    string
	host      string
	path      string // without the query, which may have what a filter of the access log takes out
	userAgent string
	userID    string
}

// maxEntryText bounds each text of an entry, in bytes: clients choose them, and thousands are kept.
const maxEntryText = 256

// entryOf returns the entry that is due for a stream of r, nil if none is.
func entryOf(r *http.Request) *accessEntry {
	if !isLogged(r) {
		return nil
	}
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = r.RemoteAddr // of a Unix socket
	}
	user, _ := replacerOf(r).GetString("http.auth.user.id")
	short := func(text string) string { return string([]byte(shortened(text, maxEntryText))) } // of its own: not a part of all headers
	return &accessEntry{
		began: cameAt(r), remoteIP: short(remote), clientIP: short(clientIP(r)), proto: short(r.Proto), method: short(r.Method), host: short(r.Host),
		path: short(r.URL.Path), userAgent: short(r.UserAgent()), userID: short(user),
	}
}

// isLogged reports whether Caddy writes an entry for r, as its server finds that out.
func isLogged(r *http.Request) bool {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil || server.Logs == nil {
		return false
	}
	if skip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar).(bool); ok && skip {
		return false
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	for name := range server.Logs.LoggerNames {
		if certmagic.MatchWildcard(host, name) {
			return true
		}
	}
	for _, name := range server.Logs.SkipHosts {
		if certmagic.MatchWildcard(host, name) {
			return false
		}
	}
	return !server.Logs.SkipUnmappedHosts
}

// replaces has Caddy write none of its own.
func (e *accessEntry) replaces(r *http.Request) {
	if e != nil {
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
}

// write writes the entry of a stream that has ended, with so many bytes sent.
func (e *accessEntry) write(log *zap.Logger, end endReason, sent int64) {
	if e == nil {
		return
	}
	log.Info("handled stream",
		zap.Dict("request", zap.String("remote_ip", e.remoteIP), zap.String("client_ip", e.clientIP), zap.String("proto", e.proto),
			zap.String("method", e.method), zap.String("host", e.host), zap.String("uri", e.path), zap.String("user_agent", e.userAgent)),
		zap.String("user_id", e.userID), zap.Duration("duration", time.Since(e.began)), zap.Int64("size", sent),
		zap.Int("status", http.StatusOK), zap.String("end", string(end)))
}
