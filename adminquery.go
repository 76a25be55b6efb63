package redissse

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// adminQuery is the query of a request to the admin API. Its first error stays;
// it names the key and the value.
type adminQuery struct {
	values url.Values
	err    error
}

// queryOf reads a query in which each of these keys may stand once, and no other.
func queryOf(r *http.Request, keys ...string) *adminQuery {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &adminQuery{values: values}
	if err != nil {
		q.fail("the query cannot be read: %v", err)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		given := values[key]
		switch {
		case !slices.Contains(keys, key):
			q.fail("%q is %q, but there is no such key: there are %s", quoted(key), quoted(given[0]), strings.Join(keys, ", "))
		case len(given) > 1:
			q.fail("%s is given %d times, %q first: want it once", key, len(given), quoted(given[0]))
		}
	}
	return q
}

func quoted(value string) string { return shortened(value, maxQuoted) }

func (q *adminQuery) fail(format string, args ...any) {
	if q.err == nil {
		q.err = badRequest(fmt.Errorf(format, args...))
	}
}

func badRequest(err error) error { return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err} }

// number returns the number from 0 to most under a key.
func (q *adminQuery) number(key string, standard, most int) int {
	if !q.values.Has(key) {
		return standard
	}
	n, err := strconv.ParseUint(q.values.Get(key), 10, 32)
	if err != nil || n > uint64(most) {
		q.fail("%s is %q, want a number from 0 to %d", key, quoted(q.values.Get(key)), most)
		return standard
	}
	return int(n)
}

// word returns one of the words under a key, the first one without it.
func (q *adminQuery) word(key string, words ...string) string {
	value := q.values.Get(key)
	if !q.values.Has(key) {
		return words[0]
	}
	if !slices.Contains(words, value) {
		q.fail("%s is %q, want %s", key, quoted(value), strings.Join(words, " or "))
	}
	return value
}

// flag reports whether the key is there, which is with the value 1.
func (q *adminQuery) flag(key string) bool {
	if is := q.values.Has(key); !is || q.values.Get(key) == "1" {
		return is
	}
	q.fail("%s is %q, want 1, or leave it out", key, quoted(q.values.Get(key)))
	return false
}

// oneOf returns whom a query is about: it names one channel or pattern or, where
// that is one of the keys, all. There is no standard.
func (q *adminQuery) oneOf(keys ...string) (of streamsOf) {
	var given []string
	for _, key := range keys {
		if q.values.Has(key) {
			given = append(given, key)
		}
	}
	if len(given) != 1 {
		q.fail("the query has %d of %s: want one", len(given), strings.Join(keys, ", "))
		return of
	}
	if given[0] == "all" {
		q.flag("all")
		return of
	}
	of = streamsOf{q.values.Get(given[0]), given[0] == "pattern"}
	if err := checkName(given[0], of.name); err != nil {
		q.fail("%w", err)
	}
	return of
}

// duration returns a duration from 0 to most.
func (q *adminQuery) duration(key string, standard, most time.Duration) time.Duration {
	if !q.values.Has(key) {
		return standard
	}
	d, err := caddy.ParseDuration(q.values.Get(key))
	if err != nil || d < 0 || d > most {
		q.fail("%s is %q, want a duration from 0s to %s, such as 10s", key, quoted(q.values.Get(key)), written(most))
	}
	return d
}

// hubs returns those that the key hub names, all without it.
func (q *adminQuery) hubs() []pooledHub {
	name := q.values.Get("hub")
	found := pooledHubs(name)
	if q.values.Has("hub") && (name == "" || len(found) == 0) && q.err == nil {
		q.err = caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("hub is %q, and there is none of that name", quoted(name))}
	}
	return found
}
