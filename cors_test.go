package redissse

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// corsAnswer has a handler with an origin answer a request, with a hub that is full: a stream would not end.
func corsAnswer(t *testing.T, origins []string, r *http.Request) (http.Header, int) {
	t.Helper()
	h := reqHandler(t, &Handler{CORSOrigins: origins}, "news")
	refusing(t, h)
	w := httptest.NewRecorder()
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	})
	if err := h.ServeHTTP(w, reqCaddy(r, w), next); err != nil {
		return w.Header(), reqStatus(err)
	}
	return w.Header(), w.Code
}

func corsRequest(method, origin string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	if method == http.MethodOptions {
		r.Header.Set("Access-Control-Request-Method", http.MethodGet)
		r.Header.Set("Access-Control-Request-Headers", "last-event-id")
	}
	return r
}

var corsOrigins = []string{"https://App.example.com:443", "http://localhost:3000"}

func TestANamedOriginIsLetInWithCredentials(t *testing.T) {
	for _, origin := range []string{"https://app.example.com", "http://localhost:3000"} {
		// Of a refusal, so that a page can tell that from a failure.
		header, status := corsAnswer(t, corsOrigins, corsRequest(http.MethodGet, origin))
		if status != http.StatusServiceUnavailable || header.Get("Access-Control-Allow-Origin") != origin ||
			header.Get("Access-Control-Allow-Credentials") != "true" || header.Get("Vary") != "Origin" ||
			header.Get("Access-Control-Expose-Headers") != "Retry-After" {
			t.Errorf("%s: %d with %q", origin, status, header)
		}
		header, status = corsAnswer(t, corsOrigins, corsRequest(http.MethodOptions, origin))
		if status != http.StatusNoContent || header.Get("Access-Control-Allow-Origin") != origin ||
			header.Get("Access-Control-Allow-Credentials") != "true" || header.Get("Vary") != "Origin" ||
			header.Get("Access-Control-Allow-Methods") != "GET, HEAD, POST" || header.Get("Access-Control-Max-Age") != "600" ||
			header.Get("Access-Control-Allow-Headers") != "Authorization, Content-Type, Last-Event-ID" {
			t.Errorf("%s: preflight: %d with %q", origin, status, header)
		}
	}
}

func TestAnotherOriginIsToldNothing(t *testing.T) {
	for _, origin := range []string{
		"https://evil.example", "http://app.example.com", "https://app.example.com:444", "https://app.example.com.evil.example", "null", "",
	} {
		for method, want := range map[string]int{http.MethodGet: http.StatusServiceUnavailable, http.MethodOptions: http.StatusNoContent} {
			header, status := corsAnswer(t, corsOrigins, corsRequest(method, origin))
			for key := range header {
				if len(key) > 7 && key[:7] == "Access-" {
					t.Errorf("%q, %s: %s: %q", origin, method, key, header[key])
				}
			}
			if status != want || header.Get("Vary") != "Origin" { // a cache must not give this answer to the named one
				t.Errorf("%q, %s: %d with Vary %q", origin, method, status, header.Get("Vary"))
			}
		}
	}
}

func TestWithoutOriginsNothingIsSaidOfThem(t *testing.T) {
	header, status := corsAnswer(t, nil, corsRequest(http.MethodGet, "https://app.example.com"))
	if status != http.StatusServiceUnavailable || header.Get("Vary") != "" || header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%d with %q", status, header)
	}
	if _, status = corsAnswer(t, nil, corsRequest(http.MethodOptions, "https://app.example.com")); status != http.StatusTeapot {
		t.Errorf("OPTIONS: %d, want the next handler's 418", status)
	}
}
