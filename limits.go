package redissse

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// StreamLimit bounds how many streams may be open with one value of a key.
type StreamLimit struct {
	// What tells clients apart: a text with placeholders, such as
	// {http.vars.client_ip} or {http.auth.user.id}. Requests for which they
	// are empty count together.
	Key string `json:"key"`

	// How many streams with the same value may be open, 1 to 10000000.
	Max int `json:"max"`

	// How many bits of an IPv6 address count, 1 to 128, if the key is one
	// placeholder whose value is an address. Whoever has one address of a
	// network, of 64 bits as a rule, has 2^64. Default: all
	IPv6Prefix int `json:"ipv6_prefix,omitempty"`
}

func (l StreamLimit) check() error {
	if withoutPlaceholders(l.Key) == l.Key {
		return fmt.Errorf("max_streams_per %q has no placeholder such as {client_ip}", l.Key)
	}
	if err := inRange("max_streams_per "+l.Key, int64(l.Max), 0, 1, maxStreams, new(int64)); err != nil || l.IPv6Prefix == 0 {
		return err
	}
	if placeholder.FindString(l.Key) != l.Key {
		return fmt.Errorf("max_streams_per %q is more than an address: bits of it can count only if it is one placeholder such as {client_ip}", l.Key)
	}
	return inRange("ipv6_prefix of max_streams_per "+l.Key, int64(l.IPv6Prefix), 0, 1, 128, new(int64))
}

// value returns what a request counts for.
func (l StreamLimit) value(repl *caddy.Replacer) string {
	text := repl.ReplaceAll(l.Key, "")
	if l.IPv6Prefix == 0 {
		return text
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return text // of a Unix socket
	}
	return networkOf(ip, l.IPv6Prefix).String()
}

// maxStreams is the most that a limit on streams can be: far more than a
// process has memory for.
const maxStreams = 10_000_000

var (
	errTooManyStreams       = errors.New("too many streams")
	errTooManyClientStreams = errors.New("too many streams of this client")
)

// streamLimits counts the open streams of one handler. Those that an earlier
// configuration drains are not among them. Safe for concurrent use.
type streamLimits struct {
	most int // 0: any number
	per  []StreamLimit
	seed maphash.Seed

	mu     sync.Mutex
	open   int
	counts []map[uint64]int // of each of per, by the hash of a value: values may be long
}

func newStreamLimits(most int, per []StreamLimit) *streamLimits {
	l := &streamLimits{most: most, per: per, seed: maphash.MakeSeed()}
	for range per {
		l.counts = append(l.counts, map[uint64]int{})
	}
	return l
}

// admission is what one stream takes of the limits.
type admission struct {
	limits *streamLimits // nil: nothing
	keys   []uint64
}

// admit takes a stream's place, or nothing.
func (l *streamLimits) admit(repl *caddy.Replacer) (admission, error) {
	if l.most == 0 && len(l.per) == 0 {
		return admission{}, nil
	}
	keys := make([]uint64, len(l.per))
	for i, limit := range l.per {
		keys[i] = maphash.String(l.seed, limit.value(repl))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.most > 0 && l.open >= l.most {
		return admission{}, errTooManyStreams
	}
	for i, limit := range l.per {
		if l.counts[i][keys[i]] >= limit.Max {
			return admission{}, errTooManyClientStreams
		}
	}
	l.open++
	for i, key := range keys {
		l.counts[i][key]++
	}
	return admission{l, keys}, nil
}

// leave gives back what was taken.
func (a admission) leave() {
	l := a.limits
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	for i, key := range a.keys {
		if l.counts[i][key]--; l.counts[i][key] == 0 {
			delete(l.counts[i], key)
		}
	}
}
