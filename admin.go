package redissse

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(Admin{}) }

// Admin is what this module has on Caddy's admin API, below /redis_sse/. Caddy
// makes one for each configuration, before the apps, and never cleans it up: it
// holds nothing, and looks at the hubs as they are when it is asked.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.redis_sse", New: func() caddy.Module { return new(Admin) }}
}

// Routes returns the routes below /redis_sse/. Caddy has checked the request's
// host and origin before.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/redis_sse/health", Handler: allowing(adminHealth, http.MethodGet, http.MethodHead)},
		{Pattern: "/redis_sse/status", Handler: allowing(adminStatus, http.MethodGet, http.MethodHead)},
		{Pattern: channelsPath, Handler: allowing(adminChannel, http.MethodGet, http.MethodHead)},
		{Pattern: "/redis_sse/disconnect", Handler: allowing(adminDisconnect, http.MethodPost)},
		{Pattern: "/redis_sse/{$}", Handler: allowing(adminPage, http.MethodGet, http.MethodHead)},
		{Pattern: "/redis_sse/stream", Handler: allowing(adminStream, http.MethodGet)},
		{Pattern: "/redis_sse/publish", Handler: allowing(adminPublish, http.MethodPost)},
	}
}

// allowing answers any other method than these with 405.
func allowing(next caddy.AdminHandlerFunc, methods ...string) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		noSniff(w.Header())
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method %q is not allowed", r.Method)}
		}
		return next(w, r)
	}
}

// heldHubs returns the hubs that a running configuration holds, by name.
func heldHubs() (held []*redisHub) {
	hubs.Range(func(_, value any) bool {
		if h := value.(*redisHub); h.isHeld() {
			held = append(held, h)
		}
		return true
	})
	slices.SortFunc(held, func(a, b *redisHub) int { return cmp.Compare(a.name, b.name) })
	return held
}

// adminHealth is [HealthHandler] for all hubs; the mode is in the query. Before
// the first configuration runs, what it will need is not known.
func adminHealth(w http.ResponseWriter, r *http.Request) error {
	mode, err := parseHealthMode(r.URL.Query().Get("mode"))
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	if caddy.ActiveContext().Context == nil && !caddy.Exiting() {
		return health{Status: statusStarting, Hubs: []hubHealth{}}.answer(w)
	}
	var judged []hubHealth
	for _, h := range heldHubs() {
		judged = append(judged, healthOf(h.name, h, defaultStartGrace))
	}
	return judgeHealth(mode, caddy.Exiting(), judged).answer(w)
}

// Interface guard
var _ caddy.AdminRouter = Admin{}
