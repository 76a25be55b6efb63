//go:build linux

package monitoringtest

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The files that are tested, seen from here.
const (
	exampleDir    = "../../examples/monitoring/"
	scrapeFile    = exampleDir + "prometheus.yml"
	alertsFile    = exampleDir + "alerts.yml"
	dashboardFile = exampleDir + "grafana-dashboard.json"
)

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// panel is one of the dashboard's, as far as its data is concerned.
type panel struct {
	Title   string
	Type    string
	Targets []struct{ Expr, LegendFormat string }

	FieldConfig struct{ Defaults struct{ Unit string } }
}

// dashboard is the file, as Grafana reads it.
type dashboard struct {
	Panels     []panel
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// charts are the panels that are not rows.
func (d dashboard) charts() (charts []panel) {
	for _, p := range d.Panels {
		if p.Type != "row" {
			charts = append(charts, p)
		}
	}
	return charts
}

var alertLine = regexp.MustCompile(`(?m)^ +- alert: (\w+)$`)

// alertNames are those of all rules, in their order.
func alertNames(t *testing.T) (names []string) {
	t.Helper()
	for _, found := range alertLine.FindAllStringSubmatch(read(t, alertsFile), -1) {
		names = append(names, found[1])
	}
	if len(names) < 10 {
		t.Fatalf("%s has %d alerts", alertsFile, len(names))
	}
	return names
}

var ownMetric = regexp.MustCompile("`(caddy_redis_sse_[a-z0-9_]+)`")

// ownMetrics are those that the reference names in its table.
func ownMetrics(t *testing.T) (names []string) {
	t.Helper()
	_, table, _ := strings.Cut(read(t, "../../docs/reference.md"), "\n## Metrics\n")
	for line := range strings.Lines(table) {
		if found := ownMetric.FindStringSubmatch(line); found != nil && strings.HasPrefix(line, "| `caddy_redis_sse_") {
			names = append(names, found[1])
		}
	}
	if len(names) < 30 {
		t.Fatalf("the reference has %d metrics", len(names))
	}
	return names
}
