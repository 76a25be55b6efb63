package redissse

import (
	"runtime/debug"
	"testing"
)

func TestVersionOfAModule(t *testing.T) {
	dep := func(path, version string) *debug.Module { return &debug.Module{Path: path, Version: version} }
	replaced := dep(module, "v1.2.3")
	replaced.Replace = dep("./plugin0", "(devel)")
	for name, c := range map[string]struct {
		info *debug.BuildInfo
		want string
	}{
		"a dependency":            {&debug.BuildInfo{Deps: []*debug.Module{dep(module+"/more", "v9.9.9"), dep(module, "v1.2.3")}}, "v1.2.3"},
		"a replaced one":          {&debug.BuildInfo{Deps: []*debug.Module{replaced}}, "v1.2.3"},
		"the main module":         {&debug.BuildInfo{Main: *dep(module, "(devel)")}, "(devel)"},
		"one without a version":   {&debug.BuildInfo{Main: *dep(module, "")}, "unknown"},
		"another main module":     {&debug.BuildInfo{Main: *dep("caddy", "v9.9.9")}, "unknown"},
		"a binary that says none": {nil, "unknown"},
	} {
		if got := versionOf(c.info, module); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
