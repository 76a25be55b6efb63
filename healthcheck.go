package redissse

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() { caddy.RegisterModule(HealthHandler{}) }

// HealthHandler answers GET and HEAD with 200 or 503, for whoever decides
// where clients are sent, or whom to wake. The body, JSON, has the status and
// of each hub whether Redis is connected and delivery proved.
//
// In mode ready it is 503 while a hub has not had its first answer from Redis,
// and while Caddy shuts down. An outage of Redis later on leaves it 200: streams
// stay open over it, but a balancer without a healthy gateway ends them all.
// In mode strict it is 503 also whenever delivery is not proved: for alerts,
// never for a balancer.
//
// Caddyfile:
//
//	redis_sse_health [<matcher>] [<hub>...] {
//	    hub         <name>...
//	    mode        ready | strict
//	    start_grace <duration>
//	}
//
// Such as:
//
//	:8080 {
//	    redis_sse_health /ready
//	}
type HealthHandler struct {
	// The names of the hubs that count. Default: all of the configuration
	Hubs []string `json:"hubs,omitempty"`

	// "ready" or "strict". Default: ready
	Mode string `json:"mode,omitempty"`

	// In mode ready, how long after a hub's start its missing first answer is
	// waited for: 1s to 10m. From then on it counts as ready, even if its Redis
	// is down. Default: 15s
	StartGrace caddy.Duration `json:"start_grace,omitempty"`

	mode  healthMode
	grace time.Duration
	hubs  func() []*claim
}

// CaddyModule returns the Caddy module information.
func (HealthHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.redis_sse_health", New: func() caddy.Module { return new(HealthHandler) }}
}

// healthMode is what 503 stands for.
type healthMode string

const (
	healthReady  healthMode = "ready"  // send no clients here
	healthStrict healthMode = "strict" // or: wake somebody
)

// defaultStartGrace is longer than a Redis next door takes to start, and than
// three attempts at one that does not answer. A gateway that waited for ever
// would keep a site down that works but for its streams.
const defaultStartGrace = 15 * time.Second

// Provision checks the configuration and finds the hubs. It does no I/O.
func (h *HealthHandler) Provision(ctx caddy.Context) error {
	if err := h.resolve(); err != nil {
		return err
	}
	loaded, err := ctx.App("redis_sse")
	if err != nil {
		return fmt.Errorf("loading the redis_sse app: %w", err)
	}
	app := loaded.(*App)
	if len(h.Hubs) == 0 {
		h.hubs = app.all // handlers that are provisioned later may bring some
		return nil
	}
	var named []*claim
	for _, name := range h.Hubs {
		own, err := app.own(name, "")
		if err != nil {
			return err
		}
		if !slices.Contains(named, own) {
			named = append(named, own)
		}
	}
	h.hubs = func() []*claim { return named }
	return nil
}

// resolve checks every field and fills in what is not set.
func (h *HealthHandler) resolve() error {
	var ofMode error
	h.mode, ofMode = parseHealthMode(h.Mode)
	errs := []error{ofMode, inRange("start_grace", h.StartGrace, defaultStartGrace, time.Second, 10*time.Minute, &h.grace)}
	for _, name := range h.Hubs {
		errs = append(errs, checkHubName(name))
	}
	return errors.Join(errs...)
}

func parseHealthMode(s string) (healthMode, error) {
	switch mode := healthMode(s); mode {
	case "":
		return healthReady, nil
	case healthReady, healthStrict:
		return mode, nil
	}
	return "", fmt.Errorf("mode is %q, want ready or strict", s)
}

// ServeHTTP answers GET and HEAD. An answer is no error: handle_errors must not
// make a page of it.
func (h *HealthHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	noSniff(w.Header())
	leaveBody(w, r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("method %q asks for no health", r.Method))
	}
	var hubs []hubHealth
	for _, c := range h.hubs() {
		// A hub without a name is called by its address elsewhere. Who may ask
		// here has no business with that.
		hubs = append(hubs, healthOf(c.key.name, c.hub, h.grace))
	}
	return judgeHealth(h.mode, shutsDown(r), hubs).answer(w)
}

// shutsDown reports whether clients that come now will soon be sent away again.
func shutsDown(r *http.Request) bool {
	if caddy.Exiting() {
		return true
	}
	// With a shutdown_delay the server of a port that the next configuration
	// does not have goes on for a while, too.
	replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return false
	}
	scheduled, _ := replacer.Get("http.shutting_down")
	return scheduled == true
}

// hubHealth is what is said of a hub. Nothing of it is secret.
type hubHealth struct {
	Name      string     `json:"name,omitempty"`
	Connected bool       `json:"connected"`       // Redis answers
	Since     *time.Time `json:"since,omitempty"` // when that changed; absent before it was known
	Proved    bool       `json:"proved"`          // the newest message of the hub to itself came back
	Ready     bool       `json:"ready"`           // see readiness
}

func healthOf(name string, h *redisHub, grace time.Duration) hubHealth {
	s := &h.subscriber
	health := hubHealth{Name: name, Connected: s.connected.Load(), Ready: s.readiness.reached(grace)}
	health.Proved = health.Connected && s.isProved()
	if since := s.connected.since(); !since.IsZero() {
		since = since.UTC().Truncate(time.Millisecond)
		health.Since = &since
	}
	return health
}

// health is an answer.
type health struct {
	Status healthStatus `json:"status"`
	Hubs   []hubHealth  `json:"hubs"`
}

type healthStatus string

const (
	statusReady        healthStatus = "ready"
	statusProved       healthStatus = "proved"        // the same in mode strict
	statusStarting     healthStatus = "starting"      // Redis has not answered for a hub yet
	statusUnproved     healthStatus = "unproved"      // in mode strict: what is published may not arrive
	statusShuttingDown healthStatus = "shutting_down" // Caddy, or this server of it
)

// judgeHealth judges hubs, of which there may be none.
func judgeHealth(mode healthMode, shutsDown bool, hubs []hubHealth) health {
	judged := health{Hubs: slices.Concat([]hubHealth{}, hubs)} // none is [] in JSON, not null
	switch {
	case shutsDown:
		judged.Status = statusShuttingDown
	case mode == healthStrict && slices.ContainsFunc(hubs, func(h hubHealth) bool { return !h.Proved }):
		judged.Status = statusUnproved
	case mode == healthStrict:
		judged.Status = statusProved
	case slices.ContainsFunc(hubs, func(h hubHealth) bool { return !h.Ready }):
		judged.Status = statusStarting
	default:
		judged.Status = statusReady
	}
	return judged
}

func (h health) answer(w http.ResponseWriter) error {
	body, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encoding the health: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	status := http.StatusServiceUnavailable
	if h.Status == statusReady || h.Status == statusProved {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // whoever asked has gone
	return nil
}

// Interface guards
var (
	_ caddyhttp.MiddlewareHandler = (*HealthHandler)(nil)
	_ caddy.Provisioner           = (*HealthHandler)(nil)
)
