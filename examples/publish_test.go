//go:build unix

package examples_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func as(user, password string) ssetest.Option {
	return ssetest.WithHeader("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

func testPublish(t *testing.T) {
	g := startGateway(t, "publish", theApp)
	s, other := open(t, g.url+"/rooms/7"), open(t, g.url+"/rooms/8")
	post := func(path, user, password, body string, more ...ssetest.Option) (int, string) {
		r, text := get(t, g.url+path, append(more, ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader(body)),
			as(user, password))...)
		return r.StatusCode, strings.TrimSpace(text)
	}

	const hello, taken = `{"text":"hello"}`, `{"channel":"room:7","receivers":1,"attempts":1}`
	status, answer := post("/publish/7", "app", "secret", hello)
	if status != http.StatusOK || answer != taken {
		t.Errorf("publishing: %d, %q", status, answer)
	}
	wantMessages(t, s, hello)

	crossSite := ssetest.WithHeader("Sec-Fetch-Site", "cross-site")
	for _, test := range []struct {
		name                 string
		want                 int
		path, user, password string
		body                 string
		with                 []ssetest.Option
	}{
		{"a wrong password", http.StatusUnauthorized, "/publish/7", "app", "guess", "x", nil},
		{"another user", http.StatusUnauthorized, "/publish/7", "root", "secret", "x", nil},
		{"a page of another site", http.StatusForbidden, "/publish/7", "app", "secret", "x", []ssetest.Option{crossSite}},
		{"a large body", http.StatusRequestEntityTooLarge, "/publish/7", "app", "secret", strings.Repeat("x", 16<<10+1), nil},
		{"the largest body", http.StatusOK, "/publish/8", "app", "secret", strings.Repeat("x", 16<<10), nil},
	} {
		if status, answer := post(test.path, test.user, test.password, test.body, test.with...); status != test.want {
			t.Errorf("%s: %d, %q, want %d", test.name, status, answer, test.want)
		}
	}
	wantStatus(t, http.StatusUnauthorized, g.url+"/publish/7", ssetest.WithMethod(http.MethodPost))
	wantStatus(t, http.StatusMethodNotAllowed, g.url+"/publish/7", as("app", "secret"))
	wantLive(t, g.redis, s, "room:7") // nothing of these was published
	wantMessages(t, other, strings.Repeat("x", 16<<10))
	wantApp(t, g.url+"/publish/x")
}
