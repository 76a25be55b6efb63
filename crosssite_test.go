package redissse

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// A page that came without TLS is judged by its origin and the host that it asked; a proxy may have changed that.
func TestAPageBehindAProxyThatChangesHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		h := &PublishHandler{Channel: "news", claim: &sharedClaim{log: zap.New(core)}, crossSite: new(seldom)}
		if err := h.resolve(); err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			trusted   bool
			forwarded string
			origin    string
			site      string // Sec-Fetch-Site
			allowed   bool
		}{
			"no proxy says so":             {true, "", "http://shop.test", "", false},
			"a trusted proxy says so":      {true, "shop.test", "http://shop.test", "", true},
			"the first of several proxies": {true, "shop.test, inner.test", "http://shop.test", "", true},
			"anybody says so":              {false, "shop.test", "http://shop.test", "", false},
			"it says another one":          {true, "shop.test", "http://evil.test", "", false},
			"the host is unchanged":        {false, "", "http://127.0.0.1:8080", "", true},
			"the browser says it is not":   {true, "shop.test", "http://shop.test", "cross-site", false},
			"no browser":                   {false, "", "", "", true},
		} {
			r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8080/", nil)
			r = reqCaddy(r, httptest.NewRecorder())
			caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, test.trusted)
			for key, value := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site, "X-Forwarded-Host": test.forwarded} {
				if value != "" {
					r.Header.Set(key, value)
				}
			}
			if err := h.checkSite(r); (err == nil) != test.allowed {
				t.Errorf("%s: %v, want it allowed: %v", name, err, test.allowed)
			}
		}
		if n := logs.Len(); n != 1 {
			t.Errorf("%d lines are logged of 4 refusals, want 1", n)
		}
		time.Sleep(seldomEvery)
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8080/", nil)
		r.Header.Set("Origin", "http://evil.test")
		_ = h.checkSite(reqCaddy(r, httptest.NewRecorder())) // is what is logged
		last := logs.All()[logs.Len()-1].ContextMap()
		if logs.Len() != 2 || last["held_back"] != int64(3) || last["origin"] != "http://evil.test" || last["host"] != "127.0.0.1:8080" {
			t.Errorf("%d lines are logged, the last with %v, want 2 and 3 held back", logs.Len(), last)
		}
	})
}
