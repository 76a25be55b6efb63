package redissse

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// referenceMetric is a documented metric.
type referenceMetric struct {
	name, kind string
	labels     []string
}

func referenceMetrics(t *testing.T) []referenceMetric {
	t.Helper()
	var metrics []referenceMetric
	for _, row := range referenceRows(t, "## Metrics", "metric") {
		metrics = append(metrics, referenceMetric{strings.Trim(row["metric"], "`"), row["type"], code(row["labels"])})
	}
	return metrics
}

func TestTheReferenceHasTheMetricsOfTheCodeAndNoOther(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	if err := registerMetrics(registry, hubCollector{}); err != nil {
		t.Fatal(err)
	}
	newHubMetrics("reference")
	newRouteMetrics("reference", "route").lean(leanFull, leanWhole)
	metricDataLeft.WithLabelValues("reference", "route")
	newPublishMetrics("reference", "route")
	newInvalidRequests("route").begin("reference", zap.NewNop())
	s, err := new(Hub).resolve()
	if err != nil {
		t.Fatal(err)
	}
	l, err := claimHub(hubKey{name: "reference"}, s, zap.NewNop()) // at rest
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var real, documented []string
	for _, f := range families {
		var labels []string
		for _, label := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, label.GetName())
		}
		real = append(real, fmt.Sprint(f.GetName(), strings.ToLower(f.GetType().String()), labels))
	}
	for _, m := range referenceMetrics(t) {
		documented = append(documented, fmt.Sprint(m.name, m.kind, slices.Sorted(slices.Values(m.labels))))
	}
	sameWords(t, "metric", documented, real)
}

func TestEachLabelOfAMetricIsExplained(t *testing.T) {
	var explained, used []string
	for _, row := range referenceRows(t, "## Metrics", "label") {
		explained = append(explained, code(row["label"])[0])
	}
	for _, m := range referenceMetrics(t) {
		used = append(used, m.labels...)
		if !slices.Contains([]string{"counter", "gauge", "histogram"}, m.kind) || !strings.HasPrefix(m.name, "caddy_redis_sse_") {
			t.Errorf("%s is a %s", m.name, m.kind)
		}
	}
	sameWords(t, "label", explained, used)
}
