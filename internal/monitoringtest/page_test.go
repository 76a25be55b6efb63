//go:build linux

package monitoringtest

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	pageFile            = "../../docs/operations/redis-monitoring.md"
	troubleshootingFile = "../../docs/operations/redis-troubleshooting.md"
)

// published is where who is woken finds the page.
const published = "https://github.com/redis-sse/caddy-redis-sse/blob/main/docs/operations/redis-monitoring.md#"

// Each alert leads to a heading of its own, and has a test of its own.
func TestEachAlertIsExplainedAndTested(t *testing.T) {
	page, tests := read(t, pageFile), read(t, exampleDir+"alerts_test.yml")
	_, rules, _ := strings.Cut(read(t, alertsFile), "rules:")
	var headings []string
	for _, found := range regexp.MustCompile(`(?m)^### (RedisSSE\w+)$`).FindAllStringSubmatch(page, -1) {
		headings = append(headings, found[1])
	}
	names := alertNames(t)
	if !slices.Equal(headings, names) {
		t.Errorf("the page explains %q, the alerts are %q", headings, names)
	}
	bodies := alertLine.Split(rules, -1)[1:]
	for i, name := range names {
		for _, has := range []string{"severity: ", "summary: ", "description: ", "runbook_url: " + published + strings.ToLower(name) + "\n"} {
			if !strings.Contains(bodies[i]+"\n", has) {
				t.Errorf("%s has no %s", name, has)
			}
		}
		if !strings.Contains(tests, `alertname="`+name+`"`) {
			t.Errorf("no test is about %s", name)
		}
	}
}

func TestEachMetricIsInTheDashboardAndExplained(t *testing.T) {
	page := read(t, pageFile)
	var queries strings.Builder
	for _, c := range readDashboard(t).charts() {
		for _, target := range c.Targets {
			queries.WriteString(target.Expr + "\n")
		}
	}
	for _, name := range ownMetrics(t) {
		if !regexp.MustCompile(name + `(_bucket)?\{`).MatchString(queries.String()) {
			t.Errorf("no panel has %s", name)
		}
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("the page does not have %s", name)
		}
	}
}

func TestEachPanelIsExplained(t *testing.T) {
	page := read(t, pageFile)
	for _, p := range readDashboard(t).Panels {
		if has := "\n| " + p.Title + " | "; p.Type != "row" && !strings.Contains(page, has) {
			t.Errorf("the page has no row of the panel %q", p.Title)
		}
		if has := "\n### " + p.Title + "\n"; p.Type == "row" && !strings.Contains(page, has) {
			t.Errorf("the page has no section of the row %q", p.Title)
		}
	}
}

// notRun are the blocks of commands that no test runs, and why.
var notRun = []string{
	"prometheus --config.file=examples/monitoring/prometheus.yml\n", // TestAlertsAndDashboard runs it, with other addresses
}

func TestBlocksThatAreNotRunAreListed(t *testing.T) {
	var found []string
	for _, file := range []string{pageFile, troubleshootingFile} {
		for _, b := range shellBlocks(t, file) {
			if !b.run {
				found = append(found, b.code)
			}
		}
	}
	if !slices.Equal(found, notRun) {
		t.Errorf("these blocks are marked as not-run: %q, want %q", found, notRun)
	}
}

// shellBlock is one of commands.
type shellBlock struct {
	code string
	run  bool
}

var shellFence = regexp.MustCompile("(?ms)^```sh( not-run)?\n(.*?)^```$")

func shellBlocks(t *testing.T, file string) (blocks []shellBlock) {
	t.Helper()
	text := read(t, file)
	for _, found := range shellFence.FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, shellBlock{found[2], found[1] == ""})
	}
	if n := strings.Count(text, "\n```sh"); n != len(blocks) || n == 0 {
		t.Fatalf("%s has %d blocks of commands, of which %d have the form", file, n, len(blocks))
	}
	return blocks
}
