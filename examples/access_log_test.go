//go:build unix

package examples_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// logEntry is what the test looks at of a line of the log.
type logEntry struct {
	Logger  string
	Status  int
	Request struct{ URI string }
}

const secret = "s3cret-t0ken"

// tokenApp reads the token as forward_auth hands it on. One path breaks the connection.
func tokenApp(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/broken" {
		panic(http.ErrAbortHandler)
	}
	if r.URL.Path != "/auth" {
		theApp(w, r)
		return
	}
	asked, err := url.Parse(r.Header.Get("X-Forwarded-Uri"))
	if err != nil || asked.Query().Get("token") != secret {
		w.WriteHeader(http.StatusForbidden)
	}
}

func testAccessLog(t *testing.T) {
	g := startGateway(t, "access-log", tokenApp)
	const token = "token=" + secret
	const access, failed = "http.log.access", "http.log.error"
	s := open(t, g.url+"/events?"+token)
	publish(t, g.redis, "news", "hello")
	wantMessages(t, s, "hello")
	get(t, g.url+"/?n=0&"+token)
	awaitLogged(t, g, access, "/?n=0&token=REDACTED", http.StatusOK)
	if n := len(requestsLogged(t, g)); n != 1 {
		t.Errorf("%d requests are logged while the stream is open, want one", n)
	}
	s.Close()
	awaitLogged(t, g, access, "/events?token=REDACTED", http.StatusOK)

	id := s.LastEventID()
	secrets := []ssetest.Option{
		ssetest.WithLastEventID(id), ssetest.WithHeader("Referer", g.url+"/page?"+token),
		ssetest.WithHeader("Authorization", "Bearer "+secret), ssetest.WithHeader("Cookie", "login="+secret),
	}
	open(t, g.url+"/events?last_event_id="+id+"&n=1&"+token, secrets...).Close()
	awaitLogged(t, g, access, "/events?n=1&token=REDACTED", http.StatusOK)
	open(t, g.url+"/events?lastEventId="+id+"&n=2&"+token).Close()
	awaitLogged(t, g, access, "/events?n=2&token=REDACTED", http.StatusOK)
	wantStatus(t, http.StatusForbidden, g.url+"/events?token=not-"+secret, secrets...)
	awaitLogged(t, g, access, "/events?token=REDACTED", http.StatusForbidden)
	wantStatus(t, http.StatusBadGateway, g.url+"/broken?"+token, secrets...)
	awaitLogged(t, g, access, "/broken?token=REDACTED", http.StatusBadGateway)
	awaitLogged(t, g, failed, "/broken?token=REDACTED", http.StatusBadGateway)

	for _, hidden := range []string{secret, id} {
		if strings.Contains(g.Log(), hidden) {
			t.Errorf("%q is in the log", hidden)
		}
	}
}

// awaitLogged waits until a logger has told of a request.
func awaitLogged(t *testing.T, g *gateway, logger, uri string, status int) {
	t.Helper()
	proctest.Poll(t, uri+" in the log", func() bool {
		for _, entry := range requestsLogged(t, g) {
			if strings.HasPrefix(entry.Logger, logger) && entry.Request.URI == uri && entry.Status == status {
				return true
			}
		}
		return false
	})
}

// requestsLogged is what the log tells of requests.
func requestsLogged(t *testing.T, g *gateway) (entries []logEntry) {
	t.Helper()
	for line := range strings.Lines(g.Log()) {
		var entry logEntry
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("the log has %q: %v", line, err)
		}
		if entry.Request.URI != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}
