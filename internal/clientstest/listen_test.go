//go:build clients && linux

package clientstest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// trial is one client that goes through one row of the table.
type trial struct {
	t       *testing.T
	gateway *gateway
	front   *front
	client  client
	bare    bool
	seen    observed
	witness *ssetest.Stream // of the same channel, from the first message on
}

// observed is what a client did in a trial.
type observed struct {
	kept      bool // it came back with the id of a cursor
	passed    bool // what is not a message went where messages go
	fetched   bool // the state, when it was open for the first time
	refetched bool
	stopped   bool
	back      bool // it asked again ...
	wait      time.Duration
	status    int           // ... after an answer with this
	told      time.Duration // which told it to wait so long
	lost      bool          // a message never arrived
}

// phrases are what the cells of the table say, and whether that is what was seen.
var phrases = map[string]func(o observed) bool{
	"id kept":                      func(o observed) bool { return o.kept && !o.passed },
	"id kept, goes to `onmessage`": func(o observed) bool { return o.kept && o.passed },

	"nothing":             func(o observed) bool { return !o.fetched && !o.refetched },
	"ignored":             func(o observed) bool { return !o.refetched && !o.passed },
	"goes to `onmessage`": func(o observed) bool { return !o.refetched && o.passed },
	"`refetch`":           func(o observed) bool { return (o.refetched || o.fetched) && !o.passed },

	"stops":          func(o observed) bool { return o.stopped && !o.back },
	"comes back":     func(o observed) bool { return o.back && !o.lost },
	"gets it":        func(o observed) bool { return o.back && !o.lost },
	"loses it":       func(o observed) bool { return o.back && o.lost },
	"back after 5 s": func(o observed) bool { return o.back && !o.lost && o.wait >= 5*time.Second },
	"back in 10 to 30 s": func(o observed) bool {
		return o.status == http.StatusOK && o.backAsTold()
	},
	"503, back in 10 to 30 s": func(o observed) bool {
		return o.status == http.StatusServiceUnavailable && o.backAsTold()
	},
}

func (o observed) backAsTold() bool {
	return o.back && !o.lost && o.told >= 10*time.Second && o.told <= 30*time.Second && o.wait >= o.told
}

// row is one row of the table.
type row struct {
	name     string
	answers  func(next chan struct{}) []answer
	channels int
	alone    bool // not with others at one gateway
	trial    func(tr *trial, next chan struct{})
}

func holdSecond(next chan struct{}) []answer { return []answer{{}, {after: next}} }

// ending answers by streams that have an end, and then, to who comes back from that, by one that has none.
func ending(chan struct{}) []answer { return []answer{{route: "ending"}, {route: "ending"}} }

// statusThenHold answers the second request with a status.
func statusThenHold(status int) func(chan struct{}) []answer {
	return func(next chan struct{}) []answer { return []answer{{}, {status: status}, {after: next}} }
}

var rows = []row{
	{name: "opens without a cursor", trial: opens},
	{name: "`cursor`", trial: cursorIsKept},
	{name: "`gap`", trial: gapIsTold, alone: true},
	{name: "connection lost", answers: holdSecond, trial: connectionLost},
	{name: "lost in the middle of an event", answers: holdSecond, trial: lostWithinEvent},
	{
		name:    "stream ended by the gateway",
		answers: func(next chan struct{}) []answer { return []answer{{route: "aging"}, {after: next}} },
		trial:   endedByGateway,
	},
	{name: "204: the stream has come to its [`end`](reference.md#end)", answers: ending, trial: endHasCome},
	{name: "refused: `max_channels`", channels: 1, alone: true, trial: refused},
	{name: "502, 503 from a proxy", answers: statusThenHold(http.StatusBadGateway), trial: answeredByProxy},
	{name: "502, 503 from a proxy", answers: statusThenHold(http.StatusServiceUnavailable), trial: answeredByProxy},
	{name: "401, 403", answers: statusThenHold(http.StatusUnauthorized), trial: answeredByProxy},
	{name: "401, 403", answers: statusThenHold(http.StatusForbidden), trial: answeredByProxy},
	{name: "302 to a login page", answers: statusThenHold(http.StatusFound), trial: answeredByProxy},
}

func TestTableSaysWhatClientsDo(t *testing.T) {
	t.Parallel()
	table := clientsTable(t)
	for i, r := range rows {
		if table[r.name] == nil {
			t.Fatalf("the table has no row %q", r.name)
		}
		t.Run(fmt.Sprintf("%d/%s", i, r.name), func(t *testing.T) {
			t.Parallel()
			r.run(t, table[r.name])
		})
	}
	for name := range table {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.name == name }) {
			t.Errorf("nothing measures row %q of the table", name)
		}
	}
}

// run has all clients go through the row, and compares what they do with its cells.
func (r row) run(t *testing.T, cells map[string]string) {
	channels := max(r.channels, 1)
	var shared *gateway
	if !r.alone {
		shared = newGateway(t, 100)
	}
	if len(cells) != len(clients) {
		t.Errorf("the row has %d cells, want %d", len(cells), len(clients))
	}
	for i, c := range clients {
		byItself, withBlock, arrow := strings.Cut(cells[c.column], " → ")
		if !arrow {
			withBlock = byItself
		}
		for _, bare := range []bool{true, false} {
			want, name := withBlock, c.column+"/block"
			if bare {
				want, name = byItself, c.column+"/bare"
			}
			if bare && c.bare == "" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				g := shared
				if g == nil {
					g = newGateway(t, channels)
				}
				next := make(chan struct{})
				var answers []answer
				if r.answers != nil {
					answers = r.answers(next)
				}
				channel := fmt.Sprintf("channel-%d-%t", i, bare)
				tr := &trial{t: t, gateway: g, front: newFront(t, g, channel, answers...), client: c, bare: bare}
				r.trial(tr, next)
				says := phrases[want]
				if says == nil || !says(tr.seen) {
					t.Errorf("the table says %q; the client was seen to do %+v", want, tr.seen)
				}
			})
		}
	}
}

// A page that stores its cursor goes on after it has been loaded again.
func TestReloadedPageGoesOn(t *testing.T) {
	t.Parallel()
	g := newGateway(t, 1)
	tr := &trial{t: t, gateway: g, front: newFront(t, g, "news"), client: clientOf(listenBrowser)}
	tr.begin()
	tr.publish(1)
	tr.awaitApplied(1)
	tr.front.change(func() { tr.front.command = "reload" })
	tr.publish(2)
	tr.awaitEvents(2, "cursor", 1)
	tr.publish(3)
	tr.awaitApplied(3)
	tr.expect(1, 2, 3)
	if first, second := tr.visit(1), tr.visit(2); !slices.Contains(first.ids, second.cursor) {
		t.Errorf("the page that was loaded again came with cursor %q, want one of %q", second.cursor, first.ids)
	}
}

// Neither does it come again, nor does it stop what comes after it.
func TestWhatApplyThrowsAtIsLeftBehind(t *testing.T) {
	t.Parallel()
	g := newGateway(t, 3)
	for _, c := range []client{clientOf(listenClient), clientOf(listenBrowser), clientOf(listenFetch)} { // whose errors end no program
		t.Run(c.column, func(t *testing.T) {
			t.Parallel()
			tr := &trial{t: t, gateway: g, front: newFront(t, g, strings.Trim(c.column, "`")), client: c}
			tr.begin()
			tr.publish(1)
			tr.awaitApplied(1)
			if c.block == listenBrowser { // in answer to the report of it
				tr.front.change(func() { tr.front.command = "reload" })
			}
			tr.send("poison")
			tr.awaitText("poison")
			if c.block == listenClient { // whose stream goes on; listenFetch opens another one by itself
				tr.front.loseStreams()
			}
			tr.awaitEvents(2, "cursor", 1)
			tr.publish(2)
			tr.awaitApplied(2)
			if want := []string{message(1), "poison", message(2)}; !slices.Equal(tr.texts(), want) {
				t.Errorf("%q were applied, want %q", tr.texts(), want)
			}
		})
	}
}

func TestFetchStreamOfHiddenTab(t *testing.T) {
	t.Parallel()
	g := newGateway(t, 2)
	for _, bare := range []bool{true, false} {
		t.Run(map[bool]string{true: "bare", false: "block"}[bare], func(t *testing.T) {
			t.Parallel()
			tr := &trial{t: t, gateway: g, front: newFront(t, g, fmt.Sprintf("news-%t", bare)), client: clientOf(listenFetch), bare: bare}
			tr.begin()
			tr.front.change(func() { tr.front.command = "hide" })
			tr.publish(1)
			tr.front.await("the tab to be hidden", func() bool { return len(tr.front.reported("hidden")) > 0 })
			if bare {
				tr.front.await("its stream to end", func() bool { return tr.front.visits[0].over })
				return
			}
			tr.publish(2)
			tr.awaitApplied(2)
			tr.expect(1, 2)
			if tr.visit(1).over {
				t.Error("its stream has ended")
			}
		})
	}
}
