//go:build clients && linux

package clientstest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func opens(tr *trial, _ chan struct{}) {
	tr.begin()
	if !tr.bare {
		tr.front.await("the state to be fetched", func() bool { return len(tr.front.reported("refetch")) > 0 })
	}
	tr.publish(1)
	tr.awaitApplied(1)     // so the client has read the cursor, which comes before
	tr.front.loseStreams() // with a cursor it fetches nothing
	if !tr.comesBack(2) {
		return
	}
	tr.awaitEvents(2, "cursor", 1)
	tr.publish(2)
	tr.awaitApplied(2)
	all := tr.refetched()
	if len(all) > 1 {
		tr.t.Errorf("it refetches %q, want the state once at most", all)
	}
	tr.seen.fetched = slices.Equal(all, []string{""})
}

func cursorIsKept(tr *trial, _ chan struct{}) {
	tr.begin()
	tr.awaitEvents(1, "cursor", 3)
	tr.front.loseStreams()
	if !tr.comesBack(2) {
		return
	}
	first, second := tr.visit(1), tr.visit(2)
	tr.seen.kept = slices.Contains(first.ids, second.cursor)
	tr.awaitEvents(2, "cursor", 1)
	tr.publish(1)
	tr.awaitApplied(1)
	for _, v := range tr.applied() {
		tr.seen.passed = tr.seen.passed || v.N == 0
	}
}

func gapIsTold(tr *trial, _ chan struct{}) {
	tr.begin()
	tr.publish(1)
	tr.awaitApplied(1)
	tr.gateway.redis.KillPubSub()
	tr.awaitEvents(1, "gap", 1)
	if !tr.bare { // the id of the gap is kept, too: it does not come twice
		tr.front.await("a refetch", func() bool { return len(tr.gaps()) > 0 })
		tr.front.loseStreams()
		tr.awaitEvents(2, "cursor", 1)
	}
	tr.publish(2)
	tr.awaitApplied(2)
	for _, v := range tr.applied() {
		tr.seen.passed = tr.seen.passed || v.Reason != ""
	}
	var gap applied
	for n, data := range tr.refetchedGaps() {
		if err := json.Unmarshal([]byte(data), &gap); err != nil || n > 0 || gap.Channel != tr.front.channel {
			tr.t.Errorf("refetch %d is of %s (%v), want one of %q", n+1, data, err, tr.front.channel)
		}
		tr.seen.refetched = true
	}
	tr.expect(1, 2)
}

func connectionLost(tr *trial, next chan struct{}) {
	tr.begin()
	tr.publish(1)
	tr.awaitApplied(1)
	tr.front.loseStreams()
	if tr.comesBack(2) {
		tr.goesOn(2, next)
	}
	if tr.client.block == listenFetch && tr.visit(2).authorization != "Bearer secret" {
		tr.t.Errorf("it comes back with authorization %q", tr.visit(2).authorization)
	}
}

func lostWithinEvent(tr *trial, next chan struct{}) {
	tr.begin()
	tr.publish(1)
	tr.awaitApplied(1)
	tr.front.change(func() { tr.front.within = true })
	tr.publish(2)
	if !tr.comesBack(2) {
		return
	}
	close(next)
	tr.awaitEvents(2, "cursor", 1)
	tr.publish(3)
	tr.awaitApplied(3)
	tr.seen.lost = !slices.ContainsFunc(tr.applied(), func(v applied) bool { return v.N == 2 })
	if tr.seen.lost {
		tr.expect(1, 3)
		return
	}
	tr.expect(1, 2, 3)
}

func endedByGateway(tr *trial, next chan struct{}) {
	tr.begin()
	tr.publish(1)
	tr.front.await("the stream to end", func() bool { return tr.front.visits[0].ended })
	if tr.comesBack(2) {
		tr.goesOn(2, next)
	}
}

// afterwards is for how long nothing has to come from a client that has stopped: the slowest comes back after 5 s.
const afterwards = 8 * time.Second

func endHasCome(tr *trial, _ chan struct{}) {
	tr.begin()
	tr.publish(1)
	tr.awaitApplied(1)
	tr.send(answerEnd)
	tr.awaitText(answerEnd)
	if !tr.comesBack(2) {
		return
	}
	tr.front.await("its answer", func() bool { return tr.front.visits[1].over })
	if status := tr.visit(2).status; status != http.StatusNoContent {
		tr.t.Errorf("it came back to a %d, want a 204", status)
	}
	tr.seen.back = tr.front.becomes(afterwards, func() bool { return len(tr.front.visits) > 2 })
	tr.seen.stopped = !tr.seen.back
	if want := []string{message(1), answerEnd}; !slices.Equal(tr.texts(), want) {
		tr.t.Errorf("%q were applied, want %q", tr.texts(), want)
	}
}

func refused(tr *trial, _ chan struct{}) {
	held := ssetest.Open(tr.t, http.DefaultClient, tr.gateway.url+"/streams/held")
	held.SkipCursor()
	tr.client.run(tr.t, tr.front, tr.bare)
	tr.front.await("a refusal", func() bool { return len(tr.front.visits) > 0 && tr.front.visits[0].over })
	held.Close()
	first := tr.visit(1)
	tr.seen.status, tr.seen.told = first.status, first.wait
	if len(first.events) > 0 {
		tr.t.Errorf("it was not refused: %+v", first)
	}
	if !tr.comesBack(2) {
		return
	}
	tr.awaitEvents(2, "cursor", 1)
	tr.publish(1)
	tr.awaitApplied(1)
	tr.expect(1)
}

func answeredByProxy(tr *trial, next chan struct{}) {
	tr.begin()
	tr.publish(1)
	tr.awaitApplied(1)
	tr.front.loseStreams()
	if tr.comesBack(3) {
		tr.goesOn(3, next)
	}
}

// begin runs the client and returns when its stream has begun.
func (tr *trial) begin() {
	tr.t.Helper()
	tr.client.run(tr.t, tr.front, tr.bare)
	tr.awaitEvents(1, "cursor", 1)
}

// comesBack returns when the client has stopped, or has asked for the stream an nth time.
func (tr *trial) comesBack(n int) bool {
	tr.t.Helper()
	f := tr.front
	f.await(fmt.Sprintf("request %d, or the client to stop", n), func() bool {
		return len(f.visits) >= n || len(f.reported("stopped")) > 0
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	tr.seen.back = len(f.visits) >= n
	tr.seen.stopped = len(f.reported("stopped")) > 0
	if tr.seen.back {
		tr.seen.wait = f.visits[n-1].came.Sub(f.visits[n-2].came)
	}
	return tr.seen.back
}

// goesOn lets the nth request be answered, by a stream that has to bring what was published meanwhile.
func (tr *trial) goesOn(n int, next chan struct{}) {
	tr.t.Helper()
	tr.publish(2)
	close(next)
	tr.awaitApplied(2)
	tr.awaitEvents(n, "cursor", 1)
	tr.publish(3)
	tr.awaitApplied(3)
	tr.expect(1, 2, 3)
}

// message is the payload of a number: JSON of several lines, one of them blank, with what naive readers take for line ends.
func message(n int) string {
	return fmt.Sprintf("{\n\n\t\"n\": %d,\n\t\"text\": \"%s\"\n}", n, text)
}

const text = "grüße, 世界 🎉, \u2028, \u0085"

func (tr *trial) publish(n int) {
	tr.t.Helper()
	tr.send(message(n))
}

// send returns when the gateway has the message: a stream that then opens without a cursor does not get it.
func (tr *trial) send(payload string) {
	tr.t.Helper()
	if tr.witness == nil {
		tr.witness = ssetest.Open(tr.t, http.DefaultClient, tr.gateway.url+"/streams/"+tr.front.channel)
		tr.witness.SkipCursor()
	}
	tr.gateway.redis.Publish(tr.front.channel, payload)
	if got := tr.witness.NextOf("message"); got.Data != payload {
		tr.t.Fatalf("a witness got %q, want %q", got.Data, payload)
	}
}

// applied is what the client's code was given: a message, or a gap.
type applied struct {
	N       int
	Text    string
	Channel string
	Reason  string
}

func (tr *trial) applied() (all []applied) {
	tr.t.Helper()
	tr.front.mu.Lock()
	defer tr.front.mu.Unlock()
	for _, data := range tr.front.reported("apply") {
		if data == "poison" {
			continue
		}
		var v applied
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			tr.t.Fatalf("decoding what was applied, %q: %v", data, err)
		}
		if v.N > 0 && v.Text != text {
			tr.t.Errorf("message %d has text %q, want %q", v.N, v.Text, text)
		}
		all = append(all, v)
	}
	return all
}

// texts are what was applied, as it is.
func (tr *trial) texts() []string {
	tr.front.mu.Lock()
	defer tr.front.mu.Unlock()
	return tr.front.reported("apply")
}

// refetched is what was refetched: gaps, and "" where it was all of the state.
func (tr *trial) refetched() []string {
	tr.front.mu.Lock()
	defer tr.front.mu.Unlock()
	return tr.front.reported("refetch")
}

func (tr *trial) refetchedGaps() []string {
	tr.front.mu.Lock()
	defer tr.front.mu.Unlock()
	return tr.gaps()
}

// gaps are those that were refetched. The caller holds the front's lock.
func (tr *trial) gaps() []string {
	return slices.DeleteFunc(tr.front.reported("refetch"), func(data string) bool { return data == "" })
}

// awaitText returns when a text has been applied.
func (tr *trial) awaitText(text string) {
	tr.t.Helper()
	tr.front.await(fmt.Sprintf("%q to be applied", text), func() bool { return slices.Contains(tr.front.reported("apply"), text) })
}

// awaitApplied returns when a message has been applied.
func (tr *trial) awaitApplied(n int) {
	tr.t.Helper()
	tr.front.await(fmt.Sprintf("message %d to be applied", n), func() bool {
		return slices.ContainsFunc(tr.front.reported("apply"), func(data string) bool {
			var v applied
			return json.Unmarshal([]byte(data), &v) == nil && v.N == n
		})
	})
}

// expect fails the test unless each of the messages was applied once, in this order.
func (tr *trial) expect(want ...int) {
	tr.t.Helper()
	var have []int
	for _, v := range tr.applied() {
		if v.N > 0 {
			have = append(have, v.N)
		}
	}
	if !slices.Equal(have, want) {
		tr.t.Errorf("messages %v were applied, want %v", have, want)
	}
}

// awaitEvents returns when the nth request's stream has had that many events of a type.
func (tr *trial) awaitEvents(n int, kind string, count int) {
	tr.t.Helper()
	tr.front.await(fmt.Sprintf("%d of event %s in stream %d", count, kind, n), func() bool {
		if len(tr.front.visits) < n {
			return false
		}
		have := 0
		for _, e := range tr.front.visits[n-1].events {
			if e == kind {
				have++
			}
		}
		return have >= count
	})
}

// visit returns the nth request as it is by now.
func (tr *trial) visit(n int) visit {
	tr.front.mu.Lock()
	defer tr.front.mu.Unlock()
	if len(tr.front.visits) < n {
		return visit{}
	}
	v := *tr.front.visits[n-1]
	v.ids, v.events = slices.Clone(v.ids), slices.Clone(v.events)
	return v
}
