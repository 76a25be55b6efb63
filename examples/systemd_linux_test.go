package examples_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

const (
	systemdUnit   = "systemd/caddy-redis-sse@.service"
	systemdScript = "systemd/caddy-redis-sse-restart"
)

// It says nothing of a unit that is well. Of a key that it does not know it only says so.
func TestSystemdFindsNothingWrongWithTheUnit(t *testing.T) {
	unit := readFile(t, systemdUnit)
	unit.replace("/usr/bin/caddy", "/bin/true")                // need not be installed here
	unit.replace("/usr/bin/curl", "/bin/true")                 // nor there
	unit.name = strings.Replace(unit.name, "@.", "@check.", 1) // it checks instances only
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit.write(t.TempDir())).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("there is no systemd-analyze: make test installs it")
	}
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// machine plays systemd: it does what the unit says for whoever calls systemctl. dir stands for the root of the file system.
type machine struct {
	t       *testing.T
	dir     string
	redis   *redistest.Server
	addr    string // where the site is
	running map[string]*proctest.Process
	enabled map[string]bool
	calls   chan systemctlCall
}

type systemctlCall struct {
	words  []string
	status chan int
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{
		t: t, dir: t.TempDir(), redis: redistest.Start(t),
		running: map[string]*proctest.Process{}, enabled: map[string]bool{}, calls: make(chan systemctlCall),
	}
	for _, dir := range []string{"bin", "etc", "run", "home"} {
		if err := os.Mkdir(filepath.Join(m.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	site := readFile(t, "systemd/Caddyfile")
	m.addr = site.listen()
	site.replace("\n{\n", "\n{\n\tdefault_bind 127.0.0.1\n")
	site.write(filepath.Join(m.dir, "etc"))
	m.setRedis(m.redis.URL())
	asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		words, _ := io.ReadAll(r.Body) // of the script below
		call := systemctlCall{strings.Fields(string(words)), make(chan int, 1)}
		select {
		case m.calls <- call:
		case <-r.Context().Done(): // the script was killed
			return
		}
		select {
		case status := <-call.status:
			fmt.Fprint(w, status)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(asked.Close)
	m.writeFile("bin/systemctl", "#!/bin/sh\nexit $(curl --silent --data \"$*\" "+asked.URL+")\n")
	return m
}

func (m *machine) writeFile(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o700); err != nil {
		m.t.Fatal(err)
	}
}

// setRedis has instances that start from now on use that Redis.
func (m *machine) setRedis(url string) {
	m.t.Helper()
	m.writeFile("etc/environment", "REDIS_URL="+url+"\n")
}

// install puts a binary in the place of the one before, which may run.
func (m *machine) install(binary string) {
	m.t.Helper()
	place := filepath.Join(m.dir, "bin/caddy")
	if err := errors.Join(os.Symlink(binary, place+".new"), os.Rename(place+".new", place)); err != nil {
		m.t.Fatal(err)
	}
}

// unit are the settings of an instance.
func (m *machine) unit(instance string) map[string]string {
	m.t.Helper()
	f := readFile(m.t, systemdUnit)
	for real, here := range map[string]string{"/usr/bin/caddy": "bin/caddy", "/etc/caddy/": "etc/", "/run/caddy-": "run/caddy-"} {
		f.replace(real, m.dir+"/"+here)
	}
	f.replace("%i", instance)
	settings := map[string]string{}
	for line := range strings.Lines(f.text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = value
		}
	}
	return settings
}

// start is false if what comes after the start fails.
func (m *machine) start(instance string) bool {
	m.t.Helper()
	unit := m.unit(instance)
	if err := os.MkdirAll(filepath.Join(m.dir, "run", unit["RuntimeDirectory"]), 0o700); err != nil {
		m.t.Fatal(err)
	}
	environment, err := os.ReadFile(strings.TrimPrefix(unit["EnvironmentFile"], "-"))
	if err != nil {
		m.t.Fatal(err)
	}
	words := strings.Fields(unit["ExecStart"])
	cmd := exec.Command(words[0], words[1:]...)
	home := filepath.Join(m.dir, "home") // both have the same
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home, unit["Environment"], strings.TrimSpace(string(environment)))
	m.running[instance] = proctest.Start(m.t, cmd)
	words = strings.Fields(unit["ExecStartPost"])
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		m.t.Logf("ExecStartPost: %v\n%s", err, out)
		m.stop(instance)
		return false
	}
	return true
}

func (m *machine) stop(instance string) {
	m.t.Helper()
	m.running[instance].Signal(m.t, syscall.SIGTERM)
	m.running[instance].AwaitExit(m.t)
	if strings.Contains(m.running[instance].Log(), "REDIS_URL=") {
		m.t.Error("what may have a password is in the journal")
	}
	delete(m.running, instance)
}

// systemctl does what is asked, and returns its exit status.
func (m *machine) systemctl(words []string) int {
	m.t.Helper()
	words = slices.DeleteFunc(words, func(w string) bool { return w == "--quiet" })
	if len(words) != 2 {
		m.t.Fatalf("systemctl %q", words)
	}
	instance := strings.TrimSuffix(strings.TrimPrefix(words[1], "caddy-redis-sse@"), ".service")
	switch words[0] {
	case "is-active":
		if m.running[instance] == nil {
			return 3
		}
	case "start":
		if !m.start(instance) {
			return 1
		}
	case "stop":
		m.stop(instance)
	case "enable", "disable":
		m.enabled[instance] = words[0] == "enable"
	default:
		m.t.Fatalf("systemctl %q", words)
	}
	return 0
}

// restart runs the script as an operator does, and returns what it said.
func (m *machine) restart(env ...string) (said string, err error) {
	m.t.Helper()
	script := readFile(m.t, systemdScript)
	script.replace("/run/$unit", filepath.Join(m.dir, "run/$unit"))
	cmd := exec.Command("sh", script.write(m.dir))
	cmd.Env = append(append(os.Environ(), "PATH="+filepath.Join(m.dir, "bin")+":"+os.Getenv("PATH")), env...)
	p := proctest.Start(m.t, cmd)
	for {
		select {
		case <-p.Exited():
			return p.Log(), p.Wait()
		case call := <-m.calls:
			call.status <- m.systemctl(call.words)
		case <-time.After(3 * proctest.Patience):
			m.t.Fatalf("the script goes on: %s", p.Log())
		}
	}
}

// judgeRuns wants one instance to run, which is the one that comes up with the machine.
func (m *machine) judgeRuns(want string) {
	m.t.Helper()
	running := slices.Collect(maps.Keys(m.running))
	if !slices.Equal(running, []string{want}) || !m.enabled[want] || m.enabled[map[string]string{"a": "b", "b": "a"}[want]] {
		m.t.Errorf("%v run, enabled are %v; want %s", running, m.enabled, want)
	}
}

// numbers publishes 1, 2, 3 ... on each of these channels until the function that it returns is called. That tells the last one.
func numbers(t *testing.T, redis *redistest.Server, channels ...string) (stop func() (last int)) {
	t.Helper()
	quit, last := make(chan struct{}), 0
	var failed error
	var running sync.WaitGroup
	running.Go(func() {
		every := time.NewTicker(5 * time.Millisecond)
		defer every.Stop()
		for failed == nil {
			last++
			for _, channel := range channels {
				if _, err := redis.TryPublish(channel, strconv.Itoa(last)); err != nil {
					failed = err
				}
			}
			select {
			case <-quit:
				return
			case <-every.C:
			}
		}
	})
	end := sync.OnceFunc(func() { close(quit); running.Wait() })
	t.Cleanup(end)
	return func() int {
		end()
		if failed != nil {
			t.Errorf("publishing: %v", failed)
		}
		return last
	}
}

// history is what an EventSource was told.
type history struct {
	next   map[string]int // by channel: the number to come
	epochs map[uint64]bool
	opened int
	wrong  []string
}

func historyOf(s *ssetest.EventSource) *history {
	h := &history{next: map[string]int{}, epochs: map[uint64]bool{}}
	for _, r := range s.Log() {
		switch {
		case r.What == ssetest.Opened:
			h.opened++
		case r.What == ssetest.Stopped:
			h.wrong = append(h.wrong, fmt.Sprintf("stopped by %d", r.Status))
		case r.What == ssetest.Received && r.Event.Type == "gap":
			h.wrong = append(h.wrong, r.Event.Data)
		case r.What == ssetest.Received && r.Event.Type != "cursor":
			h.message(r.Event)
		}
	}
	return h
}

func (h *history) message(e ssetest.Event) {
	n, err := strconv.Atoi(e.Data)
	if next := h.next[e.Type]; err != nil || next != 0 && n != next {
		h.wrong = append(h.wrong, fmt.Sprintf("%s: %q after %d (id %s)", e.Type, e.Data, next-1, e.ID))
	}
	h.next[e.Type] = n + 1
	place, ok := ssetest.PlaceOf(e.ID)
	if !ok {
		h.wrong = append(h.wrong, fmt.Sprintf("%s: no id of ours: %q", e.Type, e.ID))
	}
	h.epochs[place.Epoch] = true
}

// judgeHistory wants all of an EventSource's channels without a gap, a loss or a duplicate up to the last message, from this many
// processes.
func judgeHistory(t *testing.T, s *ssetest.EventSource, channels []string, last, processes int) {
	t.Helper()
	var h *history
	complete := func() bool {
		h = historyOf(s)
		return !slices.ContainsFunc(channels, func(c string) bool { return h.next[c] != last+1 })
	}
	if !proctest.Within(proctest.Patience, complete) {
		t.Errorf("the last message is %d; of the channels comes next %v", last, h.next)
	}
	if len(h.wrong) > 0 || len(h.epochs) != processes {
		t.Errorf("%d wrong, first %q; by %d processes, want %d", len(h.wrong), h.wrong[:min(5, len(h.wrong))], len(h.epochs), processes)
	}
}

// A new binary, and then another one, takes over under traffic, and nobody is told. One that gets nothing from Redis does not.
func TestANewBinaryTakesOverWithoutALoss(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.install(proctest.Caddy(t))
	proctest.RacingCaddy(t) // another build, which takes its time
	if said, err := m.restart(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	m.judgeRuns("a")
	jobs := []string{"job:1", "job:2"}
	stop := numbers(t, m.redis, "news", "job:1", "job:2")
	clients := map[string][]*ssetest.EventSource{}
	for _, path := range []string{"/events", "/jobs"} {
		for range 6 {
			s := ssetest.StartEventSource(t, newClient(t), "http://"+m.addr+path)
			s.AwaitOpened()
			clients[path] = append(clients[path], s)
		}
	}
	all := slices.Concat(clients["/events"], clients["/jobs"])

	nowhere := proctest.FreeAddr(t)
	m.setRedis("redis://" + nowhere)
	if said, err := m.restart("PROVED_WITHIN=1"); err == nil || !strings.Contains(said, "nothing has changed") {
		t.Errorf("a process without Redis took over: %v, %s", err, said)
	}
	m.judgeRuns("a")
	if i := slices.IndexFunc(all, func(s *ssetest.EventSource) bool { return historyOf(s).opened != 1 }); i >= 0 {
		t.Errorf("client %d was sent away for a process without Redis", i)
	}

	m.setRedis(m.redis.URL())
	for i, next := range []struct{ binary, instance string }{{proctest.RacingCaddy(t), "b"}, {proctest.Caddy(t), "a"}} {
		m.install(next.binary)
		if said, err := m.restart(); err != nil {
			t.Fatalf("restart %d: %v, %s", i+1, err, said)
		}
		m.judgeRuns(next.instance)
		m.running[next.instance].Poll(t, "the clients to come over", func() bool {
			return !slices.ContainsFunc(all, func(s *ssetest.EventSource) bool { return len(historyOf(s).epochs) < i+2 })
		})
	}
	last := stop()
	for _, s := range clients["/events"] {
		judgeHistory(t, s, []string{"message"}, last, 3)
	}
	for _, s := range clients["/jobs"] {
		judgeHistory(t, s, jobs, last, 3)
	}
	if t.Failed() {
		t.Logf("the site's Caddyfile is %s", bytes.TrimSpace([]byte(readFile(t, "systemd/Caddyfile").text)))
	}
}
