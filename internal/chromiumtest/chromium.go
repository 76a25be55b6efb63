//go:build linux

package chromiumtest

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// Chromium is a headless Chromium with one tab and a profile of its own, for one goroutine at a time. It is told what to do over a
// pipe, in the DevTools protocol: JSON texts, each with a NUL at its end (https://chromedevtools.github.io/devtools-protocol/).
type Chromium struct {
	t       *testing.T
	process *proctest.Process
	in      *os.File
	out     *os.File
	replies *bufio.Reader
	last    int
	session string // of the tab
}

// Start returns when the tab is there. The browser ends with the test, which fails if there is none on PATH.
func Start(t *testing.T) *Chromium {
	t.Helper()
	bin, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("chromium is not on PATH: install Debian's chromium, then run `make test-clients` again (%v)", err)
	}
	theirIn, in := pipe(t)
	out, theirOut := pipe(t)
	home := t.TempDir()
	cmd := exec.Command(bin, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+home)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	c := &Chromium{t: t, process: proctest.Start(t, cmd), in: in, out: out, replies: bufio.NewReader(out)}
	_, _ = theirIn.Close(), theirOut.Close() // its own by now
	t.Cleanup(c.quit)

	var target struct{ TargetID string }
	c.Do("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	c.Do("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	c.session = attached.SessionID
	return c
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// quit has the browser end by itself: what it has started ends with it, and nothing writes to its directory any more.
func (c *Chromium) quit() {
	_, _ = fmt.Fprint(c.in, `{"id":0,"method":"Browser.close"}`+"\x00")
	if err := c.process.EndSoon(); err != nil {
		c.t.Error(err)
	}
}

// Do executes a command and decodes its result.
func (c *Chromium) Do(method string, params map[string]any, result any) {
	c.t.Helper()
	c.last++
	command := map[string]any{"id": c.last, "method": method, "params": params}
	if c.session != "" {
		command["sessionId"] = c.session
	}
	text, err := json.Marshal(command)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.in.Write(append(text, 0)); err != nil {
		c.t.Fatalf("%s: writing to chromium: %v", method, err)
	}
	if err := c.out.SetReadDeadline(time.Now().Add(proctest.Patience)); err != nil {
		c.t.Fatal(err)
	}
	for {
		text, err := c.replies.ReadBytes(0)
		if err != nil {
			c.t.Fatalf("%s: reading from chromium: %v", method, err)
		}
		var reply struct {
			ID     int // 0 for an event, which nobody asked for
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(text[:len(text)-1], &reply); err != nil {
			c.t.Fatalf("%s: %q: %v", method, text, err)
		}
		if reply.ID != c.last {
			continue
		}
		if reply.Error != nil {
			c.t.Fatalf("%s: %s", method, reply.Error.Message)
		}
		if err := json.Unmarshal(reply.Result, result); err != nil {
			c.t.Fatalf("%s: %s: %v", method, reply.Result, err)
		}
		return
	}
}

// Load returns when the page is there.
func (c *Chromium) Load(url string) {
	c.t.Helper()
	var loaded struct{ ErrorText string }
	c.Do("Page.navigate", map[string]any{"url": url}, &loaded)
	if loaded.ErrorText != "" {
		c.t.Fatalf("loading %s: %s", url, loaded.ErrorText)
	}
	proctest.Poll(c.t, "the page to be loaded", func() bool { return c.Eval(`document.readyState`) == "complete" })
}

// Eval is what an expression is on the page, as text. Of a promise it is what comes of it.
func (c *Chromium) Eval(expression string) string {
	c.t.Helper()
	var got struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	c.Do("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &got)
	if got.ExceptionDetails != nil {
		c.t.Fatalf("%s: %s", expression, got.ExceptionDetails)
	}
	return fmt.Sprint(got.Result.Value)
}

// Screenshots takes one as on a desk and one as on a phone, of what is seen without scrolling. name begins the names of the files,
// which go to the directory that SCREENSHOTS names, else among the test's artifacts.
func (c *Chromium) Screenshots(name string) {
	c.t.Helper()
	for _, size := range []struct {
		name          string
		width, height int
	}{{"phone", 390, 844}, {"desk", 1280, 900}} {
		c.Do("Emulation.setDeviceMetricsOverride", map[string]any{
			"width": size.width, "height": size.height, "deviceScaleFactor": 1, "mobile": size.name == "phone",
		}, &struct{}{})
		var shot struct{ Data string }
		c.Do("Page.captureScreenshot", map[string]any{}, &shot)
		picture, err := base64.StdEncoding.DecodeString(shot.Data)
		if err != nil {
			c.t.Fatal(err)
		}
		path := filepath.Join(screenshotDir(c.t), fmt.Sprintf("%s-%s.png", name, size.name))
		if err := os.WriteFile(path, picture, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
}

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
