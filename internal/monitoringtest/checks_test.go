//go:build linux && monitoring

package monitoringtest

import (
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestPromtoolIsContent(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = exampleDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// variables wants each variable of the dashboard that is asked for to have values.
func variables(t *testing.T, p *prometheus) {
	asked := 0
	for _, v := range readDashboard(t).Templating.List {
		if v.Type != "query" {
			continue
		}
		asked++
		parts := labelValues.FindStringSubmatch(v.Query)
		if parts == nil {
			t.Errorf("%s is asked for by %q", v.Name, v.Query)
			continue
		}
		var values []string
		p.get("/api/v1/label/"+parts[2]+"/values", url.Values{"match[]": {substituted(t, parts[1])}}, &values)
		if len(values) < 2 {
			t.Errorf("%s has the values %q", v.Name, values)
		}
	}
	if asked < 2 {
		t.Errorf("there are %d such variables", asked)
	}
}

// checkMetrics has promtool look at what is this module's, and wants each metric of the reference to be there.
func checkMetrics(t *testing.T, g *gateway) {
	var own strings.Builder
	var names []string
	for line := range strings.Lines(get(t, g.admin, "/metrics")) {
		if regexp.MustCompile(`^(# \w+ )?caddy_redis_sse_`).MatchString(line) {
			own.WriteString(line)
		}
		if words := strings.Fields(line); len(words) == 4 && words[1] == "TYPE" {
			names = append(names, words[2])
		}
	}
	for _, name := range ownMetrics(t) {
		if !slices.Contains(names, name) {
			t.Errorf("there is no %s", name)
		}
	}
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(own.String())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
