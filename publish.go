package redissse

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

func init() { caddy.RegisterModule(PublishHandler{}) }

// PublishHandler publishes the body of a POST on a Redis channel. It answers
// with JSON: 200 once Redis has taken the message, 503 or 502 if it certainly
// has not, 504 if nobody can know. It reaches clients of this gateway as any
// message does: it comes back from Redis.
//
// Requests that a browser sends from another site are refused with 403, see
// cors_origins. Who may publish is for handlers before this one to say.
//
// In a Caddyfile it is a directive of a site:
//
//	redis_sse_publish [<matcher>] [<channel>] {
//	    hub          <name>
//	    redis        <url>
//	    channel      <channel>
//	    max_size     <size>
//	    cors_origins <origin>...
//	}
//
// Such as:
//
//	app.example.com {
//	    redis_sse_publish /rooms/* room:{path.1} {
//	        max_size 4KiB
//	    }
//	}
type PublishHandler struct {
	// The name of the hub to publish through, "default" if neither this nor
	// redis is given.
	Hub string `json:"hub,omitempty"`

	// A Redis URL of its own instead of a named hub, see the app's hubs.
	Redis string `json:"redis,omitempty"`

	// The channel to publish on, taken literally. Placeholders are replaced
	// for each request; one that is empty or unknown makes the request fail
	// with 400. Required.
	Channel string `json:"channel,omitempty"`

	// The largest body in bytes, 1 to 536870912 (512 MiB), the most that Redis
	// takes; a larger one is refused with 413. What is larger than the hub's
	// max_message is a gap to this gateway's clients. Default: 65536 (64 KiB)
	MaxSize int64 `json:"max_size,omitempty"`

	// The origins, such as https://app.example.com, whose pages may publish
	// although they are of another site. Default: none
	CORSOrigins []string `json:"cors_origins,omitempty"`

	channel    string
	maxSize    int64
	cors       *cors
	protection *http.CrossOriginProtection
	crossSite  *seldom // refusals of such pages
	refused    *seldom // messages that Redis denies or rejects
	invalid    *invalidRequests
	claim      *sharedClaim
	drain      *drain // of bodies that are being received
	metrics    *publishMetrics
}

// CaddyModule returns the Caddy module information.
func (PublishHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.redis_sse_publish", New: func() caddy.Module { return new(PublishHandler) }}
}

const (
	// defaultMaxSize is enough for events, and little enough that a client can
	// fill no buffer quickly.
	defaultMaxSize = 64 << 10
	// mostMaxSize is Redis's proto-max-bulk-len.
	mostMaxSize = 512 << 20
)

// Provision checks the configuration and takes the hub. It does no I/O.
func (h *PublishHandler) Provision(ctx caddy.Context) error {
	if err := h.resolve(); err != nil {
		return err
	}
	warnOfDoubts(ctx.Logger(), h.channel, "a message goes to the one channel that is really called so")
	app, own, err := acquireFor(ctx, h.Hub, h.Redis)
	if err != nil {
		return err
	}
	h.claim, h.crossSite = &sharedClaim{claim: own, log: ctx.Logger()}, new(seldom)
	h.invalid.begin(own.hub.name, ctx.Logger())
	h.drain.grace = func() time.Duration { return app.grace }
	h.drain.beginWith(ctx)
	h.metrics = newPublishMetrics(own.hub.name, h.Channel)
	if most := own.settings.Limits.Message; h.maxSize > most {
		ctx.Logger().Warn("max_size is above the hub's max_message: clients get a gap for what is larger",
			zap.Int64("max_size", h.maxSize), zap.Int64("max_message", most))
	}
	return nil
}

// resolve checks every field and fills in what is not set.
func (h *PublishHandler) resolve() error {
	if h.Channel == "" {
		return errNoPublishChannel
	}
	h.channel, h.drain, h.invalid = canonicalPlaceholders(h.Channel), newDrain(), newInvalidRequests(h.Channel)
	h.refused = new(seldom)
	h.drain.reload, h.drain.exit = defaultDrainReload, defaultDrainExit
	h.protection = http.NewCrossOriginProtection()
	var invalid error
	if h.cors, invalid = newCORS(h.CORSOrigins, http.MethodPost); h.cors != nil {
		for origin := range h.cors.origins {
			invalid = errors.Join(invalid, h.protection.AddTrustedOrigin(origin))
		}
	}
	return errors.Join(
		checkConfigured(h.channel),
		sizeInRange("max_size", h.MaxSize, defaultMaxSize, 1, mostMaxSize, &h.maxSize),
		invalid,
	)
}

var errNoPublishChannel = errors.New("no channel: redis_sse_publish needs one. An argument that begins with /, @ or * is a request matcher; " +
	"a channel that begins like that goes on a channel line in the block" + hintUnset)

// Cleanup gives the hub up, once the requests that are under way are over.
func (h *PublishHandler) Cleanup() error {
	if h.claim == nil {
		return nil // not provisioned to the end
	}
	return h.claim.close()
}

// ServeHTTP answers POST. OPTIONS goes to the next handler, unless there are
// cors_origins.
func (h *PublishHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.cors == nil && r.Method == http.MethodOptions {
		return next.ServeHTTP(w, r)
	}
	noSniff(w.Header())
	answered := h.cors.answer(w, r)
	if !answered && r.Method == http.MethodPost {
		return h.servePublish(w, r)
	}
	leaveBody(w, r)
	if answered {
		return nil
	}
	w.Header().Set("Allow", http.MethodPost)
	return h.invalid.answer(w, r, caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("method %q publishes nothing: POST does", r.Method)))
}

func (h *PublishHandler) servePublish(w http.ResponseWriter, r *http.Request) error {
	channel, err := h.admit(r)
	if err != nil {
		leaveBody(w, r)
		return h.invalid.answer(w, r, err)
	}
	to, err := h.claim.enter()
	if err != nil {
		leaveBody(w, r)
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	defer h.claim.leave()
	body, err := h.readPayload(w, r, to)
	defer body.release()
	if err != nil {
		leaveBody(w, r)
		return h.unread(w, r, channel, err)
	}
	return h.publish(w, r, to, channel, body.bytes)
}

// admit returns the channel to publish on, unless the request alone says that it
// publishes nothing.
func (h *PublishHandler) admit(r *http.Request) (channel string, err error) {
	if err := h.checkSite(r); err != nil {
		return "", caddyhttp.Error(http.StatusForbidden, err)
	}
	if channel, err = replaceChannel(r, h.channel); err != nil {
		return "", asksWrongly(invalidChannel, err)
	}
	return channel, nil
}

func (h *PublishHandler) publish(w http.ResponseWriter, r *http.Request, to *redisHub, channel string, payload []byte) error {
	began := time.Now()
	ctx, span := traced{h.Channel, withoutPlaceholders(h.channel) != h.channel, to.addr(), len(payload)}.start(r.Context())
	receivers, attempts, err := to.publisher.publish(ctx, channel, payload)
	endSpan(span, receivers, attempts, err)
	h.metrics.count(time.Since(began), attempts, err)
	to.publisher.breaker.tell(&to.inForce)
	if err == nil {
		return publishAnswer{Channel: channel, Receivers: &receivers, Attempts: attempts}.write(w, http.StatusOK)
	}
	v := verdictOf(err)
	h.tell(to, v, attempts, err)
	if v.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(to.publisher.retryAfter(v)))
	}
	return publishAnswer{Channel: channel, Outcome: v.outcome(), Reason: v.reason, Attempts: attempts}.write(w, v.status)
}

// tell logs that a message was not published. That Redis refuses messages is for somebody to
// mend, and nothing else tells of it: the breaker counts it for an answer. What fails by
// itself opens that.
func (h *PublishHandler) tell(to *redisHub, v verdict, attempts int, err error) {
	fields := []zap.Field{
		zap.String("hub", to.name), zap.String("redis", to.addr()), zap.String("route", h.Channel), zap.String("reason", string(v.reason)),
		zap.Int("attempts", attempts), zap.Error(err),
	}
	if v.reason == dropDenied || v.reason == dropRejected {
		h.refused.warn(to.log(), "publishing failed", fields...)
		return
	}
	to.log().Debug("publishing failed", fields...)
}

// payloadTotal is how long a body may take in all, and a second more for each MiB of
// max_size: a client that is given up has sent nothing that Redis knows of.
const payloadTotal = time.Minute

// readPayload reads the body before anything else is done: a slow one should hold
// no connection to Redis, and half a message should not be published. It ends
// early when the configuration's drain, or Caddy's exit, has come to it.
func (h *PublishHandler) readPayload(w http.ResponseWriter, r *http.Request, to *redisHub) (*payload, error) {
	p := &payload{all: &to.payloads, most: payloadRoom(to.settings.Load().Budget.Bytes)}
	if r.ContentLength > h.maxSize {
		return p, h.tooLarge(caddyhttp.Error(http.StatusRequestEntityTooLarge,
			fmt.Errorf("the body has %d bytes, at most %d are allowed", r.ContentLength, h.maxSize)))
	}
	if !hasBody(r) {
		return p, nil
	}
	total := payloadTotal + time.Duration(h.maxSize>>20)*time.Second
	b := newBody(w, r, total, newEnding(h.drain, to, hub.NewWaiter(), time.Time{}))
	defer b.stop()
	b.source = http.MaxBytesReader(w, r.Body, h.maxSize)
	err := p.readFrom(b, r.ContentLength, h.maxSize)
	if err == nil || errors.Is(err, errPayloadsFull) {
		return p, err
	}
	if b.isCut() {
		return p, errDrained
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return p, h.tooLarge(bodyTooLarge(h.maxSize))
	}
	return p, bodyError(err, total)
}

var errDrained = errors.New("this configuration has been replaced, or caddy exits")

func (h *PublishHandler) tooLarge(err error) error {
	h.metrics.fail(dropTooLarge)
	return err
}

// unread answers a request whose body was not read to its end. If that was for want of
// room, or time, it is worth another try.
func (h *PublishHandler) unread(w http.ResponseWriter, r *http.Request, channel string, err error) error {
	if !errors.Is(err, errPayloadsFull) && !errors.Is(err, errDrained) {
		return h.invalid.answer(w, r, err)
	}
	h.metrics.fail(dropBusy)
	w.Header().Set("Retry-After", strconv.Itoa(int(publishRetryAfter.Seconds())))
	return publishAnswer{Channel: channel, Outcome: outcomeNone, Reason: dropBusy}.write(w, http.StatusServiceUnavailable)
}

// publishAnswer is what a request gets for its message.
type publishAnswer struct {
	Channel   string     `json:"channel"`
	Receivers *int64     `json:"receivers,omitempty"` // clients of the Redis server that took it
	Outcome   string     `json:"outcome,omitempty"`   // of a message that was not, or perhaps not, published
	Reason    dropReason `json:"reason,omitempty"`
	Attempts  int        `json:"attempts"`
}

const (
	outcomeNone    = "not_published"
	outcomeUnknown = "unknown"
)

func (v verdict) outcome() string {
	if v.reason == dropUnknown {
		return outcomeUnknown
	}
	return outcomeNone
}

func (a publishAnswer) write(w http.ResponseWriter, status int) error {
	text, err := json.Marshal(a)
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that has gone needs no answer
	return nil
}

// Interface guards
var (
	_ caddyhttp.MiddlewareHandler = (*PublishHandler)(nil)
	_ caddy.Provisioner           = (*PublishHandler)(nil)
	_ caddy.CleanerUpper          = (*PublishHandler)(nil)
)
