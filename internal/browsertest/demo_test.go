//go:build browser && linux

package browsertest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// The demo page in Chromium, over both HTTP versions: what it shows while all is well, while Redis is away, and after. The
// pictures are for somebody to look at.
func TestDemoPageTellsOfTheGap(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(proctest.Dir(), "demo")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Dir = "../../examples/demo"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the demo: %v\n%s", err, out)
	}
	shots := screenshotDir(t)
	for _, proto := range bothProtos {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			d := openDemo(t, bin, proto)
			d.wait("#pill[data-state=open]")
			d.wait("#events li:nth-child(25)")
			d.shows("#checks", "nothing lost silently", 2)
			d.shows(".proto", "page over "+strings.TrimSuffix(proto, ".0"), 1)
			d.screenshots(shots, "connected")

			d.do(command{"command": "click", "selector": "#restart"})
			d.wait("#restart:disabled")
			d.screenshots(shots, "outage")
			d.shows("#pill", "open", 1)

			d.wait("#restart:enabled")
			d.wait(".badge.covered >> nth=1") // both channels go on
			d.shows("li.gap", "lost here: redis_disconnected", 2)
			d.shows("#checks", "nothing lost silently", 2)
			d.shows("#checks", ", 0 missing, 0 duplicates; missing covered by a gap: ", 2)
			d.screenshots(shots, "gap")
		})
	}
}

// demoPage is the demo's page in a tab.
type demoPage struct {
	t       *testing.T
	browser *chromium
	tab     string
	proto   string
}

func openDemo(t *testing.T, bin, proto string) *demoPage {
	t.Helper()
	b, err := oneChromium()
	if err != nil {
		t.Fatal(err)
	}
	_, plain, _ := net.SplitHostPort(proctest.FreeAddr(t))
	_, secure, _ := net.SplitHostPort(proctest.FreeAddr(t))
	dir := t.TempDir()
	cmd := exec.Command(bin, "-http", plain, "-https", secure)
	cmd.Env = append(os.Environ(), "REDIS_URL=", "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "TMPDIR="+dir)
	url := "http://localhost:" + plain
	if proto == httpTwo {
		url = "https://localhost:" + secure
	}
	demo := proctest.Start(t, cmd)
	demo.Poll(t, "the demo to run", func() bool { return strings.Contains(demo.Log(), "Ctrl-C stops it") })

	d := &demoPage{t: t, browser: b, tab: fmt.Sprintf("tab-%d", tabs.Add(1)), proto: proto}
	if err := b.open(d.tab, url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(d.tab); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *demoPage) do(cmd command) string {
	d.t.Helper()
	cmd["page"] = d.tab
	value, err := d.browser.do(cmd)
	if err != nil {
		d.t.Fatal(err)
	}
	return value
}

// wait returns when there is an element.
func (d *demoPage) wait(selector string) {
	d.t.Helper()
	d.do(command{"command": "wait", "selector": selector})
}

// shows checks that a text stands so often in what somebody sees of some elements.
func (d *demoPage) shows(selector, text string, times int) {
	d.t.Helper()
	all := d.do(command{"command": "text", "selector": selector})
	if n := strings.Count(all, text); n != times {
		d.t.Errorf("%q is there %d times in %s, want %d:\n%s", text, n, selector, times, all)
	}
}

// screenshots takes one as on a desk and one as on a phone, on screens as high as the page: of a higher page Chromium at times
// painted the top several times over.
func (d *demoPage) screenshots(dir, state string) {
	d.t.Helper()
	for _, size := range []struct {
		name          string
		width, height int
	}{{"phone", 390, 1950}, {"desk", 1280, 1130}} {
		d.do(command{"command": "size", "width": size.width, "height": size.height})
		name := fmt.Sprintf("%s-%s-%s.png", state, size.name, strings.ReplaceAll(d.proto, "/", ""))
		d.do(command{"command": "screenshot", "path": filepath.Join(dir, name)})
	}
}

// screenshotDir is where pictures go: what SCREENSHOTS names, else among the test's artifacts.
func screenshotDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return t.ArtifactDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
