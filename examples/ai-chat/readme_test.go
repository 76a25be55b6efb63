//go:build clients && linux

package aichat_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The code in README.md is that of the Caddyfile, and what it and compose.yaml say is set is what the app reads.
func TestReadmeSaysWhatIsThere(t *testing.T) {
	readme, app := read(t, "README.md"), read(t, "models.py")+read(t, "store.py")+read(t, "writer.py")
	blocks := strings.Split(readme, "```")
	if len(blocks) != 3 || !strings.Contains(read(t, "Caddyfile"), strings.TrimPrefix(blocks[1], "caddyfile\n")) {
		t.Errorf("the Caddyfile does not have what is in %d blocks", len(blocks)/2)
	}
	if lines := strings.Count(readme, "\n"); lines > 60 {
		t.Errorf("it has %d lines, which is more than a screen", lines)
	}
	for _, name := range regexp.MustCompile(`\b(?:OPENAI|CHAT)_[A-Z_]+`).FindAllString(readme+read(t, "compose.yaml"), -1) {
		if !strings.Contains(app, `os.environ.get("`+name+`"`) {
			t.Errorf("the app does not read %s", name)
		}
	}
	if !strings.Contains(readme, "<http://localhost:8088>") || !strings.Contains(read(t, "Caddyfile"), "{$SITE:http://localhost:8088}") {
		t.Error("the site is not where README.md says")
	}
}

// compose.yaml copies and mounts what there is, and its parts find each other.
func TestTheComposeFileNamesWhatIsThere(t *testing.T) {
	var file struct {
		Services map[string]struct {
			Build *struct {
				Context    string
				Dockerfile string `yaml:"dockerfile_inline"`
			}
			Environment map[string]string
			Ports       []string
			DependsOn   []string `yaml:"depends_on"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	gateway, app := file.Services["gateway"], file.Services["app"]
	if _, err := os.Stat(gateway.Build.Context + "/Dockerfile"); err != nil {
		t.Error(err)
	}
	copied := regexp.MustCompile(`(?m)^COPY (.*) \./\S*$`).FindAllStringSubmatch(app.Build.Dockerfile, -1)
	all := ""
	for _, line := range copied {
		all += line[1] + " "
	}
	for _, name := range strings.Fields(all) {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
	modules, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range modules {
		if name := each.Name(); strings.HasSuffix(name, ".py") && !strings.Contains(all, name+" ") {
			t.Errorf("%s is not copied", name)
		}
	}
	if !strings.Contains(app.Build.Dockerfile, "python3-fastapi uvicorn python3-redis python3-httpx") {
		t.Error("the packages are not those of README.md")
	}
	if gateway.Environment["BACKEND"] != "app:8000" || !strings.Contains(app.Build.Dockerfile, `"0.0.0.0", "--port", "8000"`) {
		t.Error("the gateway does not find the app")
	}
	if len(gateway.Ports) != 1 || gateway.Ports[0] != "127.0.0.1:8088:8088" {
		t.Errorf("the gateway is at %q", gateway.Ports)
	}
	for _, name := range append(gateway.DependsOn, "gateway") {
		service, ok := file.Services[name]
		if url := service.Environment["REDIS_URL"]; !ok || name != "redis" && url != "redis://redis:6379" {
			t.Errorf("%s looks for Redis at %q", name, url)
		}
	}
}
