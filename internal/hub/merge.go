package hub

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis-sse/caddy-redis-sse/internal/jsonpath"
)

// Messages that a stream reads together, next to each other in one channel, and that are equal byte for byte but for the
// contents of the JSON string at one path, can be one event: what they have in common in front, all the contents, what they
// have in common behind. Contents of JSON strings can be joined as they are. The event has the id of the last one, so that a
// client that is cut within it gets all of them again.

const (
	// maxMergePaths is far more than what one protocol has: each is looked for in each message that is like none before it.
	maxMergePaths = 8
	// maxMerged bounds the contents of one event, in bytes: more is the next event.
	maxMerged = 64 << 10
	// mergeReads is how many times as much a stream reads at once that merges, so that what is replayed becomes few
	// events. A stream that stalls holds as much more.
	mergeReads = 4
)

func (f *Format) checkMerge(paths []string) error {
	if len(paths) > maxMergePaths {
		return fmt.Errorf("merge has %d paths, at most %d may be", len(paths), maxMergePaths)
	}
	var errs []error
	for _, path := range paths {
		if err := jsonpath.Check(path); err != nil {
			errs = append(errs, fmt.Errorf("merge: %w", err))
		} else if path == f.field {
			errs = append(errs, fmt.Errorf("merge %q joins what event field takes names from", path))
		}
	}
	return errors.Join(errs...)
}

// Merges reports whether messages of the format may share an event.
func (f *Format) Merges() bool { return f.rules != nil && len(f.rules.merge) > 0 }

// ReadMore has Read take more at once, for a stream that merges.
func (s *Stream) ReadMore() { s.more = mergeReads }

// EncodeRun is Encode for the first of items and those behind it that share its event. It returns how many they are.
func (h *Hub) EncodeRun(e *Encoder, items []Item, f *Format) (taken int, notes Notes) {
	if !f.Merges() {
		return 1, h.Encode(e, &items[0], f)
	}
	n, payload := f.run(items)
	if n == 1 {
		return 1, h.Encode(e, &items[0], f)
	}
	last := &items[n-1]
	o := f.outline(&message{home: last.msg.home, payload: payload})
	*e = Encoder{hub: h, format: f, item: last, shared: o.head(0), own: text{rest: o.data, fix: o.BadUTF8}}
	return n, o.Notes
}

// frameOf is what messages that share an event have in common.
type frameOf struct{ prefix, suffix string }

// contents returns what of a payload is between the two, if that is all of the contents of a JSON string.
func (c frameOf) contents(payload string) (string, bool) {
	if len(payload) < len(c.prefix)+len(c.suffix) || !strings.HasPrefix(payload, c.prefix) || !strings.HasSuffix(payload, c.suffix) {
		return "", false
	}
	inner := payload[len(c.prefix) : len(payload)-len(c.suffix)]
	return inner, isStringContents(inner)
}

// run returns how many of the items, from the first on, share an event, and its payload if they are more than one.
func (f *Format) run(items []Item) (n int, payload string) {
	if len(items) < 2 || !items[0].joins(&items[1]) {
		return 1, ""
	}
	first := items[0].msg
	common, path, ok := f.commonOf(first.payload, items[1].msg.payload)
	if !ok || f.verdictOf(first) != (verdict{}) {
		return 1, ""
	}
	var joined strings.Builder
	joined.WriteString(common.prefix)
	for most := len(common.prefix) + maxMerged; n < len(items) && items[0].joins(&items[n]); n++ {
		inner, ok := common.contents(items[n].msg.payload)
		if !ok || joined.Len()+len(inner) > most || f.rules.tellApart(items[n].msg, f, path) {
			break
		}
		joined.WriteString(inner)
	}
	if n < 2 {
		return 1, ""
	}
	joined.WriteString(common.suffix)
	return n, joined.String()
}

// joins reports whether two items are messages of one channel, and none of them so large that streams make it piece by piece.
func (it *Item) joins(other *Item) bool {
	a, b := it.msg, other.msg
	return a != nil && b != nil && a.home == b.home && !a.isLarge() && !b.isLarge()
}

// commonOf returns what two payloads have in common that differ in the string at one of the paths alone, and at which.
func (f *Format) commonOf(a, b string) (common frameOf, path string, ok bool) {
	p := parsed{payload: a}
	for _, path := range f.rules.merge {
		v, found := p.find(path)
		if !found || !v.IsString() {
			continue
		}
		common = frameOf{a[:v.Start+1], a[v.End-1:]}
		if _, ok := common.contents(b); ok {
			return common, path, true
		}
	}
	return frameOf{}, "", false
}

// tellApart reports whether an answer ends or begins with m, which differs from a message with which none does in the
// string at a path alone. A rule about another path says the same of both.
func (r *rules) tellApart(m *message, f *Format, path string) bool {
	about := func(one Match) bool {
		return slices.Contains(one.Data, m.payload) || one.Field == path && len(one.Values) > 0
	}
	return (slices.ContainsFunc(r.end, about) || slices.ContainsFunc(r.begin, about)) && f.verdictOf(m) != (verdict{})
}

// isStringContents reports whether a text can stand between the quotes of a JSON string.
func isStringContents(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c < ' ':
			return false
		case c == '\\':
			n := escapeLen(s[i:])
			if n == 0 {
				return false
			}
			i += n - 1
		}
	}
	return true
}

// escapeLen returns how long the escape is that s begins with, 0 if it is none.
func escapeLen(s string) int {
	if len(s) < 2 {
		return 0
	}
	if s[1] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, s[1]) < 0 {
			return 0
		}
		return 2
	}
	if len(s) < 6 {
		return 0
	}
	for _, c := range []byte(s[2:6]) {
		if !isHex(c) {
			return 0
		}
	}
	return 6
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }
