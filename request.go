package redissse

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// requestStart says where a request's stream begins: at its cursor, else where
// it asks for, if clientFrom lets it, else as configured. Only the middle one
// can be wrong: a cursor that means nothing is a gap, not an error, since an
// error would stop an EventSource for ever.
func requestStart(r *http.Request, configured hub.Start, clientFrom bool) (hub.Start, error) {
	query, malformed := url.ParseQuery(r.URL.RawQuery)
	for _, id := range []string{r.Header.Get("Last-Event-ID"), query.Get("last_event_id"), query.Get("lastEventId")} {
		if id != "" {
			return hub.ResumeAt(id), nil
		}
	}
	if !clientFrom {
		return configured, nil
	}
	if malformed != nil {
		return hub.Start{}, fmt.Errorf("reading the query: %w", malformed)
	}
	asked := 0
	at := configured
	for _, key := range []string{"from", "last", "since"} {
		if !query.Has(key) {
			continue
		}
		var err error
		if at, err = parseClientStart(key, query.Get(key)); err != nil {
			return hub.Start{}, err
		}
		asked += len(query[key])
	}
	if asked > 1 {
		return hub.Start{}, errors.New("from, last and since: only one of them can be asked for, once")
	}
	return at, nil
}

// maxLast bounds how many messages may be asked for by number. No buffer can
// be configured larger.
const maxLast = 10_000_000

func parseClientStart(key, value string) (hub.Start, error) {
	switch key {
	case "last":
		return parseLast(value)
	case "since":
		if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds >= 0 && seconds < 1e12 {
			return hub.SinceTime(int64(seconds * 1000)), nil
		}
		t, err := time.Parse(time.RFC3339, value)
		if err != nil || t.UnixMilli() < 0 {
			return hub.Start{}, fmt.Errorf("since is %q, want Unix seconds or an RFC 3339 time", value)
		}
		return hub.SinceTime(t.UnixMilli()), nil
	}
	switch value {
	case "start":
		return hub.FromStart(), nil
	case "live":
		return hub.Start{}, nil
	}
	return hub.Start{}, fmt.Errorf("from is %q, want start or live", value)
}

func parseLast(value string) (hub.Start, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxLast {
		return hub.Start{}, fmt.Errorf("last is %q, want a number from 1 to %d", value, maxLast)
	}
	return hub.FromLast(n), nil
}

// parseFrom reads the configured start: live, start, last <n> or since <duration>.
func parseFrom(s string) (hub.Start, error) {
	word, value, _ := strings.Cut(s, " ")
	switch {
	case s == "live" || s == "":
		return hub.Start{}, nil
	case s == "start":
		return hub.FromStart(), nil
	case word == "last":
		return parseLast(value)
	case word == "since":
		ago, err := caddy.ParseDuration(value)
		if err != nil || ago <= 0 {
			return hub.Start{}, fmt.Errorf("since is %q, want a duration above 0", value)
		}
		return hub.SinceAgo(ago), nil
	}
	return hub.Start{}, fmt.Errorf("from is %q, want live, start, last <n> or since <duration>", s)
}
