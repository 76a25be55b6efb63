package redissse

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("redis_sse_health", parseHealthHandler)
}

func parseHealthHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(HealthHandler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

func (h *HealthHandler) block() block {
	checkMode := func(s string) error { _, err := parseHealthMode(s); return err }
	return block{"the directive redis_sse_health (in a site)", []option{
		{name: "hub", args: "<name>...", example: "default", read: readList(&h.Hubs, checkHubName)},
		{name: "mode", args: "ready | strict", example: "ready", read: readWords(&h.Mode, checkMode)},
		{name: "start_grace", args: "<duration>", example: "15s", read: readPositive(&h.StartGrace)},
	}}
}

// UnmarshalCaddyfile reads the directive. A first argument that begins with /, @ or *
// is its matcher, the others are hubs.
func (h *HealthHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	r := newReading(d)
	r.Next() // the directive's name
	h.Hubs = r.RemainingArgs()
	if err := r.block(h.block()); err != nil {
		return err
	}
	if err := h.resolve(); err != nil {
		return r.located(err)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*HealthHandler)(nil)
