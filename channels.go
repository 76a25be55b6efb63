package redissse

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// maxChannel bounds a channel's name, in bytes, once its placeholders are
// replaced: what a client can put in a header or a path should not become
// megabytes of names.
const maxChannel = 1024

// requestChannels returns the channels that a request is for, each once, from
// those that are configured.
func requestChannels(r *http.Request, configured []string) ([]string, error) {
	channels := make([]string, 0, len(configured))
	for _, text := range configured {
		channel, err := replaceChannel(r, text)
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

func replaceChannel(r *http.Request, configured string) (string, error) {
	repl := replacerOf(r)
	channel, err := repl.ReplaceFunc(configured, func(name string, value any) (any, error) {
		return value, checkMeant(r, repl, name, value)
	})
	if err != nil {
		return "", err
	}
	return channel, checkReplaced(configured, channel)
}

// checkReplaced checks a channel whose placeholders have been replaced. Its errors go to
// whom the request is of, who may not be the one that knows all of its name.
func checkReplaced(configured, channel string) error {
	switch {
	case channel == "":
		return errors.New("the channel is empty")
	case len(channel) > maxChannel:
		return fmt.Errorf("the channel's name has %d bytes, at most %d are allowed", len(channel), maxChannel)
	case strings.HasPrefix(channel, hub.Reserved):
		return fmt.Errorf("names that begin with %q are reserved", hub.Reserved)
	}
	return checkOwner(configured, channel)
}

// redisOwn begin names on which Redis itself, a Sentinel or a client's cache talks. A
// configuration may name one, but not somebody who fills a placeholder.
var redisOwn = []string{"__keyspace@", "__keyevent@", "__sentinel__:", "__redis__:"}

// checkOwner refuses a channel of Redis's own that only a placeholder's value has made one.
func checkOwner(configured, channel string) error {
	for _, own := range redisOwn {
		if strings.HasPrefix(channel, own) && !strings.HasPrefix(configured, own) {
			return fmt.Errorf("names that begin with %q are redis's own, and only the configuration may give one", own)
		}
	}
	return nil
}

// checkMeant checks that a placeholder of a channel says something, and what the client
// said. Caddy joins with commas what is given several times, and takes a slash that is
// escaped in a path for one that separates: the channel would be another than the one
// that was meant.
func checkMeant(r *http.Request, repl *caddy.Replacer, name string, value any) error {
	if caddy.ToString(value) == "" {
		return emptyPlaceholder(repl, name)
	}
	times := 1
	if key, ok := strings.CutPrefix(name, "http.request.uri.query."); ok {
		times = len(r.URL.Query()[key])
	} else if key, ok := strings.CutPrefix(name, "http.request.header."); ok {
		times = len(r.Header.Values(key))
	}
	if times > 1 {
		return fmt.Errorf("placeholder {%s} is given %d times, and can be one name only", name, times)
	}
	if pathPlaceholder.MatchString(name) && hasEscapedSlash(r) {
		return fmt.Errorf("placeholder {%s}: the path has an escaped slash, which Caddy takes for one that separates", name)
	}
	return nil
}

// emptyPlaceholder says that a placeholder has no value. A client is told its name, but
// not those of variables and files of the machine.
func emptyPlaceholder(repl *caddy.Replacer, name string) error {
	err := fmt.Errorf("placeholder {%s} is empty", name)
	if _, known := repl.Get(name); !known {
		err = fmt.Errorf("placeholder {%s} is unknown: nothing that stands before this has set it", name)
	}
	if strings.HasPrefix(name, "env.") || strings.HasPrefix(name, "file.") {
		return &inside{"a placeholder of the configuration has no value", err}
	}
	return err
}

// pathPlaceholder matches those that are made of a path: of regular
// expressions, those of path_regexp, which cannot be told from others.
var pathPlaceholder = regexp.MustCompile(`^http\.(request\.(orig_)?uri\.path|regexp\.)`)

// hasEscapedSlash looks at the path as it is, and as it was before rewrites.
func hasEscapedSlash(r *http.Request) bool {
	paths := r.URL.EscapedPath()
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		paths += original.URL.EscapedPath()
	}
	return strings.Contains(strings.ToLower(paths), "%2f")
}

func checkChannel(channel string) error { return checkName("channel", channel) }

// checkName checks a channel or a pattern; key is the option it was given with.
func checkName(key, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty", key)
	case len(name) > maxChannel: // first, as the other error names all of it
		return fmt.Errorf("%s %q... has %d bytes, at most %d are allowed", key, name[:32], len(name), maxChannel)
	case strings.HasPrefix(name, hub.Reserved):
		return fmt.Errorf("%s %q: names that begin with %q are reserved", key, name, hub.Reserved)
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
	"a channel that begins like that goes on a channel line in the block, a pattern on a pattern line" + hintUnset)
