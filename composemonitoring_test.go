package redissse

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// prometheusFile has what the configuration of compose.monitoring.yaml says, and no field for anything else.
type prometheusFile struct {
	Global struct {
		ScrapeInterval     string `yaml:"scrape_interval"`
		EvaluationInterval string `yaml:"evaluation_interval"`
	}
	RuleFiles     []string `yaml:"rule_files"`
	ScrapeConfigs []struct {
		JobName       string                       `yaml:"job_name"`
		StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
	} `yaml:"scrape_configs"`
}

// composedPrometheus is the service, and what it is configured with.
func composedPrometheus(t *testing.T) (service composeService, config prometheusFile) {
	t.Helper()
	var file composeFile
	decodeYAML(t, "compose.monitoring.yaml", &file)
	service = file.Services["prometheus"]
	if len(file.Services) != 1 || len(service.Configs) != 1 || service.Configs[0].Target != "/etc/prometheus/prometheus.yml" {
		t.Fatalf("it has the services %v", file.Services)
	}
	dec := yaml.NewDecoder(strings.NewReader(file.Configs[service.Configs[0].Source].Content))
	dec.KnownFields(true)
	if err := dec.Decode(&config); err != nil {
		t.Fatal(err)
	}
	for _, volume := range service.Volumes {
		from, _, _ := strings.Cut(volume, ":")
		if _, named := file.Volumes[from]; !named && filepath.Clean(from) != "examples/monitoring" {
			t.Errorf("it mounts %s", from)
		}
	}
	return service, config
}

// It asks the gateway of compose.yaml, on a port that nobody else reaches.
func TestTheComposedPrometheusAsksTheGateway(t *testing.T) {
	service, config := composedPrometheus(t)
	var base composeFile
	decodeYAML(t, "compose.yaml", &base)
	for _, port := range service.Ports {
		if !strings.HasPrefix(port, "127.0.0.1:") {
			t.Errorf("everybody reaches Prometheus on %s", port)
		}
	}
	if len(config.ScrapeConfigs) != 1 || len(config.ScrapeConfigs[0].StaticConfigs) != 1 {
		t.Fatalf("it scrapes %v", config.ScrapeConfigs)
	}
	inner := regexp.MustCompile(`(?m)^http://:(\d+) \{\n\tmetrics /metrics$`).FindStringSubmatch(readText(t, "examples/compose/Caddyfile"))
	if inner == nil {
		t.Fatal("the gateway has no port for metrics")
	}
	for _, target := range config.ScrapeConfigs[0].StaticConfigs[0].Targets {
		if target != "gateway:"+inner[1] {
			t.Errorf("it asks %s, the gateway's metrics are on port %s", target, inner[1])
		}
	}
	for _, port := range base.Services["gateway"].Ports {
		if strings.HasSuffix(port, ":"+inner[1]) {
			t.Errorf("the gateway publishes its metrics as %s", port)
		}
	}
}

// The alerts are of the directory that is mounted, and know the gateways by the job's name.
func TestTheComposedPrometheusHasTheAlerts(t *testing.T) {
	_, config := composedPrometheus(t)
	if len(config.RuleFiles) != 1 {
		t.Fatalf("its rules are %q", config.RuleFiles)
	}
	inside, ok := strings.CutPrefix(config.RuleFiles[0], "/etc/prometheus/rules/")
	if !ok {
		t.Fatalf("%s is not mounted", config.RuleFiles[0])
	}
	alerts := readText(t, filepath.Join("examples/monitoring", inside))
	for _, job := range regexp.MustCompile(`job="([^"]*)"`).FindAllStringSubmatch(alerts, -1) {
		if job[1] != config.ScrapeConfigs[0].JobName {
			t.Errorf("alerts are for the job %q", job[1])
		}
	}
}
