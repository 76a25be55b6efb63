package redissse

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// workflow has what our workflows say, and no field for anything else. "make lint" checks what the values mean.
type workflow struct {
	Name        string
	On          any
	Permissions map[string]string
	Concurrency any
	Env         map[string]string
	Jobs        map[string]workflowJob
}

type workflowJob struct {
	Needs          string
	If             string
	RunsOn         string `yaml:"runs-on"`
	TimeoutMinutes int    `yaml:"timeout-minutes"`
	Container      struct{ Image, Options string }
	Permissions    map[string]string
	Env            map[string]string
	Steps          []struct {
		Name, Uses, Run string
		With, Env       map[string]string
	}
}

var (
	makeTarget   = regexp.MustCompile(`(?m)^([a-z-]+):`)
	madeInScript = regexp.MustCompile(`(?m)^make ([a-z-]+)`)
	pinnedAction = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
)

func TestTheWorkflowsRunWhatThereIs(t *testing.T) {
	targets := map[string]bool{}
	for _, found := range makeTarget.FindAllStringSubmatch(readText(t, "Makefile"), -1) {
		targets[found[1]] = true
	}
	for file, wanted := range map[string][]string{"ci.yaml": {".ci/run"}, "release.yaml": {"make test", "make release"}} {
		var w workflow
		decodeYAML(t, filepath.Join(".github/workflows", file), &w)
		var ran strings.Builder
		for name, job := range w.Jobs {
			workflowSteps(t, file+", "+name, job)
			for _, step := range job.Steps {
				ran.WriteString(step.Run + "\n")
			}
		}
		for _, found := range madeInScript.FindAllStringSubmatch(ran.String(), -1) {
			if !targets[found[1]] {
				t.Errorf("%s makes %s, which the Makefile does not have", file, found[1])
			}
		}
		for _, line := range wanted {
			if !strings.Contains(ran.String(), line+"\n") {
				t.Errorf("%s does not run %s", file, line)
			}
		}
	}
	if info, err := os.Stat(".ci/run"); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf(".ci/run cannot be run: %v", err)
	}
}

// workflowSteps wants a job's actions to be commits, its Go to be go.mod's, and its scripts to get what others choose, such as the
// name of a tag, as variables: what stands in a script between braces becomes a part of it.
func workflowSteps(t *testing.T, of string, job workflowJob) {
	t.Helper()
	minor := strings.Join(strings.Split(goLine(t, "."), ".")[:2], ".")
	if image := job.Container.Image; image != "" && image != "golang:"+minor+"-bookworm" {
		t.Errorf("%s runs in %s, go.mod wants Go %s", of, image, minor)
	}
	if job.TimeoutMinutes == 0 {
		t.Errorf("%s may hang for hours", of)
	}
	for _, step := range job.Steps {
		if step.Uses != "" && !pinnedAction.MatchString(step.Uses) {
			t.Errorf("%s uses %s, which may change", of, step.Uses)
		}
		if strings.Contains(step.Run, "${{") {
			t.Errorf("%s has an expression in a script:\n%s", of, step.Run)
		}
	}
}

// TestEveryWorkflowIsLookedAt is for a file that is added.
func TestEveryWorkflowIsLookedAt(t *testing.T) {
	files, err := filepath.Glob(".github/workflows/*")
	if err != nil || len(files) != 2 {
		t.Errorf("the workflows are %q (%v); TestTheWorkflowsRunWhatThereIs looks at two", files, err)
	}
}
