//go:build browser && linux

package browsertest

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/browsers"
	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// demoBinary is built once for all tests of the demo.
var demoBinary = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(proctest.Dir(), "demo")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Dir = "../../examples/demo"
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the demo: %w\n%s", err, out)
	}
	return bin, nil
})

// overBothProtos runs a test on a page of a demo of its own, over each HTTP version.
func overBothProtos(t *testing.T, test func(t *testing.T, d *demoPage)) {
	t.Parallel()
	bin, err := demoBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, proto := range bothProtos {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			d := openDemo(t, bin, proto)
			d.wait("#pill[data-state=open]")
			test(t, d)
		})
	}
}

// What the page shows while all is well, while Redis is away, and after. The pictures are for somebody to look at.
func TestDemoPageTellsOfTheGap(t *testing.T) {
	shots := screenshotDir(t)
	overBothProtos(t, func(_ *testing.T, d *demoPage) {
		d.wait("#events li:nth-child(25)")
		d.shows("#checks", "nothing lost silently", 2)
		d.shows(".proto", "page over "+strings.TrimSuffix(d.proto, ".0"), 1)
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

// The page hears no heartbeat, gives the connection up and comes back with its cursor, and nothing is missing.
func TestDemoPageSurvivesALostNetwork(t *testing.T) {
	shots := screenshotDir(t)
	overBothProtos(t, func(_ *testing.T, d *demoPage) {
		d.wait("#events li:nth-child(25)")
		d.do(command{"command": "click", "selector": "#lose"})
		d.wait("#lose:disabled")
		d.wait("#events >> text=not even a heartbeat")
		d.screenshots(shots, "lost")

		d.wait("#news >> text=/back after .* events replayed/")
		d.wait("#lose:enabled")
		d.shows("#sum", "0 missing, 0 duplicates", 1)
		d.shows("#checks", "nothing lost silently", 2)
		d.shows("#checks", "gap", 0)
		d.screenshots(shots, "found")
	})
}

// On a phone, each button and what it does are in view at once.
func TestDemoShowsOnAPhoneWhatAButtonDoes(t *testing.T) {
	shots := screenshotDir(t)
	overBothProtos(t, func(t *testing.T, d *demoPage) {
		d.do(command{"command": "size", "width": 390, "height": 844})
		for _, press := range []struct{ button, says, done string }{
			{"#drop", "you dropped the connection", "#news >> text=/back after .* events replayed/"},
			{"#reload", "you reloaded Caddy", "#news >> text=/back after/"},
			{"#restart", "you stopped Redis", "#restart:enabled"},
			{"#lose", "you lost your network", "#lose:enabled"},
		} {
			d.do(command{"command": "click", "selector": press.button})
			d.wait("#events >> text=" + press.says) // below the buttons it may have made way for what came of it
			for _, seen := range []string{press.button, "#news", "#pill", "#events li:nth-child(3)"} {
				if d.do(command{"command": "inview", "selector": seen}) != "true" {
					t.Errorf("after pressing %s, %s is out of view", press.button, seen)
				}
			}
			d.do(command{"command": "screenshot", "path": d.picture(shots, "pressed-"+press.button[1:]+"-phone")})
			d.wait(press.done)
		}
		d.do(command{"command": "click", "selector": "#ask"})
		d.wait("#answering[data-state=writing]")
		if d.do(command{"command": "inview", "selector": "#reply"}) != "true" {
			t.Error("after pressing #ask, #reply is out of view")
		}
	})
}

// A page that is reloaded in the middle of an answer shows all of it.
func TestDemoAnswerSurvivesAReload(t *testing.T) {
	shots := screenshotDir(t)
	overBothProtos(t, func(t *testing.T, d *demoPage) {
		d.shows("#answering", "How:", 1)
		d.do(command{"command": "click", "selector": "#ask"})
		d.wait("#reply >> text=The worker that writes it")
		before := d.do(command{"command": "text", "selector": "#reply"})
		d.do(command{"command": "reload"})
		d.wait("#answering[data-state=writing]")
		d.screenshots(shots, "answer")
		d.wait("#answering[data-state=done]")
		whole := d.do(command{"command": "text", "selector": "#reply"})
		d.do(command{"command": "reload"})
		d.wait("#answering[data-state=done]")
		again := d.do(command{"command": "text", "selector": "#reply"})

		if len(before) >= len(whole) {
			t.Errorf("the page was reloaded after the end:\n%s", whole)
		}
		curl := strings.Fields(d.do(command{"command": "text", "selector": "#elsewhere code"}))
		want := readAnswer(t, curl[len(curl)-1])
		if whole != want || again != want {
			t.Errorf("the answer that was reloaded in its middle is\n%s\nafter its end\n%s\nwant\n%s", whole, again, want)
		}
	})
}

// readAnswer is the answer as another client gets it, which comes when all is said.
func readAnswer(t *testing.T, url string) (text string) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	s := ssetest.Open(t, &http.Client{Transport: transport}, url)
	for {
		var message struct {
			Token string
			Done  bool
		}
		if err := json.Unmarshal([]byte(s.NextAfterCursors().Data), &message); err != nil {
			t.Fatal(err)
		}
		if message.Done {
			return text
		}
		text += message.Token
	}
}

// What the page shows as its configuration is the short one, which the demo's own tests hold to what runs.
func TestDemoShowsTheConfiguration(t *testing.T) {
	overBothProtos(t, func(_ *testing.T, d *demoPage) {
		d.do(command{"command": "click", "selector": ".how summary"})
		d.wait("#caddyfile >> text=reverse_proxy")
		d.shows("#caddyfile", "redis_sse /events chat:1 job:1", 1)
		d.shows("#caddyfile", "persist_config", 0)
	})
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
	b, err := browsers.OneChromium()
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
	if err := b.Open(d.tab, url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(d.tab); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *demoPage) do(cmd command) string {
	d.t.Helper()
	cmd["page"] = d.tab
	value, err := d.browser.Do(cmd)
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
		d.do(command{"command": "screenshot", "path": d.picture(dir, state+"-"+size.name)})
	}
}

// picture is the file for a picture of that name.
func (d *demoPage) picture(dir, name string) string {
	return filepath.Join(dir, name+"-"+strings.ReplaceAll(d.proto, "/", "")+".png")
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
