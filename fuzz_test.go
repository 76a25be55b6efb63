package redissse

import (
	"iter"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// "go test" runs these on their seeds, "make fuzz" on what it makes of them.
// What they want is written from the documentation, not from the code.

func FuzzRequestStart(f *testing.F) {
	id := reqIDs[0].ID()
	for _, query := range []string{
		"", "from=live", "from=start", "last=1", "last=10000000", "last=10000001", "last=-1", "last=1.5", "since=1704164645.250", "since=0",
		"since=-0", "since=NaN", "since=1e12", "since=0x1p40", "since=999999999999.9999999", "since=2024-01-02T05:04:05%2B02:00",
		"since=1969-12-31T23:59:59Z", "since=9999-12-31T23:59:59Z", "from=start&last=5", "from=start&from=start", "last=1;since=2", "from=%zz",
		"last_event_id=" + id, "lastEventId=x&from=then", "last_event_id=&last-event-id=" + id + "&LAST_EVENT_ID=", "last_event_id=%", "since=1_000",
	} {
		f.Add("", query)
		f.Add(id, query)
		f.Add("17", query)
		f.Add(" , "+id+",", query)
	}
	f.Fuzz(func(t *testing.T, header, query string) {
		for _, allowed := range []bool{true, false} {
			h := reqHandler(t, &Handler{From: "last 7", ClientFrom: allowed}, "news")
			r := reqGet("/")
			r.URL.RawQuery = query
			r.Header.Set("Last-Event-ID", header)
			got, err := requestStart(r, h.wire.from, h.ClientFrom, &h.wire.format)
			switch {
			case err != nil:
				if !allowed || fuzzID(header, query) != "" || got != (hub.Start{}) || err.Error() == "" {
					t.Errorf("%q, %q, client_from %v: %+v, error %q", header, query, allowed, got, err)
				}
			case fuzzID(header, query) != "":
				if want := hub.ResumeAt(fuzzID(header, query)); got != want { // whatever else it asks for
					t.Errorf("%q, %q: %+v, want %+v", header, query, got, want)
				}
			case !allowed && got != h.wire.from, allowed && fuzzAsked(query) > 1, !fuzzStart(t, query, h.wire.from, got):
				t.Errorf("%q, %q, client_from %v: %+v", header, query, allowed, got)
			}
		}
	})
}

// fuzzID is the last cursor of a request that is not empty, of its header or else of its query.
func fuzzID(header, query string) string {
	for _, part := range slices.Backward(strings.Split(header, ",")) {
		if part = strings.TrimSpace(part); part != "" {
			return part
		}
	}
	unescape := func(text string) string {
		if plain, err := url.QueryUnescape(text); err == nil {
			return plain
		}
		return text
	}
	for _, pair := range slices.Backward(strings.Split(strings.ReplaceAll(query, ";", "&"), "&")) {
		key, value, found := strings.Cut(pair, "=")
		if !found || value == "" {
			continue
		}
		for _, one := range []string{"", "-", "_"} {
			for _, two := range []string{"", "-", "_"} {
				if strings.EqualFold(unescape(key), "last"+one+"event"+two+"id") {
					return unescape(value)
				}
			}
		}
	}
	return ""
}

func fuzzAsked(query string) int {
	values, _ := url.ParseQuery(query)
	return len(values["from"]) + len(values["last"]) + len(values["since"])
}

// fuzzStart reports whether a stream begins at what a client asked for.
func fuzzStart(t *testing.T, query string, configured, got hub.Start) bool {
	t.Helper()
	values, _ := url.ParseQuery(query)
	switch {
	case got == configured:
		return true
	case values.Get("from") == "live":
		return got == hub.Start{}
	case values.Get("from") == "start":
		return got == hub.FromStart()
	case values.Has("last"):
		n, err := strconv.Atoi(values.Get("last"))
		return err == nil && n >= 1 && n <= maxLast && got == hub.FromLast(n)
	}
	for ms := range fuzzTimes(values.Get("since")) {
		if got == hub.SinceTime(ms) {
			return ms >= 0 && ms < 1e15
		}
	}
	return false
}

// fuzzTimes are what a text may mean as a time, in Unix milliseconds.
func fuzzTimes(text string) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 && seconds < 1e12 && !yield(int64(seconds*1000)) {
			return
		}
		if at, err := time.Parse(time.RFC3339, strings.ReplaceAll(text, " ", "+")); err == nil {
			yield(at.UnixMilli())
		}
	}
}

func FuzzRequestChannels(f *testing.F) {
	for _, room := range []string{
		"7", "", "a", "a b\nc", "{http.request.method}", "{env.HOME}", "\\{", "j?b:[ab]*", "\x00\xff", "__redis_sse:probe:1", "_sse:x", "__REDIS_SSE:x",
		strings.Repeat("c", maxChannel), strings.Repeat("ü", maxChannel/2) + "c", "__redis_sse:" + strings.Repeat("c", 10_000),
	} {
		f.Add(room, "7")
		f.Add("_sse:", room)
	}
	f.Fuzz(func(t *testing.T, room, user string) {
		h := reqHandler(t, new(Handler), "news", "{http.request.header.X-Room}", "__redis{http.request.header.X-Room}",
			"{http.request.uri.query.user}:{http.request.header.X-Room}", "room:{http.request.uri.query.user}", "news")
		want := []string{"news", room, "__redis" + room, user + ":" + room, "room:" + user}
		for i, configured := range h.channels[:len(want)] {
			r := reqGet("/")
			r.Header.Set("X-Room", room)
			r.URL.RawQuery = url.Values{"user": {user}}.Encode()
			one := &Handler{channels: []string{configured, configured}}
			got, err := requestChannels(r, one.channels)
			empty := room == "" && strings.Contains(configured, "X-Room") || user == "" && strings.Contains(configured, "user")
			if empty || strings.HasPrefix(want[i], "__redis_sse:") || len(want[i]) > 1024 {
				if err == nil || err.Error() == "" || got != nil || len(err.Error()) > 5000 {
					t.Errorf("%q of %q, %q: %q, %v, want it refused", configured, room, user, got, err)
				}
			} else if err != nil || !slices.Equal(got, want[i:i+1]) {
				t.Errorf("%q of %q, %q: %q, %v, want %q", configured, room, user, got, err, want[i])
			}
		}
	})
}

// FuzzRedisURL has a secret in a text that is to be a Redis URL. The names of placeholders are no secret.
func FuzzRedisURL(f *testing.F) {
	for _, text := range brokenURLs {
		f.Add(text, uint8(len(text)/2))
	}
	f.Fuzz(func(t *testing.T, text string, at uint8) {
		i := min(int(at), len(text))
		text = text[:i] + urlSecret + text[i:]
		read, err := readRedisURL(text)
		switch {
		case err != nil && strings.Contains(err.Error(), urlSecret) && !strings.Contains(text, "{env.") && !strings.Contains(text, "{file."):
			t.Errorf("%q: %v", text, err)
		case err == nil && read.options.Network == "tcp":
			host, port, err := net.SplitHostPort(read.options.Addr)
			if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 1 || n > 65535 || strings.ContainsAny(host, "@/?#, ") {
				t.Errorf("%q is at %q, %v", text, read.options.Addr, err)
			}
		}
	})
}
