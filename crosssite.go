package redissse

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// checkSite fails unless the request is of a page of this site, of one of
// cors_origins, or of no browser. A browser that says nothing of the site, since the
// page came without TLS, is judged by the origin and the host that it asked for. A
// proxy in front may have put its own host in the place of that, and says the other in
// X-Forwarded-Host. Anybody can say so; Caddy's trusted_proxies are believed.
func (h *PublishHandler) checkSite(r *http.Request) error {
	err := h.protection.Check(r)
	if err == nil {
		return nil
	}
	if asked := askedOfProxy(r); asked != "" {
		as := r.Clone(r.Context())
		as.Host = asked
		err = h.protection.Check(as)
	}
	if err == nil {
		return nil
	}
	h.crossSite.warn(h.claim.log, "a page of another site may not publish: if it is of this one, a proxy in front changes Host; "+
		"have the proxy pass Host on, or X-Forwarded-Host and be among trusted_proxies, or name the page's origin in cors_origins",
		zap.String("origin", r.Header.Get("Origin")), zap.String("host", r.Host))
	return fmt.Errorf("a page of another site may not publish here unless cors_origins names its origin: %w", err)
}

// askedOfProxy returns which host a trusted proxy was asked for, empty if none says
// so.
func askedOfProxy(r *http.Request) string {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return ""
	}
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Host"), ",") // of several proxies
	return strings.TrimSpace(first)
}
