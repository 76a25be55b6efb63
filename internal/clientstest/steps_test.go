//go:build clients && linux

package clientstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// firstSteps returns what the README has somebody type for a first stream: the indented lines of that section.
func firstSteps(t *testing.T) (typed []string) {
	t.Helper()
	within := false
	for _, line := range lines(t, readmeFile) {
		if strings.HasPrefix(line, "#") {
			within = line == "## "+firstCaddyfile.heading
		}
		if text, indented := strings.CutPrefix(line, "       "); within && indented {
			typed = append(typed, text)
		}
	}
	return typed
}

// newcomer is somebody who types the README's steps, in an empty directory.
type newcomer struct {
	t     *testing.T
	dir   string
	addr  string // in the place of localhost:8088
	env   []string
	redis *redistest.Server // in the place of one on port 6379
	curl  *proctest.Process // the second terminal

	published string // what was typed to publish
}

// The steps are typed as they stand, in a shell. Only what other tests could have, too, is another one: the address, and by an
// option before the Caddyfile's site and a redis-cli that has one, the port of Redis. And nothing is built a second time.
func TestFirstStreamAsTyped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := &newcomer{t: t, dir: dir, addr: proctest.FreeAddr(t), redis: redistest.Start(t)}
	n.env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, n.redis.CLI())
	write(t, dir, "Caddyfile", options+"\tredis_sse {\n\t\tredis "+n.redis.URL()+"\n\t}\n}\n"+
		code(t, firstCaddyfile, "localhost:8088", n.addr))

	want := []string{"make build", "./caddy run", "curl", "redis-cli PUBLISH", "new EventSource"}
	steps := firstSteps(t)
	if len(steps) != len(want) {
		t.Fatalf("the steps are %q, want %d", steps, len(want))
	}
	for i, do := range []func(typed string){n.build, n.run, n.listen, n.publish, n.typeIntoPage} {
		if !strings.HasPrefix(steps[i], want[i]) {
			t.Fatalf("step %d is %q, want %q ...", i+1, steps[i], want[i])
		}
		do(steps[i])
	}
}

// shell prepares a command line.
func (n *newcomer) shell(typed string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(typed, "localhost:8088", n.addr))
	cmd.Dir, cmd.Env = n.dir, n.env
	return cmd
}

// build has "make build" done already. That it makes ./caddy is what the Makefile says.
func (n *newcomer) build(string) {
	n.t.Helper()
	if err := os.Symlink(proctest.Caddy(n.t), filepath.Join(n.dir, "caddy")); err != nil {
		n.t.Fatal(err)
	}
	out, err := exec.Command("make", "-C", "../..", "--dry-run", "build").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-output ./caddy") {
		n.t.Errorf("make build does %s (%v), want ./caddy", out, err)
	}
}

func (n *newcomer) run(typed string) {
	n.t.Helper()
	proctest.Start(n.t, n.shell(typed)).AwaitListening(n.t, n.addr)
}

func (n *newcomer) listen(typed string) {
	n.t.Helper()
	n.curl = proctest.Start(n.t, n.shell(typed))
	n.curl.Poll(n.t, "curl to show a cursor", func() bool { return strings.Contains(n.curl.Log(), "event: cursor\n") })
}

// publish wants the second terminal to show one more message.
func (n *newcomer) publish(typed string) {
	n.t.Helper()
	n.published = typed
	shown := "\ndata: " + typed[strings.LastIndex(typed, " ")+1:] + "\n"
	before := strings.Count(n.curl.Log(), shown)
	if out, err := n.shell(typed).CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v\n%s", typed, err, out)
	}
	n.curl.Poll(n.t, "curl to show"+shown, func() bool { return strings.Count(n.curl.Log(), shown) > before })
}

// typeIntoPage types into the console of the page, which is empty, and publishes until that has told of it.
func (n *newcomer) typeIntoPage(typed string) {
	n.t.Helper()
	url := "http://" + n.addr + "/"
	openPage(n.t, url)
	c, err := oneChromium()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := c.do(map[string]any{"command": "type", "page": url, "url": url, "script": typed}); err != nil {
		n.t.Fatal(err)
	}
	proctest.Poll(n.t, "the console to show a message", func() bool {
		n.publish(n.published)
		logged, err := c.ask(map[string]any{"command": "logged", "page": url})
		if err != nil {
			n.t.Fatal(err)
		}
		return strings.Contains(logged, "hello")
	})
}
