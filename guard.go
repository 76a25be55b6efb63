package redissse

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// guard is what a route asks of a request before its handlers see it: that one of some sets of
// matchers matches. What it claims is certain; where it knows nothing it claims nothing.
type guard struct {
	sets     []caddyhttp.MatcherSet
	paths    []string // the patterns one of which matches the path; nil: not known
	pathOnly bool     // it asks for nothing else
	hosts    []string // the same of the host
	hostOnly bool
	options  bool // it asks for a method, and OPTIONS is one
	response bool // it asks for a reverse proxy's response
	// Which state of the request it looks at: one whose path or headers are changed is another.
	uri, rest int

	text   string // see key
	hasKey bool
}

// newResponseGuard is for the routes of a reverse proxy's handle_response: whether they run is
// for the app to say.
func newResponseGuard() *guard { return &guard{response: true, hasKey: true} }

// newGuard returns nil for a route that asks for nothing.
func newGuard(sets []caddyhttp.MatcherSet, uri, rest int) *guard {
	if len(sets) == 0 {
		return nil
	}
	g := &guard{sets: sets, pathOnly: true, hostOnly: true, uri: uri, rest: rest}
	everyPath, everyHost := true, true
	for _, set := range sets {
		var hasPath, hasHost bool
		for _, m := range set {
			switch m := m.(type) {
			case *caddyhttp.MatchPath:
				hasPath, g.paths = true, append(g.paths, *m...)
			case *caddyhttp.MatchHost:
				hasHost, g.hosts = true, append(g.hosts, *m...)
			case *caddyhttp.MatchMethod:
				g.options = g.options || slices.Contains(*m, "OPTIONS")
			}
		}
		everyPath, everyHost = everyPath && hasPath, everyHost && hasHost
		g.pathOnly, g.hostOnly = g.pathOnly && hasPath && len(set) == 1, g.hostOnly && hasHost && len(set) == 1
	}
	if !everyPath {
		g.paths = nil
	}
	if !everyHost {
		g.hosts = nil
	}
	return g
}

// implies reports whether a request that passes g would have passed other.
func (g *guard) implies(other *guard) bool {
	if g == other {
		return true
	}
	if g.uri != other.uri {
		return false
	}
	if other.pathOnly {
		return g.paths != nil && !slices.ContainsFunc(g.paths, func(p string) bool {
			return !slices.ContainsFunc(other.paths, func(o string) bool { return coversPattern(o, p) })
		})
	}
	return g.rest == other.rest && g.key() != "" && g.key() == other.key()
}

// excludes reports whether no request passes both, because of the path.
func (g *guard) excludes(other *guard) bool {
	if g.uri != other.uri || g.paths == nil || other.paths == nil {
		return false
	}
	for _, p := range g.paths {
		if slices.ContainsFunc(other.paths, func(o string) bool { return !excludesPattern(o, p) }) {
			return false
		}
	}
	return true
}

// comparableMatchers are those that are the same if their JSON is: it has all that they are
// configured with, and they look at nothing but the request.
var comparableMatchers = []string{"path", "path_regexp", "host", "method", "header", "header_regexp", "query", "protocol", "remote_ip", "client_ip"}

// key is equal for guards that ask for the same of the same request; "" is equal to nothing.
func (g *guard) key() string {
	if g.hasKey {
		return g.text
	}
	g.hasKey = true
	var texts []string
	for _, set := range g.sets {
		all := map[string]any{}
		for _, m := range set {
			id, ok := matcherName(m)
			if !ok || !slices.Contains(comparableMatchers, id) {
				return ""
			}
			all[id] = m
		}
		text, err := json.Marshal(all)
		if err != nil {
			return ""
		}
		texts = append(texts, string(text))
	}
	g.text = fmt.Sprintf("%q", texts)
	return g.text
}

// asksWho reports whether it may look at who sends the request, so that only a trusted proxy passes, say.
func (g *guard) asksWho() bool {
	if g.response {
		return true
	}
	for _, set := range g.sets {
		for _, m := range set {
			name, ok := matcherName(m)
			if !ok || !slices.Contains([]string{"path", "path_regexp", "host", "method", "protocol", "query"}, name) {
				return true
			}
		}
	}
	return false
}

func matcherName(m any) (string, bool) {
	module, ok := m.(caddy.Module)
	if !ok {
		return "", false
	}
	return module.CaddyModule().ID.Name(), true
}

// special are the characters with which a pattern of a path is more than a text.
const special = `*?[\{%`

// literal is the beginning of a pattern of a path that is a text, and what comes behind it.
func literal(pattern string) (text, rest string) {
	if i := strings.IndexAny(pattern, special); i >= 0 {
		return pattern[:i], pattern[i:]
	}
	return pattern, ""
}

// isPlain reports whether a pattern is a text, or one with a * at its end: those can be judged.
func isPlain(pattern string) bool {
	_, rest := literal(pattern)
	return (rest == "" || rest == "*") && !strings.Contains(pattern, "//")
}

// coversPattern reports whether each path that b matches is one that a matches.
func coversPattern(a, b string) bool {
	if a == b || a == "*" {
		return true
	}
	text, isPrefix := strings.CutSuffix(a, "*")
	if !isPrefix || !strings.HasPrefix(b, text) || strings.Contains(b, "%") || strings.Contains(b, "//") {
		return false
	}
	begins, _ := literal(b)
	return isPlain(a) && strings.HasPrefix(begins, text)
}

// excludesPattern reports whether no path is matched by both.
func excludesPattern(a, b string) bool {
	if !isPlain(a) || !isPlain(b) {
		return false
	}
	textA, restA := literal(a)
	textB, restB := literal(b)
	switch {
	case restA == "*" && restB == "*":
		return !strings.HasPrefix(textA, textB) && !strings.HasPrefix(textB, textA)
	case restA == "*":
		return !strings.HasPrefix(textB, textA)
	case restB == "*":
		return !strings.HasPrefix(textA, textB)
	}
	return textA != textB
}

// mayMatch reports whether a pattern may match a path.
func mayMatch(pattern, path string) bool { return !excludesPattern(pattern, path) }

// examplePath is a path that a pattern matches, if it is plain.
func examplePath(pattern string) string { return strings.Replace(pattern, "*", "x", 1) }
