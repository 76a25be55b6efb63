package redissse

import (
	"reflect"
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
)

var metricBuildInfo = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
	Namespace: namespace, Name: "build_info", Help: "Always 1; the labels say what runs.",
	ConstLabels: prometheus.Labels{"version": ownVersion(), "caddy_version": caddyVersion()},
}, func() float64 { return 1 })

func ownVersion() string {
	info, _ := debug.ReadBuildInfo() // nil without
	return versionOf(info, reflect.TypeFor[App]().PkgPath())
}

func caddyVersion() string {
	version, _ := caddy.Version()
	return version
}

// versionOf is a module's version where "caddy list-modules --versions" looks
// for it, among the dependencies, else that of the main module.
func versionOf(info *debug.BuildInfo, module string) string {
	if info == nil {
		return "unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	if info.Main.Path == module && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
