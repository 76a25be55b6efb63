package redissse

import (
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
)

const modulePath = "github.com/redis-sse/caddy-redis-sse"

func ownVersion() string {
	info, _ := debug.ReadBuildInfo() // nil without
	return versionOf(info, modulePath)
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
