package redissse

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// maxChannel bounds a channel's name, in bytes, once its placeholders are
// replaced: what a client can put in a header or a path should not become
// megabytes of names.
const maxChannel = 1024

// requestChannels returns the channels of this request, each once.
func (h *Handler) requestChannels(r *http.Request) ([]string, error) {
	repl := replacerOf(r)
	channels := make([]string, 0, len(h.channels))
	for _, configured := range h.channels {
		channel, err := replaceChannel(repl, configured)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(channels, channel) {
			channels = append(channels, channel)
		}
	}
	return channels, nil
}

func replacerOf(r *http.Request) *caddy.Replacer {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		return repl
	}
	return caddy.NewReplacer()
}

func replaceChannel(repl *caddy.Replacer, configured string) (string, error) {
	channel, err := repl.ReplaceOrErr(configured, true, true)
	if err != nil {
		return "", fmt.Errorf("channel %q: %w", configured, err)
	}
	return channel, checkChannel(channel)
}

// reservedPrefix begins the channels that hubs use among themselves.
const reservedPrefix = "__redis_sse:"

func checkChannel(channel string) error { return checkName("channel", channel) }

// checkName checks a channel or a pattern; key is the option it was given with.
func checkName(key, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty", key)
	case len(name) > maxChannel: // first, as the other error names all of it
		return fmt.Errorf("%s %q... has %d bytes, at most %d are allowed", key, name[:32], len(name), maxChannel)
	case strings.HasPrefix(name, reservedPrefix):
		return fmt.Errorf("%s %q: names that begin with %q are reserved", key, name, reservedPrefix)
	}
	return nil
}

// requestStart says where this request's stream begins: at its cursor, else
// where client_from lets it ask for, else as configured. Only the middle one
// can be wrong: a cursor that means nothing is a gap, not an error, since an
// error would stop an EventSource for ever.
func (h *Handler) requestStart(r *http.Request) (start, error) {
	query, malformed := url.ParseQuery(r.URL.RawQuery)
	for _, id := range []string{r.Header.Get("Last-Event-ID"), query.Get("last_event_id"), query.Get("lastEventId")} {
		if id != "" {
			c, ok := parseCursor(id)
			return start{resume: true, cursor: c, readable: ok}, nil
		}
	}
	if !h.ClientFrom {
		return h.from, nil
	}
	if malformed != nil {
		return start{}, fmt.Errorf("reading the query: %w", malformed)
	}
	asked := 0
	at := h.from
	for _, key := range []string{"from", "last", "since"} {
		if !query.Has(key) {
			continue
		}
		var err error
		if at, err = parseClientStart(key, query.Get(key)); err != nil {
			return start{}, err
		}
		asked += len(query[key])
	}
	if asked > 1 {
		return start{}, errors.New("from, last and since: only one of them can be asked for, once")
	}
	return at, nil
}

// maxLast bounds how many messages may be asked for by number. No buffer can
// be configured larger.
const maxLast = 10_000_000

func parseClientStart(key, value string) (start, error) {
	switch key {
	case "last":
		return parseLast(value)
	case "since":
		if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds >= 0 && seconds < 1e12 {
			return start{mode: startSince, since: int64(seconds * 1000), strict: true}, nil
		}
		t, err := time.Parse(time.RFC3339, value)
		if err != nil || t.UnixMilli() < 0 {
			return start{}, fmt.Errorf("since is %q, want Unix seconds or an RFC 3339 time", value)
		}
		return start{mode: startSince, since: t.UnixMilli(), strict: true}, nil
	}
	switch value {
	case "start":
		return start{mode: startAll}, nil
	case "live":
		return start{}, nil
	}
	return start{}, fmt.Errorf("from is %q, want start or live", value)
}

func parseLast(value string) (start, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxLast {
		return start{}, fmt.Errorf("last is %q, want a number from 1 to %d", value, maxLast)
	}
	return start{mode: startLast, n: n}, nil
}

// parseFrom reads the configured start: live, start, last <n> or since <duration>.
func parseFrom(s string) (start, error) {
	word, value, _ := strings.Cut(s, " ")
	switch {
	case s == "live" || s == "":
		return start{}, nil
	case s == "start":
		return start{mode: startAll}, nil
	case word == "last":
		return parseLast(value)
	case word == "since":
		ago, err := caddy.ParseDuration(value)
		if err != nil || ago <= 0 {
			return start{}, fmt.Errorf("since is %q, want a duration above 0", value)
		}
		return start{mode: startSince, ago: ago}, nil
	}
	return start{}, fmt.Errorf("from is %q, want live, start, last <n> or since <duration>", s)
}

// parseFormat reads how events are to be named.
func parseFormat(event, gap, cursor string) (format, error) {
	f := format{event: cmp.Or(event, eventNone), gap: cmp.Or(gap, defaultGapEvent), cursor: cmp.Or(cursor, defaultCursorEvent)}
	if word, field, ok := strings.Cut(f.event, " "); ok && word == eventField && field != "" {
		f.event, f.field = eventField, field
	} else if f.event != eventNone && f.event != eventChannel {
		return f, fmt.Errorf("event is %q, want none, channel or field <name>", event)
	}
	if f.gap == f.cursor {
		return f, fmt.Errorf("gap_event and cursor_event are both %q", f.gap)
	}
	return f, errors.Join(checkEventName("gap_event", f.gap), checkEventName("cursor_event", f.cursor))
}

func checkEventName(key, name string) error {
	if !(&format{}).nameAllowed(name) || name == "message" {
		return fmt.Errorf("%s is %q, want 1 to %d bytes without line ends, not open, error or message", key, name, maxEventName)
	}
	return nil
}

var proxyHeader = regexp.MustCompile(`\{http\.reverse_proxy\.header\.([^}]+)\}`)

// canonicalPlaceholders writes the header names of a reverse proxy's response
// the way Caddy stores them; in any other spelling they would be empty.
func canonicalPlaceholders(s string) string {
	return proxyHeader.ReplaceAllStringFunc(s, func(p string) string {
		name := proxyHeader.FindStringSubmatch(p)[1]
		return "{http.reverse_proxy.header." + http.CanonicalHeaderKey(name) + "}"
	})
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

func withoutPlaceholders(s string) string { return placeholder.ReplaceAllString(s, "") }

var errNoChannel = errors.New("no channel: redis_sse needs at least one, or a pattern. An argument that begins with /, @ or * is a request matcher; " +
	"a channel that begins like that goes on a channel line in the block, a pattern on a pattern line")
