package redissse

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// composeFile has what compose.yaml says, and no field for anything else: https://docs.docker.com/reference/compose-file/
type composeFile struct {
	Services map[string]composeService
	Configs  map[string]struct{ Content string }
	Volumes  map[string]*struct{}
}

type composeService struct {
	Image string
	Build *struct {
		Context          string
		DockerfileInline string `yaml:"dockerfile_inline"`
		Args             map[string]string
	}
	Command         []string
	Environment     map[string]string
	Ports, Volumes  []string
	Configs         []struct{ Source, Target string }
	DependsOn       []string `yaml:"depends_on"`
	Healthcheck     *composeHealth
	Init            bool
	StopGracePeriod string `yaml:"stop_grace_period"`
	Restart         string
}

type composeHealth struct {
	Test        []string
	StartPeriod string `yaml:"start_period"`
}

func TestTheComposeFileNamesWhatIsThere(t *testing.T) {
	var file composeFile
	decodeYAML(t, "compose.yaml", &file)
	for name, s := range file.Services {
		if (s.Image == "") == (s.Build == nil) {
			t.Errorf("%s has an image and a build, or neither", name)
		}
		for _, other := range s.DependsOn {
			if _, ok := file.Services[other]; !ok {
				t.Errorf("%s depends on %s, which there is not", name, other)
			}
		}
		for _, volume := range s.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			if _, named := file.Volumes[from]; !named && !isDir(from) {
				t.Errorf("%s mounts %s, which there is not", name, from)
			}
		}
		if s.Build != nil {
			composeBuild(t, name, s)
		}
	}
}

// composeBuild wants a Dockerfile, and what an inline one copies.
func composeBuild(t *testing.T, name string, s composeService) {
	t.Helper()
	dir := s.Build.Context
	if s.Build.DockerfileInline == "" {
		if _, err := os.Stat(filepath.Join(dir, "Dockerfile")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	copied := regexp.MustCompile(`(?m)^COPY (.*) \./$`).FindStringSubmatch(s.Build.DockerfileInline)
	if copied == nil {
		t.Fatalf("%s copies nothing:\n%s", name, s.Build.DockerfileInline)
	}
	for file := range strings.FieldsSeq(copied[1]) {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Errorf("%s copies %s: %v", name, file, err)
		}
	}
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// TestTheComposeFileFitsItsCaddyfile holds what one says to what the other asks for, or has by default.
func TestTheComposeFileFitsItsCaddyfile(t *testing.T) {
	var file composeFile
	decodeYAML(t, "compose.yaml", &file)
	caddyfile := readText(t, "examples/compose/Caddyfile")
	gateway, app := file.Services["gateway"], file.Services["app"]
	for _, asked := range regexp.MustCompile(`\{env\.(\w+)\}|\{\$(\w+)\}`).FindAllStringSubmatch(caddyfile, -1) {
		if name := asked[1] + asked[2]; gateway.Environment[name] == "" {
			t.Errorf("the gateway is not given %s", name)
		}
	}
	site := regexp.MustCompile(`\{\$SITE:http://localhost:(\d+)\}`).FindStringSubmatch(caddyfile)
	if site == nil || !slices.Equal(gateway.Ports, []string{"127.0.0.1:" + site[1] + ":" + site[1]}) {
		t.Errorf("the site is %q, the ports are %q", site, gateway.Ports)
	}
	for name, url := range map[string]string{"gateway": gateway.Environment["REDIS_URL"], "app": app.Environment["REDIS_URL"]} {
		if url != "redis://redis:6379" || file.Services["redis"].Image == "" {
			t.Errorf("the %s looks for Redis at %q", name, url)
		}
	}
	port := regexp.MustCompile(`"PORT", "(\d+)"`).FindStringSubmatch(readText(t, "examples/compose/app.py"))
	if port == nil || gateway.Environment["BACKEND"] != "app:"+port[1] || app.Environment["HOST"] != "0.0.0.0" {
		t.Errorf("the gateway looks for the app at %q, it listens on port %q of %q", gateway.Environment["BACKEND"], port, app.Environment["HOST"])
	}
	if !slices.Contains(gateway.Volumes, "./examples/compose:/etc/caddy:ro") {
		t.Errorf("the gateway has no Caddyfile: %q", gateway.Volumes)
	}
	if !strings.Contains(caddyfile, "grace_period 10s") || gateway.StopGracePeriod != "15s" {
		t.Errorf("the gateway is killed after %q", gateway.StopGracePeriod)
	}
}

// TestTheAppOfTheComposeFileIsSmall: it is there to be read.
func TestTheAppOfTheComposeFileIsSmall(t *testing.T) {
	lines := 0
	for line := range strings.Lines(readText(t, "examples/compose/app.py")) {
		if strings.TrimSpace(line) != "" {
			lines++
		}
	}
	if lines > 20 {
		t.Errorf("it has %d lines, compose.yaml says 20", lines)
	}
}
