//go:build linux

package faults

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Streams of the resubscription, and how it is slowed down.
const (
	wideStreams  = 400
	resubscribed = wideStreams * wideChannels
	confirmRate  = 200 << 10 // bytes a second: the confirmations take about five
)

// openWide opens many streams of many channels. Something is published to a few of these; of the others, the oracle judges what
// they are told.
func openWide(r *rig) (end func()) {
	r.t.Helper()
	watched := []int{0, wideStreams / 3, wideStreams * 2 / 3, wideStreams - 1}
	var streams []*client
	var published []string
	for n := range wideStreams {
		key := fmt.Sprintf("wide-%d", n)
		c := Client{Name: key}
		for k := range wideChannels {
			c.Channels = append(c.Channels, fmt.Sprintf("%s:%d", key, k))
		}
		if slices.Contains(watched, n) {
			streams = append(streams, r.openClient(c, "/wide/"+key))
			published = append(published, c.Channels[0], c.Channels[wideChannels-1])
			continue
		}
		other := r.newClient(c, "/wide/"+key)
		r.others = append(r.others, other)
		const together = 20
		if n%together == 0 {
			other.source.AwaitOpened()
		}
	}
	for _, c := range append(streams, r.others...) {
		c.source.AwaitOpened()
	}
	r.awaitSubscribed()
	return every(r.every, func() {
		for _, channel := range published {
			r.traffic.publish(channel)
		}
	})
}

// strikeResubscription breaks the connection, and has the fault happen when a part of the channels is subscribed again.
func strikeResubscription(r *rig, f fault, _ int) (over time.Time) {
	r.t.Helper()
	r.proxy.SetRate(confirmRate)
	r.redis.KillPubSub()
	var before int
	r.gateway.Poll(r.t, "the middle of the resubscription", func() bool {
		before = r.subscribed()
		return before > resubscribed/4 && before < resubscribed*3/4
	})
	f.strike(r)
	over = time.Now()
	r.proxy.SetRate(0)
	r.awaitSubscribed()
	r.t.Logf("the fault came when %d channels were subscribed again; all were %v after it", before, time.Since(over))
	return over
}

func (r *rig) awaitSubscribed() {
	r.t.Helper()
	r.gateway.Poll(r.t, "all channels to be subscribed", func() bool { return r.subscribed() >= resubscribed })
}

// subscribed is how many channels the gateway has at Redis. No connection of anyone else has any.
func (r *rig) subscribed() (n int) {
	r.t.Helper()
	for conn := range strings.Lines(r.redis.Do("CLIENT", "LIST", "TYPE", "pubsub").(string)) {
		_, after, _ := strings.Cut(conn, " sub=")
		count, _, _ := strings.Cut(after, " ")
		of, err := strconv.Atoi(count)
		if err != nil {
			r.t.Fatalf("counting the channels of %q: %v", conn, err)
		}
		n = max(n, of) // a connection that is dead to the gateway may not be so to Redis yet
	}
	return n
}
