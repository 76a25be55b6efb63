// Package hubtest plays Redis for tests of who subscribes to it: commands take
// effect when they are executed, and replies and messages lie on the wire, in
// order, until the test takes them.
package hubtest

import (
	"slices"
	"strings"

	"github.com/redis-sse/caddy-redis-sse/internal/glob"
)

// A Message lies on the wire because of a pattern, or of its channel if Pattern
// is empty.
type Message struct {
	Pattern, Channel, Payload string

	N int // which publish it was, for the test
}

// Confirmed is the reply to one name of a (P)SUBSCRIBE or (P)UNSUBSCRIBE.
type Confirmed struct{ Kind, Name string }

// Pong answers a PING with its text.
type Pong string

// Denied is the reply of an ACL, to a command as a whole.
type Denied struct{}

// Redis is a server and the connection of one client to it. Not safe for
// concurrent use.
type Redis struct {
	Up   bool            // reachable; nothing is delivered meanwhile
	Deny map[string]bool // names to which nobody may subscribe
	Wire []any           // Message, Confirmed, Pong and Denied, oldest first

	patterns   []string        // that may be subscribed to, in the order in which copies are sent
	subscribed map[string]bool // by kind and name
}

// New returns a Redis that is up, for a client that subscribes to no other
// patterns than these.
func New(patterns ...string) *Redis {
	r := &Redis{Up: true, Deny: map[string]bool{}, patterns: patterns}
	r.Connect()
	return r
}

// Connect begins a new connection: it has no subscriptions, and what lay on
// the wire is lost.
func (r *Redis) Connect() { r.subscribed, r.Wire = map[string]bool{}, nil }

// Deliver puts a copy of a message on the wire for each subscription, next to
// each other as Redis does.
func (r *Redis) Deliver(m Message) {
	if !r.Up {
		return
	}
	if r.subscribed["subscribe "+m.Channel] {
		r.Wire = append(r.Wire, m)
	}
	for _, p := range r.patterns {
		if r.subscribed["psubscribe "+p] && glob.Match(p, m.Channel) {
			m.Pattern = p
			r.Wire = append(r.Wire, m)
		}
	}
}

// Execute executes a command, which has a kind such as "punsubscribe", and
// puts its replies on the wire. It reports whether the ACL denied it.
func (r *Redis) Execute(kind string, names []string) (denied bool) {
	subscribe := strings.Replace(kind, "un", "", 1)
	leaves := subscribe != kind
	if !leaves && slices.ContainsFunc(names, func(name string) bool { return r.Deny[name] }) {
		r.Wire = append(r.Wire, Denied{})
		return true
	}
	for _, name := range names {
		r.subscribed[subscribe+" "+name] = !leaves
		r.Wire = append(r.Wire, Confirmed{kind, name})
	}
	return false
}

// Has reports whether the client is subscribed; kind is subscribe or psubscribe.
func (r *Redis) Has(kind, name string) bool { return r.subscribed[kind+" "+name] }

// Next takes the oldest reply off the wire, nil if there is none.
func (r *Redis) Next() (reply any) {
	if len(r.Wire) > 0 {
		reply, r.Wire = r.Wire[0], r.Wire[1:]
	}
	return reply
}
