//go:build clients && linux

package clientstest

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// guidesDir has the guides, each of which is a directory's worth of files and the commands that run them.
const guidesDir = "docs/guides"

// guideTests are what runs each guide.
var guideTests = map[string]func(t *testing.T){
	"notifications.md":            TestNotificationsGuide,
	"job-progress.md":             TestJobProgressGuide,
	"dashboards.md":               TestDashboardsGuide,
	"publishing-from-browsers.md": TestPublishingFromBrowsersGuide,
	"llm-streaming.md":            TestLLMStreamingGuide,
}

func TestEveryGuideIsRun(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("../..", guidesDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if guideTests[entry.Name()] == nil {
			t.Errorf("nothing runs %s/%s", guidesDir, entry.Name())
		}
	}
	if len(entries) != len(guideTests) {
		t.Errorf("%s has %d guides, want the %d that are run", guidesDir, len(entries), len(guideTests))
	}
}

// guide is a guide that somebody has followed: its files in a directory, and a Redis. A block that the test has not asked for by
// its end fails it.
type guide struct {
	t      *testing.T
	file   string
	redis  *redistest.Server
	site   string // the URL that the Caddyfile serves
	app    string // the app's address
	dir    string
	bin    string // what comes first on PATH
	client *http.Client
	oldNew []string
	blocks []block
	used   []bool
}

// The files of a guide, by the language of their blocks; the heading of the first in it names the file, and further ones are added to
// its end. What else it has are commands (sh) and what those print (text).
var guideFiles = map[string]string{"caddyfile": "Caddyfile", "python": "app.py", "js": "app.mjs", "html": "index.html"}

// newGuide makes the files of a guide. In all of its blocks the three addresses are others, and the Caddyfile has what a Caddy of a
// test needs; oldNew is what else is another text in its files.
func newGuide(t *testing.T, name string, oldNew ...string) *guide {
	t.Helper()
	g := &guide{
		t: t, file: guidesDir + "/" + name, redis: redistest.Start(t), dir: moduleDir(t), bin: t.TempDir(),
		client: &http.Client{Transport: &http.Transport{}},
	}
	t.Cleanup(g.client.CloseIdleConnections)
	site, app := proctest.FreeAddr(t), proctest.FreeAddr(t)
	_, sitePort, _ := net.SplitHostPort(site)
	_, appPort, _ := net.SplitHostPort(app)
	g.site, g.app = "http://localhost:"+sitePort, app
	g.oldNew = []string{
		"localhost:8088", "localhost:" + sitePort, "127.0.0.1:8000", app, "port 8000", "port " + appPort,
		"listen(8000", "listen(" + appPort, "127.0.0.1:6379", g.redis.Addr(),
	}
	g.blocks = fileBlocks(t, g.file)
	g.used = make([]bool, len(g.blocks))
	t.Cleanup(g.wantAllUsed)
	g.makeFiles(oldNew...)
	g.makeCommands()
	return g
}

func (g *guide) makeFiles(oldNew ...string) {
	g.t.Helper()
	text := map[string]string{}
	for lang, name := range guideFiles {
		found := g.find(lang, "")
		if want := "`" + name + "`"; len(found) > 0 && g.blocks[found[0]].heading != want {
			g.t.Errorf("%s has its %s under %q, want %s", g.file, lang, g.blocks[found[0]].heading, want)
		}
		for _, i := range found {
			text[name] += g.use(i)
		}
	}
	text["Caddyfile"] = replaced(g.t, text["Caddyfile"], "{\n\tredis_sse {\n", options+"\tredis_sse {\n")
	for pair := range slices.Chunk(oldNew, 2) {
		name, _, _ := strings.Cut(pair[0], ": ")
		text[name] = replaced(g.t, text[name], strings.TrimPrefix(pair[0], name+": "), pair[1])
	}
	for name, text := range text {
		write(g.t, g.dir, name, text)
	}
}

// makeCommands makes what the commands of a guide find: ./caddy, and a redis-cli of its Redis.
func (g *guide) makeCommands() {
	g.t.Helper()
	if err := os.Symlink(proctest.Caddy(g.t), filepath.Join(g.dir, "caddy")); err != nil {
		g.t.Fatal(err)
	}
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		g.t.Fatal(err)
	}
	wrapper := write(g.t, g.bin, "redis-cli", "#!/bin/sh\nexec "+cli+" -p "+strconv.Itoa(g.redis.Port())+` "$@"`+"\n")
	if err := os.Chmod(wrapper, 0o700); err != nil {
		g.t.Fatal(err)
	}
}

// find returns which blocks are in a language and have a text.
func (g *guide) find(lang, has string) (found []int) {
	for i, b := range g.blocks {
		if b.lang == lang && strings.Contains(b.code, has) {
			found = append(found, i)
		}
	}
	return found
}

// block returns what the only one in a language has that has a text.
func (g *guide) block(lang, has string) string {
	g.t.Helper()
	found := g.find(lang, has)
	if len(found) != 1 {
		g.t.Fatalf("%s has %d blocks in %s with %q, want one", g.file, len(found), lang, has)
	}
	return g.use(found[0])
}

// use returns what a block has, with the addresses of the test.
func (g *guide) use(block int) string {
	g.used[block] = true
	return strings.NewReplacer(g.oldNew...).Replace(g.blocks[block].code)
}

func (g *guide) wantAllUsed() {
	for i, b := range g.blocks {
		if !g.used[i] && !g.t.Failed() {
			g.t.Errorf("%s: nothing runs this block under %q, %s:\n%s", g.file, b.heading, b.lang, b.code)
		}
	}
}

// command is a line, or several, as somebody types it in the guide's directory.
func (g *guide) command(text string) *exec.Cmd {
	cmd := exec.Command("sh", "-ec", text)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "PATH="+g.bin+":"+os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1",
		"HOME="+g.bin, "XDG_DATA_HOME="+g.bin, "XDG_CONFIG_HOME="+g.bin)
	return cmd
}

// start runs what the guide starts, each line in a terminal of its own, and returns the processes once the site serves its page.
func (g *guide) start() (processes []*proctest.Process) {
	g.t.Helper()
	for line := range strings.Lines(g.block("sh", "./caddy run")) {
		processes = append(processes, proctest.Start(g.t, g.command("exec "+line)))
	}
	proctest.Poll(g.t, "the page to be served", func() bool {
		response, err := g.client.Get(g.site)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return processes
}

// again starts once more what a line of those begins with.
func (g *guide) again(program string) {
	g.t.Helper()
	for line := range strings.Lines(g.block("sh", "./caddy run")) {
		if strings.HasPrefix(line, program) {
			proctest.Start(g.t, g.command("exec "+line))
			return
		}
	}
	g.t.Fatalf("%s does not start %s", g.file, program)
}

// run returns what a block of commands prints to its end.
func (g *guide) run(has string) string {
	g.t.Helper()
	var out strings.Builder
	cmd := g.command(g.block("sh", has))
	cmd.Stdout = &out
	p := proctest.Start(g.t, cmd)
	if err := p.Wait(); err != nil {
		g.t.Fatalf("%v\n%s%s", err, out.String(), p.Log())
	}
	return out.String()
}

// prints returns once a block of commands, the last of which goes on for ever, has printed a block of text.
func (g *guide) prints(has, textHas string) {
	g.t.Helper()
	parts := strings.Split(strings.TrimSpace(g.block("text", textHas)), "...")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	want := regexp.MustCompile(strings.Join(parts, `.+`))
	p := proctest.Start(g.t, g.command(g.block("sh", has)))
	p.Poll(g.t, "what the guide shows: "+want.String(), func() bool { return want.MatchString(p.Log()) })
	p.Kill()
}

// open opens a page of the site in a tab of a user, who has cookies of their own.
func (g *guide) open(user, url string) *tab {
	g.t.Helper()
	c, err := oneChromium()
	if err != nil {
		g.t.Fatal(err)
	}
	tab := &tab{t: g.t, chromium: c, name: g.file + " " + user + strconv.Itoa(len(url)) + url}
	tab.ask("open", map[string]any{"url": url, "user": g.file + " " + user})
	g.t.Cleanup(func() {
		if err := c.do(map[string]any{"command": "close", "page": tab.name}); err != nil {
			g.t.Error(err)
		}
	})
	return tab
}

// login returns the cookie of a user who has signed in.
func (g *guide) login(user string) (cookie string) {
	g.t.Helper()
	response := ssetest.Do(g.t, g.client, g.site+"/login/"+user, ssetest.WithMethod(http.MethodPost))
	if len(response.Cookies()) != 1 {
		g.t.Fatalf("signing in: %s, cookies %v", response.Status, response.Cookies())
	}
	return "session=" + response.Cookies()[0].Value
}

// post returns the status and the body of an answer to a POST.
func (g *guide) post(path, body, cookie string, options ...ssetest.Option) (status int, answer string) {
	g.t.Helper()
	options = append(options, ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader(body)),
		ssetest.WithHeader("Cookie", cookie), ssetest.WithHeader("Content-Type", "application/json"))
	return ask(g.t, g.site+path, options...)
}

// tab is one of Chromium.
type tab struct {
	t        *testing.T
	chromium *chromium
	name     string
}

func (tab *tab) ask(command string, args map[string]any) string {
	tab.t.Helper()
	args["command"], args["page"] = command, tab.name
	value, err := tab.chromium.ask(args)
	if err != nil {
		tab.t.Fatal(err)
	}
	return value
}

func (tab *tab) click(selector string) {
	tab.t.Helper()
	tab.ask("click", map[string]any{"selector": selector})
}

func (tab *tab) fill(selector, text string) {
	tab.t.Helper()
	tab.ask("fill", map[string]any{"selector": selector, "text": text})
}

func (tab *tab) reload() {
	tab.t.Helper()
	tab.ask("reload", map[string]any{})
}

func (tab *tab) text(selector string) string {
	tab.t.Helper()
	return tab.ask("text", map[string]any{"selector": selector})
}

// eval is what an expression is on the page, as text.
func (tab *tab) eval(expression string) string {
	tab.t.Helper()
	return tab.ask("eval", map[string]any{"expression": expression})
}

// await returns when what the selector finds has a text.
func (tab *tab) await(selector, text string) {
	tab.t.Helper()
	got := ""
	if !proctest.Within(proctest.Patience, func() bool {
		got = tab.text(selector)
		return got == text
	}) {
		tab.t.Fatalf("%s has %q, want %q", selector, got, text)
	}
}

// awaitClosed returns when the page's stream is closed for good.
func (tab *tab) awaitClosed(what string) {
	tab.t.Helper()
	proctest.Poll(tab.t, what+" to be closed", func() bool { return tab.eval("source.readyState") == "2" })
}

// picture takes one of the page if somebody wants some.
func (tab *tab) picture(name string) {
	tab.t.Helper()
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		tab.ask("screenshot", map[string]any{"path": filepath.Join(dir, "guide-"+name+".png")})
	}
}
