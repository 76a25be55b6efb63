package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	officialUnit  = "testdata/caddy.service"
	systemdDropIn = "systemd/caddy.service.d/redis-sse.conf"
)

// verifyDropIn returns what systemd-analyze says of the official unit with this drop-in. Caddy need not be installed here.
func verifyDropIn(t *testing.T, dropIn string) string {
	t.Helper()
	unit := readFile(t, officialUnit)
	unit.replace("/usr/bin/caddy", "/bin/true")
	path := unit.write(t.TempDir())
	if err := os.Mkdir(path+".d", 0o700); err != nil {
		t.Fatal(err)
	}
	dropIn = strings.ReplaceAll(dropIn, "/usr/bin/caddy", "/bin/true")
	if err := os.WriteFile(filepath.Join(path+".d", "redis-sse.conf"), []byte(dropIn), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	return string(out)
}

// Of a key that it does not know, systemd-analyze only says so.
func TestSystemdFindsNothingWrongWithTheDropIn(t *testing.T) {
	dropIn := readFile(t, systemdDropIn).text
	if said := verifyDropIn(t, dropIn); said != "" {
		t.Error(said)
	}
	if said := verifyDropIn(t, dropIn+"MemoryMux=1G\n"); !strings.Contains(said, "MemoryMux") {
		t.Errorf("it does not read the drop-in: %q", said)
	}
}

// serviceSettings are those of a unit's files, each later one over the others. An empty value forgets those before it.
func serviceSettings(t *testing.T, names ...string) map[string][]string {
	t.Helper()
	settings := map[string][]string{}
	for _, name := range names {
		for line := range strings.Lines(readFile(t, name).text) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			switch {
			case !ok || strings.HasPrefix(key, "#"):
			case value == "":
				delete(settings, key)
			default:
				settings[key] = append(settings[key], value)
			}
		}
	}
	return settings
}

func TestNoUnitPrintsItsEnvironment(t *testing.T) {
	for _, names := range [][]string{{systemdUnit}, {officialUnit, systemdDropIn}} {
		settings := serviceSettings(t, names...)
		if start := settings["ExecStart"]; len(start) != 1 || strings.Contains(start[0], "--environ") {
			t.Errorf("%v starts %q", names, start)
		}
		if len(settings["EnvironmentFile"]) != 1 {
			t.Errorf("%v has its environment from %q", names, settings["EnvironmentFile"])
		}
	}
}
