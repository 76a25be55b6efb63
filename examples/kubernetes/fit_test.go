package kubernetes_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// caddySays is the duration that stands behind these words in the Caddyfile.
func caddySays(t *testing.T, words string) time.Duration {
	t.Helper()
	found := regexp.MustCompile(`(?m)^\t+`+words+` (\S+)$`).FindAllStringSubmatch(read(t, "Caddyfile"), -1)
	if found == nil {
		t.Fatalf("the Caddyfile has no %q", words)
	}
	for _, f := range found {
		if f[1] != found[0][1] {
			t.Fatalf("the Caddyfile has several of %q: %q", words, found)
		}
	}
	d, err := time.ParseDuration(found[0][1])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// The end of a pod: shutdown_delay, then the drain within grace_period, then Kubernetes kills it.
func TestAPodHasTheTimeThatItsEndTakes(t *testing.T) {
	d := render(t, base(t), "/base").deployment.Spec
	delay, grace, drain := caddySays(t, "shutdown_delay"), caddySays(t, "grace_period"), caddySays(t, `drain \S+`)
	const exit = 5 * time.Second // for what Caddy does besides
	if given := time.Duration(*d.Template.Spec.TerminationGracePeriodSeconds) * time.Second; given < delay+grace+exit {
		t.Errorf("it is killed after %v: shutdown_delay %v, grace_period %v", given, delay, grace)
	}
	if drain > grace*4/5 {
		t.Errorf("drain %v is cut short by grace_period %v", drain, grace)
	}
	ready := d.Template.Spec.Containers[0].ReadinessProbe
	if noticed := seconds(ready.PeriodSeconds*ready.FailureThreshold + ready.TimeoutSeconds); noticed >= delay {
		t.Errorf("that it ends is noticed within %v, when it takes clients for %v", noticed, delay)
	}
	// SETTLE of examples/systemd, for the same reason.
	if settled := seconds(d.MinReadySeconds); settled < 10*time.Second {
		t.Errorf("the next pod has heard only %v when an old one ends", settled)
	}
	rolling := d.Strategy.RollingUpdate
	if rolling.MaxUnavailable.IntValue() != 0 || rolling.MaxSurge.IntValue() < 1 || *d.Replicas < 2 {
		t.Errorf("%d replicas, %v", *d.Replicas, rolling)
	}
}

// What a pod does not hear before its first client comes is a gap for a client of another pod.
func TestAllThatIsStreamedIsKept(t *testing.T) {
	text := read(t, "Caddyfile")
	kept := strings.Fields(regexp.MustCompile(`(?m)^\t\tkeep (.*)$`).FindStringSubmatch(text)[1])
	streamed := regexp.MustCompile(`(?m)^\tredis_sse /\w+ (\S+) \{$|^\t\tpattern (.*)$`).FindAllStringSubmatch(text, -1)
	if len(streamed) < 2 {
		t.Fatalf("it streams %q", streamed)
	}
	for _, s := range streamed {
		for name := range strings.FieldsSeq(s[1] + s[2]) {
			if !slices.Contains(kept, name) {
				t.Errorf("%s is not kept", name)
			}
		}
	}
}

// A selector that is empty is one of all pods of the namespace.
func TestEachSelectorIsOfThePods(t *testing.T) {
	m := render(t, base(t), "/base")
	pods := m.deployment.Spec.Template.Labels
	if len(pods) == 0 {
		t.Fatal("pods have no labels")
	}
	for name, selector := range map[string]*metav1.LabelSelector{
		"the Deployment": m.deployment.Spec.Selector, "the budget": m.budget.Spec.Selector, "the policy": &m.policy.Spec.PodSelector,
		"the spread":  m.deployment.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector,
		"the Service": {MatchLabels: m.service.Spec.Selector},
	} {
		if selector == nil || !maps.Equal(selector.MatchLabels, pods) || len(selector.MatchExpressions) > 0 {
			t.Errorf("%s selects %v, pods have %v", name, selector, pods)
		}
	}
}

func TestTheManifestsNameWhatIsThere(t *testing.T) {
	m := render(t, base(t), "/base")
	pod := m.deployment.Spec.Template.Spec
	ports := map[string]int32{}
	for _, p := range pod.Containers[0].Ports {
		ports[p.Name] = p.ContainerPort
	}
	for _, p := range m.service.Spec.Ports {
		if ports[p.TargetPort.StrVal] == 0 {
			t.Errorf("the Service leads to the port %q", p.TargetPort.StrVal)
		}
	}
	for _, rule := range m.policy.Spec.Ingress {
		if ports[rule.Ports[0].Port.StrVal] == 0 {
			t.Errorf("the policy is for the port %q", rule.Ports[0].Port.StrVal)
		}
	}
	for _, path := range m.ingress.Spec.Rules[0].HTTP.Paths {
		service := path.Backend.Service
		if service.Name != m.service.Name || service.Port.Name != m.service.Spec.Ports[0].Name {
			t.Errorf("the Ingress leads to %v", service)
		}
		if !strings.Contains(m.config.Data["Caddyfile"], "redis_sse "+path.Path+" ") {
			t.Errorf("the Caddyfile has no stream at %s", path.Path)
		}
	}
	if got := pod.Volumes[0].ConfigMap.Name; got != m.config.Name || got == "redis-sse" {
		t.Errorf("the Caddyfile is of %q, the ConfigMap is %q", got, m.config.Name)
	}
	var example corev1.Secret
	if err := yaml.UnmarshalStrict([]byte(read(t, "secret.example.yaml")), &example); err != nil {
		t.Fatal(err)
	}
	ref := pod.Containers[0].Env[0].ValueFrom.SecretKeyRef
	if example.Name != ref.Name || !strings.HasPrefix(example.StringData[ref.Key], "rediss://") {
		t.Errorf("pods want %v", ref)
	}
}

// What the Pod Security Standard "restricted" asks for, and a root file system that is not written to.
func TestThePodHasNoRights(t *testing.T) {
	pod := render(t, base(t), "/base").deployment.Spec.Template.Spec
	all, own := pod.SecurityContext, pod.Containers[0].SecurityContext
	if !*all.RunAsNonRoot || *all.RunAsUser == 0 || all.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod has %v", all)
	}
	if *own.AllowPrivilegeEscalation || !*own.ReadOnlyRootFilesystem || len(own.Capabilities.Drop) != 1 || own.Capabilities.Drop[0] != "ALL" {
		t.Errorf("the container has %v", own)
	}
	for _, p := range pod.Containers[0].Ports {
		if p.ContainerPort < 1024 {
			t.Errorf("without rights nobody listens on port %d", p.ContainerPort)
		}
	}
	if pod.Containers[0].Resources.Limits.Memory().IsZero() || *pod.AutomountServiceAccountToken {
		t.Error("memory has no limit, or there is a token")
	}
}
