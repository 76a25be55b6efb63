package kubernetes_test

import (
	"strings"
	"testing"
)

// overlay is the block of the page that begins so.
func overlay(t *testing.T) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, "../../docs/operations/deploy.md"), "```yaml\n# kustomization.yaml\n")
	block, _, ended := strings.Cut(rest, "\n```\n")
	if !ok || !ended {
		t.Fatal("docs/operations/deploy.md has no kustomization")
	}
	return block
}

func TestTheOverlayOfThePageRenders(t *testing.T) {
	fs, text := base(t), overlay(t)
	const remote = "github.com/redis-sse/caddy-redis-sse//examples/kubernetes?ref=v1.2.3"
	if !strings.Contains(text, remote) {
		t.Fatalf("the base is not %s", remote)
	}
	for name, text := range map[string]string{
		"kustomization.yaml": strings.ReplaceAll(text, remote, "../base"), "Caddyfile": "# mine\n",
	} {
		if err := fs.WriteFile("/mine/"+name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	m := render(t, fs, "/mine")
	pod := m.deployment.Spec.Template.Spec
	if m.config.Data["Caddyfile"] != "# mine\n" || pod.Volumes[0].ConfigMap.Name != m.config.Name {
		t.Errorf("the Caddyfile is %q, of %q", m.config.Data["Caddyfile"], pod.Volumes[0].ConfigMap.Name)
	}
	rule, tls := m.ingress.Spec.Rules[0], m.ingress.Spec.TLS[0]
	if rule.Host != tls.Hosts[0] || rule.Host == "example.com" {
		t.Errorf("the host is %s, the certificate is for %s", rule.Host, tls.Hosts[0])
	}
	if image := pod.Containers[0].Image; image != "registry.example.com/caddy-redis-sse:v1.2.3" || m.deployment.Namespace != "web" {
		t.Errorf("it runs %s in %q", image, m.deployment.Namespace)
	}
}
