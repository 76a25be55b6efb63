//go:build unix

package examples_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func testEncode(t *testing.T) {
	page := strings.Repeat("a page ", 1000)
	g := startGateway(t, "encode", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(page))
	})
	for _, encoding := range []string{"gzip", "zstd"} {
		accept := ssetest.WithHeader("Accept-Encoding", encoding)
		s := open(t, g.url+"/events", accept)
		if got, ok := s.Header()["Content-Encoding"]; ok {
			t.Errorf("the stream is encoded: %q", got)
		}
		for _, payload := range []string{"small", page} {
			publish(t, g.redis, "news", payload)
			wantMessages(t, s, payload)
		}
		if r, body := get(t, g.url+"/", accept); r.Header.Get("Content-Encoding") != encoding || len(body) > len(page)/2 {
			t.Errorf("a page is not compressed: %q, %d bytes", r.Header, len(body))
		}
	}
}
