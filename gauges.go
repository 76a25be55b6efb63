package redissse

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
)

// hubCollector tells of the hubs as they are when it is asked. Two may have
// one name while a reload moves it to another Redis: they add up, but for
// redis_up, delivery_proved and breaker_state, which are those of a hub a
// configuration holds.
type hubCollector struct{}

// hubGauge is one of its metrics, with its value of all hubs of one name.
type hubGauge struct {
	desc  *prometheus.Desc
	value func(*hubSum) float64
}

var hubGauges = []hubGauge{
	newHubGauge("redis_up", "Whether the hub is connected to Redis.", func(s *hubSum) float64 { return one(s.up) }),
	newHubGauge("delivery_proved", "Whether the newest message of the hub to itself came back.",
		func(s *hubSum) float64 { return one(s.proved) }),
	newHubGauge("active_subscriptions", "Channels and patterns that the hub holds, lingering and kept ones included.",
		func(s *hubSum) float64 { return s.subscriptions }),
	newHubGauge("channels_refused", "Channels and patterns that Redis has refused within the last 30 s.",
		func(s *hubSum) float64 { return s.denied }),
	newHubGauge("buffer_messages", "Messages in the hub's buffers.", func(s *hubSum) float64 { return s.messages }),
	newHubGauge("buffer_bytes", "Counted bytes in the hub's buffers: payloads, cached events, fixed costs.",
		func(s *hubSum) float64 { return s.bytes }),
	newHubGauge("buffer_bytes_limit", "How many there may be: total_size.", func(s *hubSum) float64 { return s.mostBytes }),
	newHubGauge("buffer_channels", "Channels with a buffer.", func(s *hubSum) float64 { return s.channels }),
	newHubGauge("buffer_channels_limit", "How many there may be: max_channels.", func(s *hubSum) float64 { return s.mostChannels }),
	newHubGauge("publish_body_bytes", "Bytes that the bodies of messages to be published take.",
		func(s *hubSum) float64 { return s.payloads }),
	newHubGauge("presence_keys", "Keys in Redis that say that somebody listens here.", func(s *hubSum) float64 { return s.present }),
	newHubGauge("breaker_state", "The publisher's breaker: 0 closed, 1 half-open, 2 open.",
		func(s *hubSum) float64 { return float64(s.breaker) }),
}

func newHubGauge(name, help string, value func(*hubSum) float64) hubGauge {
	return hubGauge{prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, []string{"hub"}, nil), value}
}

// Describe implements prometheus.Collector.
func (hubCollector) Describe(to chan<- *prometheus.Desc) {
	for _, g := range hubGauges {
		to <- g.desc
	}
}

// hubSum is what all hubs of one name are together.
type hubSum struct {
	held, up, proved       bool
	subscriptions, denied  float64
	messages               float64
	bytes, mostBytes       float64
	channels, mostChannels float64
	payloads, present      float64
	breaker                gobreaker.State
}

// Collect implements prometheus.Collector.
func (hubCollector) Collect(to chan<- prometheus.Metric) {
	sums := map[string]*hubSum{}
	hubs.Range(func(_, pooled any) bool {
		h := pooled.(*redisHub)
		if sums[h.name] == nil {
			sums[h.name] = new(hubSum)
		}
		sums[h.name].add(h)
		return true
	})
	for name, s := range sums {
		for _, g := range hubGauges {
			to <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(s), name)
		}
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func (s *hubSum) add(h *redisHub) {
	held := h.isHeld()
	up, proved, breaker := h.subscriber.connected.Load(), h.subscriber.isProved(), h.publisher.breaker.state()
	switch {
	case held == s.held:
		s.up, s.proved, s.breaker = s.up || up, s.proved || proved, max(s.breaker, breaker)
	case held:
		s.held, s.up, s.proved, s.breaker = true, up, proved, breaker
	}
	holds, most := h.memory.Holds(), h.settings.Load().Budget
	s.subscriptions += float64(holds.Subscriptions)
	s.denied += float64(holds.Denied)
	s.messages += float64(holds.Messages)
	s.bytes += float64(holds.Bytes)
	s.mostBytes += float64(most.Bytes)
	s.channels += float64(holds.Channels)
	s.mostChannels += float64(most.Channels)
	s.payloads += float64(h.payloads.bytes())
	s.present += float64(h.presence.kept())
}
