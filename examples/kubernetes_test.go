//go:build unix

package examples_test

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// podTemplate is what of the Deployment asks something of Caddy. That all of it is well-formed is tested in its folder.
type podTemplate struct {
	Metadata struct{ Annotations map[string]string }
	Spec     struct{ Containers []podContainer }
}

type podContainer struct {
	Ports []struct {
		Name          string
		ContainerPort string `yaml:"containerPort"`
	}
	StartupProbe   podProbe `yaml:"startupProbe"`
	ReadinessProbe podProbe `yaml:"readinessProbe"`
	LivenessProbe  podProbe `yaml:"livenessProbe"`
}

type podProbe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// port is the number of a port of the pod.
func (c *podContainer) port(t *testing.T, name string) string {
	t.Helper()
	for _, p := range c.Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	t.Fatalf("there is no port %q", name)
	return ""
}

func readPodTemplate(t *testing.T) podTemplate {
	t.Helper()
	var d struct {
		Spec struct{ Template podTemplate }
	}
	if err := yaml.Unmarshal([]byte(readFile(t, "kubernetes/deployment.yaml").text), &d); err != nil {
		t.Fatal(err)
	}
	return d.Spec.Template
}

// pod is a Caddy that runs as the Deployment says.
type pod struct {
	*process
	stream                    string // without the path
	startup, readiness, alive string // the probes
	metrics                   string
	home                      []string // directories that are not in a volume
}

func startPod(t *testing.T, redis *redistest.Server) *pod {
	t.Helper()
	template := readPodTemplate(t)
	c := template.Spec.Containers[0]
	f := readFile(t, "kubernetes/Caddyfile").at("http://:" + c.port(t, "http"))
	inner := proctest.FreeAddr(t)
	f.replace("http://:"+c.port(t, "metrics"), "http://"+inner)
	f.replace("shutdown_delay 10s", "shutdown_delay 1h") // so long that nothing here depends on it
	p := &pod{home: []string{t.TempDir(), t.TempDir()}}
	p.process = startCaddy(t, f, "REDIS_URL="+redis.URL(), "TMPDIR="+p.home[0], "HOME="+p.home[1])
	p.stream = "http://" + p.addr
	for _, env := range p.env {
		if dir, ok := strings.CutPrefix(env, "XDG_CONFIG_HOME="); ok {
			p.home = append(p.home, dir)
		}
	}
	for _, probe := range []struct {
		url *string
		of  podProbe
	}{{&p.startup, c.StartupProbe}, {&p.readiness, c.ReadinessProbe}, {&p.alive, c.LivenessProbe}} {
		if probe.of.HTTPGet.Port != "metrics" {
			t.Errorf("a probe asks the port %q, which clients reach", probe.of.HTTPGet.Port)
		}
		*probe.url = "http://" + inner + probe.of.HTTPGet.Path
	}
	if a := template.Metadata.Annotations; a["prometheus.io/port"] != c.port(t, "metrics") {
		t.Errorf("Prometheus asks the port %q", a["prometheus.io/port"])
	}
	p.metrics = "http://" + inner + template.Metadata.Annotations["prometheus.io/path"]
	return p
}

// awaitProbe returns when a probe gets this status.
func (p *pod) awaitProbe(url string, status int) {
	p.t.Helper()
	p.Poll(p.t, url+" to be "+http.StatusText(status), func() bool {
		r, _ := get(p.t, url)
		return r.StatusCode == status
	})
}

func (p *pod) awaitMetric(line string) {
	p.t.Helper()
	p.Poll(p.t, line, func() bool {
		_, text := get(p.t, p.metrics)
		return strings.Contains(text, line+"\n")
	})
}

func testKubernetes(t *testing.T) {
	redis := redistest.Start(t)
	a, b := startPod(t, redis), startPod(t, redis)
	for _, p := range []*pod{a, b} {
		p.awaitProbe(p.startup, http.StatusOK)
		p.awaitProbe(p.readiness, http.StatusOK)
		p.awaitMetric(`caddy_redis_sse_redis_up{hub="default"} 1`)
		if _, text := get(t, p.stream+"/metrics"); text != "" {
			t.Errorf("clients get the metrics: %q", text)
		}
	}
	goesOnAtAnotherPod(t, redis, a, b)

	s := open(t, a.stream+"/jobs")
	a.Signal(t, syscall.SIGTERM)
	a.awaitProbe(a.readiness, http.StatusServiceUnavailable)
	wantStatus(t, http.StatusOK, a.alive)
	redis.Publish("job:1", "in shutdown_delay")
	wantNamed(t, s, "job:1", "in shutdown_delay")

	redis.Kill()
	b.awaitMetric(`caddy_redis_sse_redis_up{hub="default"} 0`)
	wantStatus(t, http.StatusOK, b.readiness)
	wantStatus(t, http.StatusOK, b.alive)
	for _, dir := range slices.Concat(a.home, b.home) {
		if written, err := os.ReadDir(dir); err != nil || len(written) > 0 {
			t.Errorf("on a root file system that is read-only it writes %v, %v", written, err)
		}
	}
}

// goesOnAtAnotherPod has a client miss something while it is on its way from one pod to the other. Soon after that one's start its id may be
// too old there, which is a gap.
func goesOnAtAnotherPod(t *testing.T, redis *redistest.Server, from, to *pod) {
	t.Helper()
	to.Poll(t, "a client to go on without a gap", func() bool {
		s := open(t, from.stream+"/events")
		redis.Publish("news", "before")
		wantMessages(t, s, "before")
		s.Close()
		redis.Publish("news", "on the way")
		redis.Publish("news", "the last one")
		again := ssetest.Open(t, newClient(t), to.stream+"/events", ssetest.WithLastEventID(s.LastEventID()))
		defer again.Close()
		var got []string
		for len(got) == 0 || got[len(got)-1] != "the last one" {
			e := again.NextAfterCursors()
			if e.Type == "gap" {
				return false
			}
			got = append(got, e.Data)
		}
		// It may get again what it had, from a second before.
		if len(got) < 2 || got[len(got)-2] != "on the way" {
			t.Errorf("at the other pod it gets %q", got)
		}
		return true
	})
}
