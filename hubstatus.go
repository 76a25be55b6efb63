package redissse

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/sony/gobreaker/v2"
)

// started is when the process did, to within its first moments.
var started = time.Now()

// pooledHub is a hub and under which key it is in the pool.
type pooledHub struct {
	*redisHub
	key hubKey
}

// pooledHubs returns the hubs of that name, all if it is empty, by name. Those that
// only streams of earlier configurations hold are among them.
func pooledHubs(name string) (all []pooledHub) {
	hubs.Range(func(key, value any) bool {
		if h := (pooledHub{value.(*redisHub), key.(hubKey)}); name == "" || h.name == name {
			all = append(all, h)
		}
		return true
	})
	slices.SortFunc(all, func(a, b pooledHub) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.key.addr, b.key.addr), cmp.Compare(a.key.user, b.key.user))
	})
	return all
}

// reportStatus returns how all is, with the top busiest channels of each hub.
func reportStatus(top int, by busiestBy) statusReport {
	now := time.Now()
	all, counted := pooledHubs(""), countAll()
	report := statusReport{
		Version: ownVersion(), CaddyVersion: caddyVersion(), Now: inUTC(now), Uptime: now.Sub(started).Seconds(),
		Top: top, By: by, Hubs: []hubStatus{},
	}
	for _, h := range all {
		is := h.status()
		report.AdminPage = report.AdminPage || is.AdminPage
		is.count(counted[h.name])
		is.Busiest = h.busiest(now, top, by)
		report.Hubs = append(report.Hubs, is)
	}
	return report
}

// hasPage reports whether the configuration has the admin page for the hub.
func (h pooledHub) hasPage() bool { return h.isHeld() && h.settings.Load().adminPage }

func (h pooledHub) status() hubStatus {
	s, s1 := &h.subscriber, h.settings.Load()
	holds := h.memory.Holds()
	is := hubStatus{
		Name: h.name, Redis: s1.shownURL(), Draining: !h.isHeld(), AdminPage: h.hasPage(),
		Connected: s.connected.Load(), Since: when(s.connected.since()), LastError: s.failed.Load(), Role: roleUnknown.String(),
		Breaker:       breakerStatus{State: h.publisher.breaker.state().String()},
		Subscriptions: holds.Subscriptions, Channels: holds.Channels, Refused: holds.Denied, Streams: h.streams.Load(),
		Buffer: bufferStatus{
			Messages: holds.Messages, Bytes: holds.Bytes, BytesLimit: s1.Budget.Bytes, ChannelsLimit: s1.Budget.Channels,
		},
	}
	is.Proved = is.Connected && s.isProved()
	if g := s.generation.Load(); g != nil && is.Connected {
		is.Role = g.probing.lastRole().kind.String()
	}
	if is.Breaker.State == gobreaker.StateOpen.String() {
		is.Breaker.Until = when(time.Now().Add(h.publisher.breaker.openFor()))
	}
	return is
}

// shownURL is where Redis is, without what may be secret.
func (s *settings) shownURL() string {
	switch {
	case s.redis == nil:
		return ""
	case s.redis.Network == "unix":
		return "unix://" + s.redis.Addr
	case s.redis.TLSConfig != nil:
		return "rediss://" + s.redis.Addr
	}
	return "redis://" + s.redis.Addr
}

// counts are what the metrics say of all hubs of one name.
type counts struct {
	received, receivedBytes, sent, gaps uint64
	routes                              map[string]*routeStatus
}

// countAll reads the metrics, by the hubs' names: so there is no second account
// of anything.
func countAll() map[string]*counts {
	all := map[string]*counts{}
	read := func(of prometheus.Collector, add func(c *counts, route string, value float64)) {
		eachSample(of, func(hub, route string, value float64) {
			if all[hub] == nil {
				all[hub] = &counts{routes: map[string]*routeStatus{}}
			}
			add(all[hub], route, value)
		})
	}
	read(metricReceived, func(c *counts, _ string, n float64) { c.received += uint64(n) })
	read(metricReceivedBytes, func(c *counts, _ string, n float64) { c.receivedBytes += uint64(n) })
	read(metricSent, func(c *counts, _ string, n float64) { c.sent += uint64(n) })
	read(metricGaps, func(c *counts, _ string, n float64) { c.gaps += uint64(n) })
	read(metricStreams, func(c *counts, route string, n float64) {
		c.routes[route] = &routeStatus{Route: route, Streams: int64(n)}
	})
	read(metricBehind, func(c *counts, route string, n float64) {
		if r := c.routes[route]; r != nil {
			r.Behind = int64(n)
		}
	})
	return all
}

// eachSample calls with for each of a collector's counters or gauges.
func eachSample(of prometheus.Collector, with func(hub, route string, value float64)) {
	samples := make(chan prometheus.Metric)
	go func() {
		defer close(samples)
		of.Collect(samples)
	}()
	for sample := range samples {
		var m dto.Metric
		if sample.Write(&m) != nil {
			continue // no metric of ours fails
		}
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		with(labels["hub"], labels["route"], m.GetCounter().GetValue()+m.GetGauge().GetValue())
	}
}

// count puts in what the metrics say.
func (is *hubStatus) count(c *counts) {
	is.Routes = []routeStatus{}
	if c == nil {
		return
	}
	is.ReceivedMessages, is.ReceivedBytes, is.SentEvents, is.Gaps = c.received, c.receivedBytes, c.sent, c.gaps
	for _, route := range slices.Sorted(maps.Keys(c.routes)) {
		if r := c.routes[route]; r.Streams > 0 {
			is.Routes = append(is.Routes, *r)
		}
	}
	slices.SortStableFunc(is.Routes, func(a, b routeStatus) int { return cmp.Compare(b.Streams, a.Streams) })
}
