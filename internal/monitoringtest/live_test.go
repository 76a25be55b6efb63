//go:build linux && monitoring

package monitoringtest

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// silence is for how long nothing has happened before the faults begin: the longest of what alerts wait for here, and some scrapes.
const silence = longest + 4*scrapeEvery

func TestAlertsAndDashboard(t *testing.T) {
	w := newWorld(t)
	p := startPrometheus(t, w.addrs()...)
	w.goWell()
	proctest.Poll(t, "an ordinary time to pass", func() bool { return time.Since(p.began) > silence })
	if now := w.ordinary(p.firing()); len(now) > 0 {
		t.Fatalf("without a fault these fire: %v", now)
	}

	for _, f := range faults {
		f.begin(w)
	}
	w.redis["well"].KillPubSub() // once is ordinary, too
	w.well.reload()
	w.well.restart()
	awaitAlerts(t, p, w.expected()...)

	// Back again, and away.
	w.redis["down"].Restart()
	w.starved.process.Kill()
	awaitAlerts(t, p, alert{"RedisSSEGatewayAbsent", w.starved.admin, ""})
	proctest.Poll(t, "alerts of a Redis that is back to end", func() bool {
		now := p.firing()
		return !now[alert{"RedisSSEHubDown", w.ill.admin, "down"}] && !now[alert{"RedisSSEBreakerOpen", w.ill.admin, "down"}]
	})

	t.Run("each alert has fired", func(t *testing.T) { eachHasFired(t, p) })
	t.Run("annotations", func(t *testing.T) { annotations(t, p) })
	t.Run("silent where all is well", func(t *testing.T) { silentWhereAllIsWell(t, p, w) })
	t.Run("panels", func(t *testing.T) { panels(t, p) })
	t.Run("variables", func(t *testing.T) { variables(t, p) })
	t.Run("metrics", func(t *testing.T) { checkMetrics(t, w.ill) })
	t.Run("picture", func(t *testing.T) { picture(t, p) })
}

// ordinary leaves out what the gateway of another version has from the first scrape on, and what is short of memory from its start.
func (w *world) ordinary(firing map[alert]bool) (others []alert) {
	for a := range firing {
		switch {
		case a.name == "RedisSSEVersionsDiffer", a.name == "RedisSSEOutletsLate" && a.gateway == w.old:
		case a.name == "RedisSSEMemory" && a.gateway == w.starved.admin:
		case a.name == "RedisSSEDeliveryNotProved" && a.hub == "denied": // its ACL is what it is from the start
		default:
			others = append(others, a)
		}
	}
	return others
}

// expected are the alerts of all faults.
func (w *world) expected() (all []alert) {
	for _, f := range faults {
		for _, name := range f.alerts {
			all = append(all, alert{name, f.of(w).admin, f.hub})
		}
	}
	return append(all, alert{"RedisSSEVersionsDiffer", "", ""}, alert{"RedisSSEOutletsLate", w.old, ""})
}

// awaitAlerts returns when each of these has fired.
func awaitAlerts(t *testing.T, p *prometheus, want ...alert) {
	t.Helper()
	missing := map[alert]bool{}
	for _, a := range want {
		missing[a] = true
	}
	all := func() bool {
		for a := range p.firing() {
			delete(missing, a)
		}
		return len(missing) == 0
	}
	if !proctest.Within(proctest.Patience, all) {
		t.Fatalf("these do not fire: %v", slices.Collect(maps.Keys(missing)))
	}
}

func eachHasFired(t *testing.T, p *prometheus) {
	fired := map[string]bool{}
	for _, s := range p.now(`count_over_time(ALERTS{alertstate="firing"}[1h])`) {
		fired[s.Labels["alertname"]] = true
	}
	for _, name := range alertNames(t) {
		if !fired[name] {
			t.Errorf("%s has not fired: no fault is for it", name)
		}
	}
}

// annotations wants those of all alerts that fire to have become a text.
func annotations(t *testing.T, p *prometheus) {
	var found struct {
		Alerts []struct{ Labels, Annotations map[string]string }
	}
	p.get("/api/v1/alerts", nil, &found)
	if len(found.Alerts) == 0 {
		t.Error("none fires")
	}
	for _, a := range found.Alerts {
		for name, text := range a.Annotations {
			if strings.Contains(text, "{{") || strings.Contains(text, "<") || strings.Contains(text, "NaN") {
				t.Errorf("%s of %s is %q", name, a.Labels["alertname"], text)
			}
		}
		t.Logf("%s: %s. %s", a.Labels["alertname"], a.Annotations["summary"], a.Annotations["description"])
	}
}

// silentWhereAllIsWell looks at the whole run, a reload and a restart included.
func silentWhereAllIsWell(t *testing.T, p *prometheus, w *world) {
	for _, s := range p.now(`count_over_time(ALERTS{alertstate="firing",instance="` + w.well.admin + `"}[1h])`) {
		t.Errorf("it fires of the gateway that is well: %v", s.Labels)
	}
	if len(p.now(`count_over_time(caddy_redis_sse_redis_up{instance="`+w.well.admin+`"}[1h])`)) == 0 {
		t.Error("nothing is known of it")
	}
}

// panels wants each query of the dashboard to have returned something else than nothing, NaN and zeros.
func panels(t *testing.T, p *prometheus) {
	for _, c := range readDashboard(t).charts() {
		if len(c.Targets) == 0 {
			t.Errorf("%s has no query", c.Title)
		}
		for _, target := range c.Targets {
			if !slices.ContainsFunc(p.since(substituted(t, target.Expr)), moves) {
				t.Errorf("%s: nothing comes of %s", c.Title, target.Expr)
			}
		}
	}
}

func moves(s series) bool {
	return slices.ContainsFunc(s.Values, func(at sample) bool { return at.value > 0 && !math.IsInf(at.value, 0) })
}

// substituted is a query as Grafana sends it when all gateways and all hubs are chosen.
func substituted(t *testing.T, expr string) string {
	t.Helper()
	expr = strings.NewReplacer("$instance", ".*", "$hub", ".*", "$__rate_interval", rateInterval.String()).Replace(expr)
	if strings.Contains(expr, "$") {
		t.Errorf("what is a variable of %s?", expr)
	}
	return expr
}
