package main

import "fmt"

const (
	chosen    = `{instance=~"$instance",hub=~"$hub"}`
	instances = `{instance=~"$instance"}`
)

var yesOrNo = []state{{"0", "no", "red"}, {"1", "yes", "green"}}

var rows = []row{
	{"Now", []panel{
		{title: "Redis connected", about: "No if one of the chosen gateways is not connected.", now: true, states: yesOrNo,
			queries: []query{{"{{hub}}", "min by (hub) (caddy_redis_sse_redis_up" + chosen + ")"}}},
		{title: "Delivery proved", about: "Whether the newest probe came back, of all chosen gateways.", now: true, states: yesOrNo,
			queries: []query{{"{{hub}}", "min by (hub) (caddy_redis_sse_delivery_proved" + chosen + ")"}}},
		{title: "Breaker", about: "Open: publishing over HTTP is refused at once.", now: true,
			states:  []state{{"0", "closed", "green"}, {"1", "half-open", "orange"}, {"2", "open", "red"}},
			queries: []query{{"{{hub}}", "max by (hub) (caddy_redis_sse_breaker_state" + chosen + ")"}}},
		{title: "Streams open", unit: "short", now: true,
			queries: []query{{"streams", "sum(caddy_redis_sse_streams" + chosen + ")"}}},
		{title: "Alerts firing", about: "Of alerts.yml, if this Prometheus has those rules.", now: true, bad: 1,
			queries: []query{{"alerts", `count(ALERTS{alertname=~"RedisSSE.+",alertstate="firing"}) or vector(0)`}}},
		{title: "Versions", about: "How many gateways run which version.", now: true,
			queries: []query{{"{{version}}, Caddy {{caddy_version}}", "count by (version, caddy_version) (caddy_redis_sse_build_info" + instances + ")"}}},
	}},
	{"Messages", []panel{
		{title: "Messages a second", about: "What Redis handed over, and what redis_sse_publish did.", unit: "ops", queries: []query{
			{"received", rate("messages_received_total", "")},
			{"published: {{status}}", rate("messages_published_total", "status")},
			{"attempts again", rate("publish_retries_total", "")}}},
		{title: "Events a second", about: "Written to all streams.", unit: "ops", queries: []query{
			{"sent", rate("events_sent_total", "")},
			{"of these replayed", rate("replayed_events_total", "")},
			{"of these merged", rate("merged_messages_total", "")}}},
		{title: "Bytes a second", about: "Payloads from Redis, and what was written to streams.", unit: "Bps", queries: []query{
			{"in", rate("received_bytes_total", "")},
			{"out", rate("sent_bytes_total", "")}}},
		{title: "Publish latency", about: "From a complete request to the answer.", unit: "s", queries: quantiles("publish_duration_seconds")},
		{title: "Delivery latency", about: "From the receipt of a message to the flush of its event.", unit: "s",
			queries: quantiles("delivery_seconds")},
		{title: "Probe latency", about: "From the PUBLISH of a probe to its arrival: Redis and the way there and back.", unit: "s",
			queries: quantiles("probe_seconds")},
		{title: "Not published", about: "Messages of redis_sse_publish that are not ok, a second, by reason.", unit: "ops",
			queries: []query{{"{{reason}}", rate("publish_dropped_total", "reason")}}},
		{title: "Changed on the way", about: "Messages whose bytes were not UTF-8, event names that were left out, and payloads without what data names, a second.", unit: "ops",
			queries: []query{
				{"not UTF-8", rate("invalid_utf8_total", "")},
				{"without a name", rate("event_names_omitted_total", "")},
				{"without the data", rate("payloads_left_total", "")}}},
		{title: "Bodies being published", about: "Bytes that are held until Redis has answered.", unit: "bytes",
			queries: []query{{"{{hub}}", sum("publish_body_bytes", "hub")}}},
	}},
	{"Streams", []panel{
		{title: "Streams", about: "Open, and those that have more to be sent than one batch.", unit: "short", queries: []query{
			{"{{route}}", sum("streams", "route")},
			{"behind: {{route}}", sum("streams_behind", "route")}}},
		{title: "Opened and ended a second", unit: "ops", queries: []query{
			{"opened", rate("streams_opened_total", "")},
			{"nothing to stream: {{cause}}", rate("no_content_total", "cause")},
			{"ended: {{end}}", rate("streams_total", "end")}}},
		{title: "Age at the end", about: "How old streams were when they ended.", unit: "s", queries: quantiles("stream_age_seconds")},
		{title: "Gaps a second", about: "Gap events by reason: what clients were told that they may lack.", unit: "ops",
			queries: []query{{"{{reason}}", rate("gaps_total", "reason")}}},
		{title: "Refused a second", about: "Streams that there was no room for, by limit.", unit: "ops",
			queries: []query{{"{{limit}}", rate("streams_refused_total", "limit")}}},
		{title: "Invalid requests a second", about: "By what was wrong with them.", unit: "ops",
			queries: []query{{"{{cause}}", rate("invalid_requests_total", "cause")}}},
	}},
	{"Redis", []panel{
		{title: "Connection", about: "1: connected, 1: delivery is proved. The lowest of the chosen gateways.", unit: "short", queries: []query{
			{"connected: {{hub}}", "min by (hub) (caddy_redis_sse_redis_up" + chosen + ")"},
			{"proved: {{hub}}", "min by (hub) (caddy_redis_sse_delivery_proved" + chosen + ")"}}},
		{title: "Reconnections a minute", about: "By why the connection before was lost.", unit: "short",
			queries: []query{{"{{reason}}", "60 * " + rate("reconnections_total", "reason")}}},
		{title: "Breaker state", about: "0 closed, 1 half-open, 2 open.", unit: "short",
			states:  []state{{"0", "closed", "green"}, {"1", "half-open", "orange"}, {"2", "open", "red"}},
			queries: []query{{"{{hub}}", "max by (hub) (caddy_redis_sse_breaker_state" + chosen + ")"}}},
		{title: "Subscriptions", about: "Channels and patterns held, those that Redis's ACL has refused, and keys of presence.", unit: "short", queries: []query{
			{"active: {{hub}}", sum("active_subscriptions", "hub")},
			{"refused: {{hub}}", sum("channels_refused", "hub")},
			{"presence: {{hub}}", sum("presence_keys", "hub")}}},
	}},
	{"Buffers", []panel{
		{title: "Buffer size", about: "Counted bytes against total_size.", unit: "bytes", queries: []query{
			{"{{hub}}", sum("buffer_bytes", "hub")},
			{"limit: {{hub}}", sum("buffer_bytes_limit", "hub")}}},
		{title: "Channels with a buffer", about: "Against max_channels.", unit: "short", queries: []query{
			{"{{hub}}", sum("buffer_channels", "hub")},
			{"limit: {{hub}}", sum("buffer_channels_limit", "hub")}}},
		{title: "Messages in the buffers", unit: "short", queries: []query{{"{{hub}}", sum("buffer_messages", "hub")}}},
		{title: "Evicted a second", about: "Messages that left the buffers, by limit. max_age and linger are ordinary.", unit: "ops",
			queries: []query{{"{{limit}}", rate("evicted_messages_total", "limit")}}},
	}},
	{"Process", []panel{
		{title: "Memory", about: "Resident, what Go counts towards GOMEMLIMIT, and GOMEMLIMIT.", unit: "bytes", queries: []query{
			{"resident: {{instance}}", "process_resident_memory_bytes" + instances},
			{"counted: {{instance}}", "go_memstats_sys_bytes" + instances + " - go_memstats_heap_released_bytes" + instances},
			{"limit: {{instance}}", "go_gc_gomemlimit_bytes" + instances + " < 1e15"}}},
		{title: "CPU", about: "Cores in use.", unit: "short",
			queries: []query{{"{{instance}}", "rate(process_cpu_seconds_total" + instances + "[$__rate_interval])"}}},
		{title: "File descriptors", about: "Each stream takes one, over HTTP/2 each connection.", unit: "short", queries: []query{
			{"open: {{instance}}", "process_open_fds" + instances},
			{"limit: {{instance}}", "process_max_fds" + instances}}},
		{title: "Lean streams", about: "Streams that are live, by whether they are lean, and why not. The others take the memory of a request each.", unit: "short",
			queries: []query{{"{{lean}} {{reason}}", sum("streams_lean", "lean, reason")}}},
		{title: "Outlet lag", about: "How long a lean stream that is woken waits for its turn.", unit: "s",
			queries: []query{{"{{instance}}", "caddy_redis_sse_outlet_lag_seconds" + instances}}},
	}},
}

// sum is a gauge over all chosen gateways, by a label.
func sum(metric, by string) string {
	return fmt.Sprintf("sum by (%s) (caddy_redis_sse_%s%s)", by, metric, chosen)
}

// rate is a counter's a second over all chosen gateways, by a label unless that is empty.
func rate(metric, by string) string {
	if by == "" {
		return fmt.Sprintf("sum(rate(caddy_redis_sse_%s%s[$__rate_interval]))", metric, chosen)
	}
	return fmt.Sprintf("sum by (%s) (rate(caddy_redis_sse_%s%s[$__rate_interval]))", by, metric, chosen)
}

// quantiles are p50, p95 and p99 of a histogram over all chosen gateways.
func quantiles(metric string) (queries []query) {
	for _, q := range []struct{ name, share string }{{"p50", "0.5"}, {"p95", "0.95"}, {"p99", "0.99"}} {
		queries = append(queries, query{q.name, fmt.Sprintf("histogram_quantile(%s, sum by (le) (rate(caddy_redis_sse_%s_bucket%s[$__rate_interval])))",
			q.share, metric, chosen)})
	}
	return queries
}
