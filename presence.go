package redissse

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// Presence has a key in Redis for as long as a stream of a channel is open on any
// gateway, so that a worker can ask whether somebody listens. It is never deleted, as
// another gateway may have listeners: once the last stream has ended it expires.
type Presence struct {
	// The key, 1 to 1024 bytes. {channel} in it, once at most and behind other text, is
	// replaced by the channel: there is a key for each channel with a stream. A key
	// without {channel} is there as long as any stream of this handler is.
	// {env.*}, {file.*} and {system.*} are replaced when the configuration is loaded;
	// an unset one is an error. Required.
	Key string `json:"key"`

	// How long the key outlives the last stream at most, 3s to 10m. It is written every
	// third of that. Default: 30s
	TTL caddy.Duration `json:"ttl,omitempty"`
}

const (
	// defaultPresenceTTL has a worker stop within half a minute, and a reader who comes
	// back after a reload or a tunnel find it at work.
	defaultPresenceTTL = 30 * time.Second
	// minPresenceTTL has a key written once a second, which is as often as a gateway
	// tries to reach a Redis that fails.
	minPresenceTTL = 3 * time.Second
	maxPresenceTTL = 10 * time.Minute
	// maxPresenceKey bounds a key as it is configured, in bytes, as maxChannel does a
	// channel: what it becomes is at most the two together.
	maxPresenceKey = 1024
)

// channelInKey stands for the channel in a key.
const channelInKey = "{channel}"

// check checks the key as it stands in the configuration, if there is one. patternsOnly
// says that there is no channel.
func (p *Presence) check(patternsOnly bool) error {
	if p == nil {
		return nil
	}
	if err := checkPresenceKey(p.Key); err != nil {
		return err
	}
	if patternsOnly && strings.Contains(p.Key, channelInKey) {
		return fmt.Errorf("presence %q: there is a key for each channel, and a handler with nothing but patterns names none; without %s there is one key",
			p.Key, channelInKey)
	}
	return inRange("presence", p.TTL, defaultPresenceTTL, minPresenceTTL, maxPresenceTTL, new(time.Duration))
}

func checkPresenceKey(key string) error {
	if key == "" {
		return errors.New("presence without a key")
	}
	if len(key) > maxPresenceKey { // first, as the other errors name all of it
		return fmt.Errorf("presence %q... has %d bytes, at most %d are allowed", key[:32], len(key), maxPresenceKey)
	}
	for _, found := range innermost.FindAllString(key, -1) {
		if found != channelInKey && !isGlobalPlaceholder(found) {
			return fmt.Errorf("presence %q: %q is not replaced in it: %s is, and at load {env.*}, {file.*} and {system.*}", key, found, channelInKey)
		}
	}
	if strings.ContainsAny(innermost.ReplaceAllString(key, ""), "{}") {
		return fmt.Errorf("presence %q: a brace stands alone, and can be that of a placeholder only", key)
	}
	switch before, behind, found := strings.Cut(key, channelInKey); {
	case found && before == "":
		return fmt.Errorf("presence %q: text must stand before %s, as in listening:%[2]s: what has that key already is overwritten", key, channelInKey)
	case strings.Contains(behind, channelInKey):
		return fmt.Errorf("presence %q: %s stands in it twice", key, channelInKey)
	}
	return nil
}

// isGlobalPlaceholder reports whether a placeholder has a value that is known at load and
// stays the same.
func isGlobalPlaceholder(text string) bool {
	for _, of := range []string{"{env.", "{file.", "{system."} {
		if strings.HasPrefix(text, of) {
			return true
		}
	}
	return false
}

// loaded returns the presence with placeholders replaced, but for the channel's, for a
// handler with this Redis URL of its own, if any, on a hub with these settings.
func (p *Presence) loaded(url string, of *settings) (*presenceOf, error) {
	if p == nil {
		return nil, nil
	}
	keys, err := p.replaced()
	return keys, errors.Join(err, p.checkDatabase(url, of))
}

func (p *Presence) replaced() (*presenceOf, error) {
	var failed []error
	key := innermost.ReplaceAllStringFunc(p.Key, func(found string) string {
		if found == channelInKey {
			return found
		}
		value, _ := caddy.NewReplacer().GetString(strings.Trim(found, "{}"))
		value = strings.TrimRight(value, "\r\n") // that a file has
		if value == "" {
			failed = append(failed, fmt.Errorf("presence %q: %s is not set, cannot be read, or is empty", p.Key, found))
		}
		return strings.ReplaceAll(value, channelInKey, "") // what is not in the configuration cannot name the channel
	})
	if len(key) > maxPresenceKey {
		failed = append(failed, fmt.Errorf("presence %q has %d bytes once it is replaced, at most %d are allowed", p.Key, len(key), maxPresenceKey))
	}
	of := &presenceOf{ttl: cmp.Or(time.Duration(p.TTL), defaultPresenceTTL)}
	of.before, of.behind, of.each = strings.Cut(key, channelInKey)
	return of, errors.Join(failed...)
}

// checkDatabase fails if p is written into another database than a handler's own URL
// says, as a hub has one: of the handlers that share it without a name, the first one's.
func (p *Presence) checkDatabase(url string, in *settings) error {
	if url == "" {
		return nil
	}
	at, err := readRedisURL(url)
	if err != nil {
		return err
	}
	if at.options.DB != in.redis.DB {
		return fmt.Errorf("presence %q: redis at %q is given twice, with database %d and with %d, and keys are in one",
			p.Key, in.redis.Addr, in.redis.DB, at.options.DB)
	}
	return nil
}

// presenceOf are the keys of one handler's streams.
type presenceOf struct {
	before, behind string        // of the channel
	each           bool          // there is one for each channel
	ttl            time.Duration // of each key
}

// join has the keys of a stream kept in Redis. It waits for nothing.
func (o *presenceOf) join(keys *presenceKeys, s *hub.Stream) present {
	if o == nil {
		return present{}
	}
	p := present{in: keys, ttl: o.ttl}
	if !o.each {
		p.keys = append(p.keys, keys.join(o.before, o.ttl))
		return p
	}
	for name, pattern := range s.Reads() {
		if !pattern {
			p.keys = append(p.keys, keys.join(o.before+name+o.behind, o.ttl))
		}
	}
	return p
}

// present is what one stream holds of a hub's keys.
type present struct {
	in   *presenceKeys
	ttl  time.Duration
	keys []*presenceKey
}

// leave gives them up.
func (p present) leave() {
	for _, k := range p.keys {
		p.in.leave(k, p.ttl)
	}
}
