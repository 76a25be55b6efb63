module github.com/redis-sse/caddy-redis-sse/examples/monitoring/dashboard

go 1.26.0

// A release from before the form of a dashboard that every Grafana since 10 imports was marked as old there: the one that is preferred
// since then is for Grafana 12 and later only.
require github.com/grafana/grafana-foundation-sdk/go v0.0.12
