// Package kubernetes_test holds the manifests to Kubernetes's own types, to each other, and to the Caddyfile. It is a module of its
// own, since nothing else needs those types. That Caddy runs with the Caddyfile is tested beside the other examples.
package kubernetes_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// manifests are what a rendering comes to: one of each.
type manifests struct {
	config     corev1.ConfigMap
	deployment appsv1.Deployment
	service    corev1.Service
	ingress    networkingv1.Ingress
	budget     policyv1.PodDisruptionBudget
	policy     networkingv1.NetworkPolicy
}

// of returns where a kind belongs.
func (m *manifests) of(kind string) (into any, ok bool) {
	into, ok = map[string]any{
		"v1 ConfigMap":                                  &m.config,
		"apps/v1 Deployment":                            &m.deployment,
		"v1 Service":                                    &m.service,
		"networking.k8s.io/v1 Ingress":                  &m.ingress,
		"policy/v1 PodDisruptionBudget":                 &m.budget,
		"networking.k8s.io/v1 NetworkPolicy":            &m.policy,
		"v1 Secret":                                     new(corev1.Secret),
		"kustomize.config.k8s.io/v1beta1 Kustomization": new(types.Kustomization),
	}[kind]
	return into, ok
}

// decode fails for a key that is there twice, for one that the API does not know, and for a kind that is none of ours.
func (m *manifests) decode(t *testing.T, name string, text []byte) (kind string) {
	t.Helper()
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(text, &head); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	kind = head.APIVersion + " " + head.Kind
	into, ok := m.of(kind)
	if !ok {
		t.Fatalf("%s is a %q", name, kind)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return kind
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// base is a file system that has this directory as /base.
func base(t *testing.T) filesys.FileSystem {
	t.Helper()
	fs := filesys.MakeFsInMemory()
	names, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, "Caddyfile") {
		if err := fs.WriteFile("/base/"+name, []byte(read(t, name))); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

// render does what "kubectl kustomize" does.
func render(t *testing.T, fs filesys.FileSystem, dir string) *manifests {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	m, kinds := new(manifests), []string{}
	for _, resource := range rendered.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, m.decode(t, resource.CurId().String(), text))
	}
	slices.Sort(kinds)
	if len(kinds) != 6 || len(slices.Compact(kinds)) != 6 || slices.Contains(kinds, "v1 Secret") {
		t.Errorf("it renders %q", kinds)
	}
	return m
}

// What is rendered need not have what its file has twice.
func TestEachFileIsWhatKubernetesKnows(t *testing.T) {
	names, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var k types.Kustomization
	if err := yaml.UnmarshalStrict([]byte(read(t, "kustomization.yaml")), &k); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		kind := new(manifests).decode(t, name, []byte(read(t, name)))
		applied := slices.Contains(k.Resources, name)
		if want := name != "kustomization.yaml" && kind != "v1 Secret"; applied != want {
			t.Errorf("that %s is applied is %t", name, applied)
		}
	}
}

// A mistake in any of the files is one that the types have to find.
func TestAMisspeltKeyIsFound(t *testing.T) {
	for name, key := range map[string]string{
		"deployment.yaml": "terminationGracePeriodSeconds", "service.yaml": "targetPort", "ingress.yaml": "pathType",
		"poddisruptionbudget.yaml": "maxUnavailable", "networkpolicy.yaml": "policyTypes", "secret.example.yaml": "stringData",
		"kustomization.yaml": "configMapGenerator",
	} {
		var head struct{ APIVersion, Kind string }
		text := strings.Replace(read(t, name), key+":", key+"s:", 1)
		if err := yaml.Unmarshal([]byte(text), &head); err != nil {
			t.Fatal(err)
		}
		into, _ := new(manifests).of(head.APIVersion + " " + head.Kind)
		if err := yaml.UnmarshalStrict([]byte(text), into); err == nil {
			t.Errorf("%s has %ss, and nothing is wrong", name, key)
		}
	}
}
