//go:build linux && monitoring

package monitoringtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// Time runs scale times as fast: Prometheus asks every half a second instead of every 15, and the ranges of the alerts are a 30th of
// what they are. What an alert waits for is so, too, but no less than shortest: a gateway that restarts on a busy machine takes some
// seconds, whatever the scale. And no more than longest, which only spares time.
const (
	scale    = 30
	shortest = 10 * time.Second
	longest  = 20 * time.Second

	scrapeEvery = 15 * time.Second / scale
)

// rateInterval is what Grafana has for $__rate_interval: four scrapes at the least.
const rateInterval = 8 * scrapeEvery

// prometheus is a running one.
type prometheus struct {
	t     *testing.T
	url   string
	began time.Time
}

// startPrometheus runs it with the example's files, for these gateways.
func startPrometheus(t *testing.T, gateways ...string) *prometheus {
	t.Helper()
	dir, addr := t.TempDir(), proctest.FreeAddr(t)
	write(t, dir, "alerts.yml", scaledAlerts(t))
	config := replaced(t, read(t, scrapeFile),
		"scrape_interval: 15s", "scrape_interval: "+scrapeEvery.String(),
		"evaluation_interval: 15s", "evaluation_interval: "+scrapeEvery.String(),
		"- 127.0.0.1:2019\n", "- "+strings.Join(gateways, "\n          - ")+"\n")
	write(t, dir, "prometheus.yml", config)
	cmd := exec.Command("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+addr, "--log.level=warn")
	cmd.Dir = dir
	proctest.Start(t, cmd).AwaitListening(t, addr)
	return &prometheus{t: t, url: "http://" + addr, began: time.Now()}
}

var (
	alertRange = regexp.MustCompile(`\[(\d+[smh])\]`)
	alertFor   = regexp.MustCompile(`(?m)^( +for: )(\d+[smh])$`)
)

// scaledAlerts are the example's, in a time that is faster.
func scaledAlerts(t *testing.T) string {
	t.Helper()
	faster := func(text string) time.Duration {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d / scale
	}
	rules := alertRange.ReplaceAllStringFunc(read(t, alertsFile), func(text string) string {
		return fmt.Sprintf("[%dms]", faster(text[1:len(text)-1]).Milliseconds())
	})
	return alertFor.ReplaceAllStringFunc(rules, func(line string) string {
		parts := alertFor.FindStringSubmatch(line)
		return fmt.Sprintf("%s%dms", parts[1], min(longest, max(shortest, faster(parts[2]))).Milliseconds())
	})
}

// series is what a query returns of one: numbers in the order of time.
type series struct {
	Labels map[string]string `json:"metric"`
	Value  sample            `json:"value"`
	Values []sample          `json:"values"`
}

// sample is a time in seconds and a number.
type sample struct{ at, value float64 }

// UnmarshalJSON reads Prometheus's form of a sample: [<seconds>, "<number>"].
func (s *sample) UnmarshalJSON(text []byte) (err error) {
	var number string
	if err := json.Unmarshal(text, &[]any{&s.at, &number}); err != nil {
		return err
	}
	s.value, err = strconv.ParseFloat(number, 64)
	return err
}

// now returns the value of an expression.
func (p *prometheus) now(expr string) []series {
	p.t.Helper()
	var result struct{ Result []series }
	p.get("/api/v1/query", url.Values{"query": {expr}}, &result)
	return result.Result
}

// since returns the values of an expression since the beginning of the run.
func (p *prometheus) since(expr string) []series {
	p.t.Helper()
	var result struct{ Result []series }
	p.get("/api/v1/query_range", url.Values{
		"query": {expr}, "step": {scrapeEvery.String()},
		"start": {stamp(p.began)}, "end": {stamp(time.Now())},
	}, &result)
	return result.Result
}

func stamp(at time.Time) string { return fmt.Sprintf("%.3f", float64(at.UnixMilli())/1000) }

// get asks the API, whose answers have what was asked for under data.
func (p *prometheus) get(path string, query url.Values, data any) {
	p.t.Helper()
	response, err := http.Get(p.url + path + "?" + query.Encode())
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	if answer.Status != "success" {
		p.t.Fatalf("%s %q: %s", path, query, answer.Error)
	}
}

// firing returns the alerts that fire now, each with its instance and hub.
func (p *prometheus) firing() map[alert]bool {
	p.t.Helper()
	now := map[alert]bool{}
	for _, s := range p.now(`ALERTS{alertstate="firing"}`) {
		now[alertOf(s)] = true
	}
	return now
}

// alert is one that fires of a gateway, and of a hub if it is about one.
type alert struct{ name, gateway, hub string }

func alertOf(s series) alert {
	return alert{s.Labels["alertname"], s.Labels["instance"], s.Labels["hub"]}
}

func write(t *testing.T, dir, name, text string) (file string) {
	t.Helper()
	file = filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// replaced puts new texts in the place of old ones, each of which is there once: old, new, old, new ...
func replaced(t *testing.T, text string, oldNew ...string) string {
	t.Helper()
	for i := 0; i < len(oldNew); i += 2 {
		if n := strings.Count(text, " "+oldNew[i]); n != 1 {
			t.Fatalf("there are %d of %q, want one, in:\n%s", n, oldNew[i], text)
		}
		text = strings.Replace(text, " "+oldNew[i], " "+oldNew[i+1], 1)
	}
	return text
}
