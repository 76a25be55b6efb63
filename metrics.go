package redissse

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// Metrics stand on Caddy's own endpoint. Caddy makes a registry for each
// configuration; the collectors are made once a process and registered in
// each, so that counters go on over reloads and outlive the hubs.
//
// Labels have values from the configuration only: "hub" is a hub's name, or
// Redis's address if it has none; "route" is a handler's channels as they are
// configured, before placeholders are replaced. No client can add a series.
const namespace = "caddy_redis_sse"

var (
	metricReceived      = newCounters("messages_received_total", "Messages that Redis handed over.", "hub")
	metricReceivedBytes = newCounters("received_bytes_total", "Bytes of the payloads of those messages.", "hub")
	metricGivenUp       = newCounters("evicted_messages_total",
		"Messages that the buffers gave up, by which limit did it; room: their channel was given up whole.", "hub", "limit")
	metricBadUTF8  = newCounters("invalid_utf8_total", "Messages in which bytes that are not UTF-8 were replaced.", "hub")
	metricUnnamed  = newCounters("event_names_omitted_total", "Event names that could not be given as configured.", "hub")
	metricDataLeft = newCounters("payloads_left_total", "Payloads sent as they are, since they have no value where data says.", "hub", "route")

	metricReconnections = newCounters("reconnections_total",
		"Connections to Redis made after a live one was lost, by why it was lost.", "hub", "reason")

	metricProbe = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "probe_seconds",
		Help: "From the PUBLISH of a message to the hub itself to its arrival.",
		// A Redis next door takes less than half a millisecond. Above 10 s the
		// connection is given up, unless something else is ahead of it.
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"hub"})

	metricPublished = newCounters("messages_published_total",
		"Messages for Redis, by what came of them: ok, failed (certainly not published) or unknown.", "hub", "route", "status")
	metricPublishSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "publish_duration_seconds",
		Help: "From a complete request to Redis's answer, attempts and waits included.",
		// A Redis next door takes less than half a millisecond, an attempt 2 s at most.
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"hub", "route"})
	metricPublishRetries = newCounters("publish_retries_total", "Attempts to publish a message after its first.", "hub", "route")
	metricPublishDropped = newCounters("publish_dropped_total", "Messages that were not published, or may not have been, by why.",
		"hub", "route", "reason")

	metricStreams = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "streams", Help: "Open streams.",
	}, []string{"hub", "route"})
	metricOpened = newCounters("streams_opened_total", "Streams that have opened.", "hub", "route")
	metricBehind = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "streams_behind",
		Help: "Open streams that had more to read than their last batch took: they replay, or their client is slow.",
	}, []string{"hub", "route"})
	metricLean = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "streams_lean",
		Help: "Open streams that are live, by whether they are lean, and why not.",
	}, []string{"hub", "route", "lean", "reason"})
	metricAge = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "stream_age_seconds", Help: "How old streams were when they ended.",
		// Below a second clients come back without end; max_stream_age is often an hour, and a page stays for a day.
		Buckets: []float64{.1, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400},
	}, []string{"hub", "route"})
	metricRefused = newCounters("streams_refused_total", "Streams that never opened, by which limit there was no room under.",
		"hub", "route", "limit")
	metricInvalid = newCounters("invalid_requests_total", "Requests that could get nothing but an error, by what was wrong with them.",
		"hub", "route", "cause")
	metricNoContent = newCounters("no_content_total", "Requests answered with 204, by why there was nothing to stream.", "hub", "route", "cause")
	metricSentBytes = newCounters("sent_bytes_total", "Bytes written to streams, before they are encrypted or compressed.", "hub", "route")
	metricEnds      = newCounters("streams_total", "Streams that have ended, by what ended them.", "hub", "route", "end")
	metricSent      = newCounters("events_sent_total", "Messages written to streams; gaps and cursors do not count.", "hub", "route")
	metricMerged    = newCounters("merged_messages_total", "Messages written to streams that share the event of the next one.", "hub", "route")
	metricReplayed  = newCounters("replayed_events_total",
		"Messages written to streams that Redis had handed over before the stream opened.", "hub", "route")
	metricGaps = newCounters("gaps_total", "Gap events written to streams, by reason.", "hub", "route", "reason")

	metricDelivery = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "delivery_seconds",
		Help: "From a message's receipt to the flush of its event, of messages that were not replayed.",
		// The clock of receipts has milliseconds. Above 10 s a client stalls.
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"hub", "route"})

	metricOutletLag = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "outlet_lag_seconds",
		Help: "How long a lean stream that is woken waits for its turn to be written, at most, as of the last second.",
	}, func() float64 { return outlets.Lag().Seconds() })
	metricBuildInfo = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": ownVersion(), "caddy_version": caddyVersion()},
	}, func() float64 { return 1 })
)

func newCounters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// registerMetrics has a configuration's registry serve the metrics. Calls
// after the first change nothing.
func registerMetrics(registry prometheus.Registerer, more ...prometheus.Collector) error {
	for _, c := range append([]prometheus.Collector{
		metricReceived, metricReceivedBytes, metricGivenUp, metricBadUTF8, metricUnnamed, metricDataLeft, metricReconnections, metricProbe, metricStreams, metricEnds,
		metricOpened, metricBehind, metricLean, metricAge, metricRefused, metricInvalid, metricNoContent, metricSentBytes,
		metricSent, metricMerged, metricReplayed, metricGaps, metricDelivery,
		metricPublished, metricPublishSeconds, metricPublishRetries, metricPublishDropped, metricOutletLag, metricBuildInfo,
	}, more...) {
		err := registry.Register(c)
		if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !again {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// hubMetrics are one hub's counters, all of them there from the start: a rate
// needs a zero to start from.
type hubMetrics struct {
	received, receivedBytes prometheus.Counter
	badUTF8, unnamed        prometheus.Counter
	givenUp                 map[hub.Cause]prometheus.Counter
	reconnections           map[lossReason]prometheus.Counter
	probe                   prometheus.Observer
}

func newHubMetrics(of string) *hubMetrics {
	m := &hubMetrics{
		received: metricReceived.WithLabelValues(of), receivedBytes: metricReceivedBytes.WithLabelValues(of),
		badUTF8: metricBadUTF8.WithLabelValues(of), unnamed: metricUnnamed.WithLabelValues(of),
		givenUp: map[hub.Cause]prometheus.Counter{}, reconnections: map[lossReason]prometheus.Counter{},
		probe: metricProbe.WithLabelValues(of),
	}
	for _, cause := range hub.Causes() {
		m.givenUp[cause] = metricGivenUp.WithLabelValues(of, cause.String())
	}
	for _, reason := range lossReasons {
		m.reconnections[reason] = metricReconnections.WithLabelValues(of, string(reason))
	}
	return m
}

// receive counts a message that Redis handed over.
func (m *hubMetrics) receive(size int) {
	m.received.Inc()
	m.receivedBytes.Add(float64(size))
}

// giveUp counts messages that a buffer gave up.
func (m *hubMetrics) giveUp(why hub.Cause, n int64) { m.givenUp[why].Add(float64(n)) }

// routeMetrics are one handler's.
type routeMetrics struct {
	streams, behind prometheus.Gauge
	leans           *prometheus.GaugeVec // by lean and reason
	opened          prometheus.Counter
	age             prometheus.Observer
	refused         map[streamLimitName]prometheus.Counter
	noContent       map[noContentCause]prometheus.Counter
	sent, replayed  prometheus.Counter
	merged          prometheus.Counter
	sentBytes       prometheus.Counter
	ends            map[endReason]prometheus.Counter
	gaps            map[hub.GapReason]prometheus.Counter
	delivery        prometheus.Observer
}

func newRouteMetrics(of, route string) *routeMetrics {
	m := &routeMetrics{
		leans:   metricLean.MustCurryWith(prometheus.Labels{"hub": of, "route": route}),
		streams: metricStreams.WithLabelValues(of, route), behind: metricBehind.WithLabelValues(of, route),
		opened: metricOpened.WithLabelValues(of, route), age: metricAge.WithLabelValues(of, route),
		refused: map[streamLimitName]prometheus.Counter{}, noContent: map[noContentCause]prometheus.Counter{},
		sentBytes: metricSentBytes.WithLabelValues(of, route),
		sent:      metricSent.WithLabelValues(of, route), replayed: metricReplayed.WithLabelValues(of, route),
		merged: metricMerged.WithLabelValues(of, route),
		ends:   map[endReason]prometheus.Counter{}, gaps: map[hub.GapReason]prometheus.Counter{},
		delivery: metricDelivery.WithLabelValues(of, route),
	}
	for _, limit := range streamLimitNames {
		m.refused[limit] = metricRefused.WithLabelValues(of, route, string(limit))
	}
	for _, cause := range noContentCauses {
		m.noContent[cause] = metricNoContent.WithLabelValues(of, route, string(cause))
	}
	for _, end := range endReasons {
		m.ends[end] = metricEnds.WithLabelValues(of, route, string(end))
	}
	for _, reason := range hub.GapReasons {
		m.gaps[reason] = metricGaps.WithLabelValues(of, route, string(reason))
	}
	return m
}

// lean counts streams that are written in some way.
func (m *routeMetrics) lean(kind leanKind, why whyNotLean) prometheus.Gauge {
	return m.leans.WithLabelValues(string(kind), string(why))
}

// ended counts the end of a stream that opened at a time.
func (m *routeMetrics) ended(end endReason, opened time.Time) {
	m.ends[end].Inc()
	m.age.Observe(time.Since(opened).Seconds())
}

// refuse counts a stream that there was no room for.
func (m *routeMetrics) refuse(limit streamLimitName) {
	m.ends[endTurnedAway].Inc()
	m.refused[limit].Inc()
}

// noContentCause is why a request for a stream is answered with 204.
type noContentCause string

const (
	noContentEnded noContentCause = "ended" // the client has all of an answer, and nothing came behind it
	noContentEmpty noContentCause = "empty" // nothing is buffered, and empty is 204
)

var noContentCauses = []noContentCause{noContentEnded, noContentEmpty}

// streamLimitName is the option whose limit a stream was over.
type streamLimitName string

const (
	limitStreams    streamLimitName = "max_streams"
	limitStreamsPer streamLimitName = "max_streams_per"
	limitChannels   streamLimitName = "max_channels"
)

var streamLimitNames = []streamLimitName{limitStreams, limitStreamsPer, limitChannels}

// count counts a batch of s that has been written and flushed. now is the
// monotonic time in milliseconds.
func (m *routeMetrics) count(b *hub.Batch, s *hub.Stream, now int64) {
	sent, replayed := 0, 0
	for i := range b.Items {
		it := &b.Items[i]
		switch reason, isGap := it.IsGap(); {
		case isGap:
			m.gaps[reason].Inc()
		case s.Replayed(it):
			replayed++
		default:
			sent++
			m.delivery.Observe(float64(now-it.Received()) / 1000)
		}
	}
	m.sent.Add(float64(sent + replayed))
	if replayed > 0 {
		m.replayed.Add(float64(replayed))
	}
}

// endReason says what ended a stream.
type endReason string

const (
	endClient     endReason = "client"       // the client went away
	endStalled    endReason = "stalled"      // the client took nothing for stall_timeout
	endReload     endReason = "reload"       // the configuration was replaced
	endExit       endReason = "exit"         // Caddy exits
	endMaxAge     endReason = "max_age"      // max_stream_age, or a timeout of the server
	endAsked      endReason = "disconnected" // the admin API was asked for it
	endFinished   endReason = "finished"     // it has come to its end
	endQuiet      endReason = "quiet"        // it got nothing for too long, and has not come to its end
	endTurnedAway endReason = "refused"      // never opened: there was no room for its channels
)

var endReasons = []endReason{endClient, endStalled, endReload, endExit, endMaxAge, endAsked, endFinished, endQuiet, endTurnedAway}

// lossReason says why a connection to Redis was lost.
type lossReason string

const (
	lossSilent     lossReason = "silent"   // no byte, or no answer, for dead_after
	lossDeaf       lossReason = "deaf"     // a message of ours to ourselves was not delivered
	lossRole       lossReason = "role"     // it has become a replica, or is cut off from its master
	lossClosed     lossReason = "closed"   // Redis closed it
	lossNetwork    lossReason = "network"  // any other error of the network
	lossErrorReply lossReason = "refused"  // an error reply
	lossProtocol   lossReason = "protocol" // a reply that was not expected
)

var lossReasons = []lossReason{lossSilent, lossDeaf, lossRole, lossClosed, lossNetwork, lossErrorReply, lossProtocol}

// publishStatus says what came of a message.
type publishStatus string

const (
	publishOK      publishStatus = "ok"
	publishFailed  publishStatus = "failed"
	publishUnknown publishStatus = "unknown"
)

var publishStatuses = []publishStatus{publishOK, publishFailed, publishUnknown}

// publishMetrics are those of one handler that publishes.
type publishMetrics struct {
	published map[publishStatus]prometheus.Counter
	dropped   map[dropReason]prometheus.Counter
	retries   prometheus.Counter
	duration  prometheus.Observer
}

func newPublishMetrics(hub, route string) *publishMetrics {
	m := &publishMetrics{
		published: map[publishStatus]prometheus.Counter{}, dropped: map[dropReason]prometheus.Counter{},
		retries: metricPublishRetries.WithLabelValues(hub, route), duration: metricPublishSeconds.WithLabelValues(hub, route),
	}
	for _, status := range publishStatuses {
		m.published[status] = metricPublished.WithLabelValues(hub, route, string(status))
	}
	for _, reason := range dropReasons {
		m.dropped[reason] = metricPublishDropped.WithLabelValues(hub, route, string(reason))
	}
	return m
}

// count counts a message that was published in so many attempts, unless err.
func (m *publishMetrics) count(took time.Duration, attempts int, err error) {
	m.duration.Observe(took.Seconds())
	m.retries.Add(float64(max(0, attempts-1)))
	if err == nil {
		m.published[publishOK].Inc()
		return
	}
	m.fail(verdictOf(err).reason)
}

func (m *publishMetrics) fail(reason dropReason) {
	m.dropped[reason].Inc()
	if reason == dropUnknown {
		m.published[publishUnknown].Inc()
		return
	}
	m.published[publishFailed].Inc()
}
