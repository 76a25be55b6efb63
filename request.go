package redissse

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// requestStart says where a request's stream begins: at its cursor, else where
// it asks for, if clientFrom lets it, else as configured. Only the middle one
// can be wrong: a cursor that means nothing is a gap, not an error, since an
// error would stop an EventSource for ever.
func requestStart(r *http.Request, configured hub.Start, clientFrom bool, f *hub.Format) (hub.Start, error) {
	if id := cursorOf(r); id != "" {
		return hub.ResumeAt(id), nil
	}
	if !clientFrom {
		return configured, nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return hub.Start{}, fmt.Errorf("reading the query: %w", err)
	}
	asked := 0
	at := configured
	for _, key := range []string{"from", "last", "since"} {
		if !query.Has(key) {
			continue
		}
		if at, err = parseClientStart(key, query.Get(key), f); err != nil {
			return hub.Start{}, err
		}
		asked += len(query[key])
	}
	if asked > 1 {
		return hub.Start{}, errors.New("from, last and since: only one of them can be asked for, once")
	}
	return at, nil
}

// cursorOf returns the cursor that a request brings, "" for none. An EventSource
// puts its newest into the header; the URL that it was made with may have an
// older one. Of several, the last that is not empty counts.
func cursorOf(r *http.Request) string {
	id := ""
	// A proxy may have made one header of several. No id has a comma.
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Last-Event-ID"), ","), ",") {
		id = cmp.Or(strings.TrimSpace(part), id)
	}
	if id != "" {
		return id
	}
	// Not url.ParseQuery, which leaves out what it does not understand: a cursor
	// that means nothing is a gap.
	for pair := range strings.FieldsFuncSeq(r.URL.RawQuery, func(c rune) bool { return c == '&' || c == ';' }) {
		key, value, _ := strings.Cut(pair, "=")
		if value != "" && cursorKey.MatchString(unescaped(key)) {
			id = unescaped(value)
		}
	}
	return id
}

// cursorKey matches last_event_id and lastEventId, and what other servers call
// it: their clients should go on where they were, and not begin anew unawares.
var cursorKey = regexp.MustCompile(`(?i)^last[-_]?event[-_]?id$`)

// unescaped returns what a part of a query says, as it stands if that cannot be
// understood.
func unescaped(part string) string {
	if text, err := url.QueryUnescape(part); err == nil {
		return text
	}
	return part
}

// maxQuoted is how much, in bytes, an error says of what a client asked for: enough to
// recognize it.
const maxQuoted = 32

// maxLast bounds how many messages may be asked for by number. No buffer can
// be configured larger.
const maxLast = 10_000_000

var decimal = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

func parseClientStart(key, value string, f *hub.Format) (hub.Start, error) {
	switch key {
	case "last":
		return parseLast(value)
	case "since":
		if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds < 1e12 && decimal.MatchString(value) {
			return hub.SinceTime(int64(seconds * 1000)), nil
		}
		// A + that was not escaped is a space in a query.
		t, err := time.Parse(time.RFC3339, strings.ReplaceAll(value, " ", "+"))
		if err != nil || t.UnixMilli() < 0 {
			return hub.Start{}, fmt.Errorf("since is %q, want Unix seconds or an RFC 3339 time", shortened(value, maxQuoted))
		}
		return hub.SinceTime(t.UnixMilli()), nil
	}
	switch value {
	case "start":
		return hub.FromStart(), nil
	case "live":
		return hub.Start{}, nil
	case "unfinished":
		if !f.HasEnd() {
			return hub.Start{}, errors.New("from is \"unfinished\", but nothing ends the answers of this stream")
		}
		return hub.FromUnfinished(f), nil
	}
	return hub.Start{}, fmt.Errorf("from is %q, want start or live", shortened(value, maxQuoted))
}

func parseLast(value string) (hub.Start, error) {
	n, err := strconv.ParseUint(value, 10, 32) // takes no sign
	if err != nil || n < 1 || n > maxLast {
		return hub.Start{}, fmt.Errorf("last is %q, want a number from 1 to %d", shortened(value, maxQuoted), maxLast)
	}
	return hub.FromLast(int(n)), nil
}

// fromLive is the default of from.
const fromLive = "live"

// parseFrom reads the configured start: live, start, unfinished, last <n> or since <duration>. f is the
// format of the streams, nil if that is not known yet.
func parseFrom(s string, f *hub.Format) (hub.Start, error) {
	word, value, _ := strings.Cut(s, " ")
	switch {
	case s == fromLive || s == "":
		return hub.Start{}, nil
	case s == "start":
		return hub.FromStart(), nil
	case s == "unfinished" && f != nil && !f.HasEnd():
		return hub.Start{}, errors.New("from is \"unfinished\", which needs end: with which message an answer ends")
	case s == "unfinished":
		return hub.FromUnfinished(f), nil
	case word == "last" && value != "":
		return parseLast(value)
	case word == "since" && value != "":
		ago, err := caddy.ParseDuration(value)
		if err != nil || ago <= 0 {
			return hub.Start{}, fmt.Errorf("since is %q, want a duration above 0, such as 10m", value)
		}
		return hub.SinceAgo(ago), nil
	}
	return hub.Start{}, fmt.Errorf("from is %q, want live, start, unfinished, last <n> or since <duration>", s)
}

// cameAt returns when a request came.
func cameAt(r *http.Request) time.Time {
	if at, ok := caddyhttp.GetVar(r.Context(), "start_time").(time.Time); ok {
		return at
	}
	return time.Now()
}
