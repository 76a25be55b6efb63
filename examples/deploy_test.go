//go:build unix

package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// deployPage is the page whose commands are run here, unless they are marked not-run. Of restartPage all are: the script that
// they call is run by TestANewBinaryTakesOverWithoutALoss.
const (
	deployPage  = "../docs/operations/deploy.md"
	restartPage = "../docs/operations/restart-without-loss.md"
)

// notRun are the first lines of the commands that no test runs, and why.
var notRun = map[string]string{
	"dpkg-divert --divert /usr/bin/caddy.default --rename /usr/bin/caddy":                           "changes the machine",
	`(umask 077; echo "REDIS_URL=redis://gateway:PASSWORD@127.0.0.1:6379" >/etc/caddy/environment)`: "changes the machine, needs systemd",
	`docker run --detach --name gateway --restart unless-stopped \`:                                 "needs Docker",
	"docker compose -f compose.yaml -f compose.monitoring.yaml up --build --detach":                 "needs Docker",
	"kubectl -n web create secret generic redis-sse --from-file=REDIS_URL=redis-url.txt":            "needs a cluster",
	"cp caddy-redis-sse@.service /etc/systemd/system/":                                              "changes the machine, needs systemd",
	"caddy-redis-sse-restart     # starts b, waits, ends a; the next time the other way round":      "needs systemd",
}

// pageBlock is fenced code of a page.
type pageBlock struct{ info, code string }

func blocksOf(t *testing.T, page string) (blocks []pageBlock) {
	t.Helper()
	for _, found := range regexp.MustCompile("(?ms)^ *```(\\S[^\n]*)\n(.*?)^ *```$").FindAllStringSubmatch(readFile(t, page).text, -1) {
		lines := strings.Split(strings.TrimSpace(found[2]), "\n")
		for i := range lines {
			lines[i] = strings.TrimPrefix(lines[i], "   ") // of a list
		}
		blocks = append(blocks, pageBlock{found[1], strings.Join(lines, "\n") + "\n"})
	}
	return blocks
}

// deployBlocksOf are those of the deploy page in a language.
func deployBlocksOf(t *testing.T, info string) (code []string) {
	t.Helper()
	for _, b := range blocksOf(t, deployPage) {
		if b.info == info {
			code = append(code, b.code)
		}
	}
	return code
}

func TestWhatIsNotRunOfThePagesIsListed(t *testing.T) {
	var found []string
	for _, b := range slices.Concat(blocksOf(t, deployPage), blocksOf(t, restartPage)) {
		if !slices.Contains([]string{"sh", "sh not-run", "caddyfile", "yaml"}, b.info) {
			t.Errorf("nothing runs what is %q: %q", b.info, b.code)
		}
		if b.info != "sh not-run" {
			continue
		}
		first, _, _ := strings.Cut(b.code, "\n")
		if found = append(found, first); notRun[first] == "" {
			t.Errorf("not listed as not run: %q", first)
		}
		if out, err := exec.Command("sh", "-nc", b.code).CombinedOutput(); err != nil {
			t.Errorf("%q is no shell: %s", b.code, out)
		}
	}
	for first := range notRun {
		if !slices.Contains(found, first) {
			t.Errorf("listed as not run, but not there: %q", first)
		}
	}
}

// deployCaddyfile is the page's, on loopback.
func deployCaddyfile(t *testing.T) *file {
	t.Helper()
	blocks := deployBlocksOf(t, "caddyfile")
	if len(blocks) != 1 {
		t.Fatalf("the page has %d Caddyfiles", len(blocks))
	}
	return (&file{t: t, name: "Caddyfile", text: blocks[0]}).at("example.com")
}

// An operator's commands, with other addresses.
func TestTheCommandsOfThePageWork(t *testing.T) {
	t.Parallel()
	redis, inner := redistest.Start(t), proctest.FreeAddr(t)
	app := startApp(t, theApp)
	f := deployCaddyfile(t)
	f.replace("http://localhost:9180", "http://"+inner)
	f.replace("127.0.0.1:8000", app.addr)
	p := startCaddy(t, f, "REDIS_URL="+redis.URL())
	p.Poll(t, "it to be ready", func() bool {
		r, _ := get(t, "http://"+inner+"/ready")
		return r.StatusCode == 200
	})
	wantApp(t, "http://"+p.addr+"/")
	s := open(t, "http://"+p.addr+"/events")
	commands := deployBlocksOf(t, "sh")
	if len(commands) != 1 {
		t.Fatalf("the page has %q", commands)
	}
	script := strings.NewReplacer("/etc/caddy/Caddyfile", filepath.Join(p.dir, "Caddyfile"), "localhost:9180", inner).Replace(commands[0])
	cmd := exec.Command("sh", "-euc", script)
	cmd.Env = append(os.Environ(), append(p.env, "PATH="+filepath.Dir(proctest.Caddy(t))+":"+os.Getenv("PATH"))...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	for _, want := range []string{"Valid configuration", `{"status":"ready",`, "\n1\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if strings.Contains(string(out), `"level":"warn"`) {
		t.Errorf("there is a warning: %s", out)
	}
	wantMessages(t, s, "hello")
}

// systemd kills what has not ended by itself, and so does Docker.
func TestAnExitOfThePageIsNotCutShort(t *testing.T) {
	grace := regexp.MustCompile(`(?m)^\tgrace_period (\S+)$`).FindStringSubmatch(deployCaddyfile(t).text)
	if grace == nil {
		t.Fatal("the page's Caddyfile has no grace_period")
	}
	takes, err := time.ParseDuration(grace[1])
	if err != nil {
		t.Fatal(err)
	}
	stop := regexp.MustCompile(`--stop-timeout (\d+) `).FindStringSubmatch(readFile(t, deployPage).text)
	if stop == nil {
		t.Fatal("the page's docker run has no --stop-timeout")
	}
	for name, text := range map[string]string{
		"the drop-in": serviceText(t, "TimeoutStopSec="),
		"docker run":  stop[1] + "s",
	} {
		if given, err := time.ParseDuration(text); err != nil || given < takes+5*time.Second {
			t.Errorf("%s gives it %q: %v", name, text, err)
		}
	}
}

// serviceText is what the drop-in says behind a key.
func serviceText(t *testing.T, key string) string {
	t.Helper()
	_, rest, _ := strings.Cut(readFile(t, "systemd/caddy.service.d/redis-sse.conf").text, "\n"+key)
	value, _, _ := strings.Cut(rest, "\n")
	return value
}
