package redissse

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

func init() { caddy.RegisterModule(Handler{}) }

// Handler streams Redis channels to clients as Server-Sent Events. Each
// message is one event; an event named "gap" says that something may be
// missing at its place, an event named "cursor" only carries an id.
//
// In a Caddyfile it is a directive of a site. An argument that begins with /, @
// or * is the matcher; a channel like that goes on a channel line:
//
//	redis_sse [<matcher>] [<channel>...] {
//	    hub             <name>
//	    redis           <url>
//	    channel         <channel>...
//	    pattern         <pattern>...
//	    from            live | start | unfinished | last <count> | since <duration>
//	    client_from
//	    event           none | channel | field <path>
//	    data            payload | field <path>
//	    end             data <text>... | event <name>... | field <path> [<value>...]
//	    begin           data <text>... | event <name>... | field <path> [<value>...]
//	    merge           <path>...
//	    empty           wait | 204
//	    heartbeat       <duration>
//	    retry           <duration>
//	    open_timeout    <duration>
//	    stall_timeout   <duration>
//	    max_stream_age  <duration>
//	    drain           <reload> [<exit>]
//	    max_streams     <count>
//	    max_streams_per <key> <count> [/<bits>]
//	    cors_origins    <origin>...
//	    quiet           <duration> [<text>]
//	    presence        <key> [<duration>]
//	    lean            auto | on | off
//	    control         events | comments
//	    gap_event       <name>
//	    gap_data        <template> | none
//	    cursor_event    <name>
//	}
//
// Such as:
//
//	app.example.com {
//	    redis_sse /events news user:{http.auth.user.id} {
//	        event           channel
//	        max_streams_per {client_ip} 20 /64
//	    }
//	}
type Handler struct {
	// The name of the hub to read from, "default" if neither this nor redis
	// is given.
	Hub string `json:"hub,omitempty"`

	// A Redis URL of its own instead of a named hub, see the app's hubs. All
	// handlers that give the same one share a hub.
	Redis string `json:"redis,omitempty"`

	// The channels to stream; at least one, or a pattern. Placeholders are
	// replaced for each request; one that is empty or unknown makes the
	// request fail with 400. Glob characters are taken literally.
	Channels []string `json:"channels,omitempty"`

	// Redis patterns, as PSUBSCRIBE takes them: all channels that match are
	// streamed. They are constants: a placeholder in one is an error. Default:
	// none
	Patterns []string `json:"patterns,omitempty"`

	// What a client without a cursor gets first: "live" (what is published
	// from now on), "start" (all that is buffered), "unfinished" (what came behind
	// the newest end, which needs end), "last <n>" or "since <duration>". Default: live
	From string `json:"from,omitempty"`

	// Whether clients may choose that with ?from=start, ?last=<n> or
	// ?since=<Unix seconds or RFC 3339>. Default: false
	ClientFrom bool `json:"client_from,omitempty"`

	// How events are named: "none", "channel", or "field <path>" for the
	// string at that path in a JSON payload, such as type or choices.0.delta.role (a key with a
	// dot can be all of the path). Names over 64 bytes, with line ends, or, unless control
	// is comments, equal to open, error or the gap or cursor event are left out. Default: none
	Event string `json:"event,omitempty"`

	// What is sent of a message: "payload", all of it, or "field <path>": what stands at that path in a JSON
	// payload, of a string its text, of anything else its JSON. Where there is none, the payload is
	// sent as it is. Default: payload
	Data string `json:"data,omitempty"`

	// With which messages the stream ends: one that any of these means is its last event, and the
	// response ends. A stream that ends before it for another reason is cut, so that no
	// client takes it for a whole answer. A client that comes back with the id of that event gets
	// 204 unless something came behind it. For a stream of one channel. Default: none
	End []Match `json:"end,omitempty"`

	// With which messages an answer begins. A client without a cursor is then not told of what is missing
	// before its first message if that is such a one: it belongs to another answer. For a stream of one channel, from start
	// or unfinished. Default: none
	Begin []Match `json:"begin,omitempty"`

	// The paths, at most 8, of strings of JSON payloads, such as choices.0.delta.content. Messages that a stream reads together, next to each other in
	// one channel, and that differ in the string at one of them alone share an event, of at most 64 KiB of that: a client that
	// replays, or is slow, gets few large events. Default: each message has an event of its own
	Merge []string `json:"merge,omitempty"`

	// What is answered to a client without a cursor whose stream would begin with nothing: "wait" (a
	// stream) or "204" (no content, once Redis has confirmed the channel; a stream if it has not within open_timeout).
	// Default: wait
	Empty string `json:"empty,omitempty"`

	// How often an idle stream gets an event that only carries its cursor:
	// above 0 and under 60s, which is when proxies lose patience. Default: 15s
	Heartbeat caddy.Duration `json:"heartbeat,omitempty"`

	// How long a browser waits before it comes back, 1ms to 10m. Default: 2s
	Retry caddy.Duration `json:"retry,omitempty"`

	// How long a request waits for Redis to confirm its channels. The stream
	// opens then anyway, with a gap once they are confirmed. 1ms to 1m.
	// Default: 2s
	OpenTimeout caddy.Duration `json:"open_timeout,omitempty"`

	// A client that takes no 16 KiB for this long is disconnected, 100ms to
	// 10m. Default: 10s
	StallTimeout caddy.Duration `json:"stall_timeout,omitempty"`

	// Streams end at a random moment of the last tenth of this age, 1s to 1
	// year, counted from the request's start. Clients come back by themselves
	// and miss nothing; what stands before this handler, such as
	// forward_auth, sees them again. Below the server's write_timeout, which
	// would cut streams, they end in time anyway. Default: no limit
	MaxStreamAge caddy.Duration `json:"max_stream_age,omitempty"`

	// Over which time streams end when their configuration goes.
	Drain *Drain `json:"drain,omitempty"`

	// How many streams may be open at once, 1 to 10000000. More are refused:
	// an EventSource comes back by itself, others get 503. Those that an
	// earlier configuration drains do not count. Default: no limit
	MaxStreams int `json:"max_streams,omitempty"`

	// How many streams may be open with the same value of a key, such as a
	// client's address. More are refused: an EventSource comes back by itself,
	// others get 429. Default: no limits
	MaxStreamsPer []StreamLimit `json:"max_streams_per,omitempty"`

	// The origins, such as https://app.example.com, whose pages may read
	// streams although they are of another origin, with their credentials.
	// Default: none
	CORSOrigins []string `json:"cors_origins,omitempty"`

	// For how long a stream that has an end may get no message, and what it ends with then.
	// It needs end. Default: for ever
	Quiet *Quiet `json:"quiet,omitempty"`

	// A key in Redis that is there as long as a stream of a channel is open, for
	// workers that ask whether somebody listens. Default: none
	Presence *Presence `json:"presence,omitempty"`

	// Whether a few goroutines write to thousands of clients once their streams are live. "off": each has its request's. "auto": over plain
	// HTTP/1.1, on Linux, a stream leaves its request, and takes a tenth of the memory, where nobody records that; where an access
	// log, Caddy's metrics or tracing do, and over HTTP/2, HTTP/3 and HTTPS, the request waits. "on": it leaves all the same: Caddy's
	// metrics take the request for over, and an entry of this module takes the place of the access log's. Default: auto
	Lean string `json:"lean,omitempty"`

	// How cursors and heartbeats are sent: "events", or "comments" for clients whose protocol has no room
	// for events of ours. Default: events
	Control string `json:"control,omitempty"`

	// The event name of gaps. Default: gap; with control comments: none
	GapEvent string `json:"gap_event,omitempty"`

	// With control comments, and needed there: the data of gap events in the words of the client's protocol, at most 16 KiB. In it
	// {gap} becomes the gap's JSON and {gap.reason} its reason. "none": gaps are comments, which no client's code sees.
	GapData string `json:"gap_data,omitempty"`

	// The event name of cursors and heartbeats. Not with control comments. Default: cursor
	CursorEvent string `json:"cursor_event,omitempty"`

	terms
	channels    []string
	patterns    []string
	wire        wire
	openTimeout time.Duration
	maxAge      time.Duration // 0: no limit
	route       string        // the channels and patterns as configured, for metrics
	drain       *drain
	limits      *streamLimits
	turnedAway  *seldom // what is logged of that
	stalled     *seldom // and of clients that stall
	invalid     *invalidRequests
	cors        *cors
	presence    *presenceOf // nil: none
	lean        string
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.redis_sse", New: func() caddy.Module { return new(Handler) }}
}

const (
	defaultHeartbeat    = 15 * time.Second
	defaultRetry        = 2 * time.Second
	defaultOpenTimeout  = 2 * time.Second
	defaultStallTimeout = 10 * time.Second
	defaultDrainReload  = 30 * time.Second
	// Nobody answers from the exit's beginning until the next process is up, if there
	// is one gateway only, so that a window must not be longer than the shortest wait of
	// a client that has been sent away: half of defaultRetry. Where there are several,
	// window and waits spread the clients over 3 s. And Caddy's official systemd unit
	// kills it 5 s after it was told to end.
	defaultDrainExit = time.Second
	// maxHeartbeat is below 60 s, at which common proxies end what is silent.
	maxHeartbeat = time.Minute - 1
)

// Provision checks the configuration and takes the hub. It does no I/O.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := h.resolve(); err != nil {
		return err
	}
	for _, channel := range h.channels {
		warnOfDoubts(ctx.Logger(), channel, "did you mean pattern?")
	}
	h.wire.warn(ctx.Logger(), h.route)
	app, own, err := acquireFor(ctx, h.Hub, h.Redis)
	if err != nil {
		return err
	}
	h.claim = &sharedClaim{claim: own, log: ctx.Logger()}
	if h.presence, err = h.Presence.loaded(h.Redis, own.settings); err != nil {
		return err
	}
	h.invalid.begin(own.hub.name, ctx.Logger())
	h.metrics = newRouteMetrics(own.hub.name, h.route)
	h.left = &leftPayloads{route: h.route, log: ctx.Logger(), count: metricDataLeft.WithLabelValues(own.hub.name, h.route)}
	h.drain.grace = func() time.Duration { return app.grace }
	if server := h.drain.beginWith(ctx); server != nil {
		h.capAge(time.Duration(server.WriteTimeout), ctx.Logger())
		rememberConns(server)
		server.RegisterOnStop(awaitLean)
		leanEnds.bound(h.drain.exit, h.stallTimeout)
	}
	return nil
}

// resolve checks every field and fills in what is not set.
func (h *Handler) resolve() error {
	if len(h.Channels)+len(h.Patterns) == 0 {
		return errNoChannel
	}
	if err := checkPatterns("pattern", h.Patterns); err != nil {
		return err
	}
	h.patterns = slices.Compact(slices.Sorted(slices.Values(h.Patterns)))
	h.channels = nil
	for _, channel := range h.Channels {
		channel = canonicalPlaceholders(channel)
		if err := checkConfigured(channel); err != nil {
			return err
		}
		h.channels = append(h.channels, channel)
	}
	if err := h.wire.resolve(h.wireOptions()); err != nil {
		return err
	}
	var err error
	if h.lean, err = checkLean(h.Lean); err != nil {
		return err
	}
	var window Drain
	if h.Drain != nil {
		window = *h.Drain
	}
	h.drain, h.turns = newDrain(), replayTurns
	h.quiet = h.Quiet
	h.route = strings.Join(slices.Concat(h.Channels, h.Patterns), " ")
	h.invalid = newInvalidRequests(h.route)
	return errors.Join(
		h.resolveMaxAge(),
		h.resolveLimits(),
		h.Presence.check(len(h.Channels) == 0),
		h.Quiet.check(len(h.End) > 0),
		inRange("heartbeat", h.Heartbeat, defaultHeartbeat, time.Millisecond, maxHeartbeat, &h.heartbeat),
		inRange("retry", h.Retry, defaultRetry, time.Millisecond, 10*time.Minute, &h.retry),
		inRange("open_timeout", h.OpenTimeout, defaultOpenTimeout, time.Millisecond, time.Minute, &h.openTimeout),
		inRange("stall_timeout", h.StallTimeout, defaultStallTimeout, 100*time.Millisecond, 10*time.Minute, &h.stallTimeout),
		inRange("drain", max(window.Reload, -1), defaultDrainReload, -1, time.Hour, &h.drain.reload),
		inRange("drain", max(window.Exit, -1), defaultDrainExit, -1, time.Hour, &h.drain.exit),
	)
}

func (h *Handler) wireOptions() wireOptions {
	return wireOptions{
		Wire: hub.Wire{
			Event: h.Event, Data: h.Data, Control: h.Control, Gap: h.GapEvent, GapData: h.GapData, Cursor: h.CursorEvent,
			End: matchesOf(h.End), Begin: matchesOf(h.Begin), Merge: h.Merge,
		},
		from: h.From, empty: h.Empty, clientFrom: h.ClientFrom, channels: h.Channels, patterns: h.Patterns,
	}
}

func (h *Handler) resolveLimits() error {
	var errs []error
	if h.MaxStreams != 0 {
		errs = append(errs, inRange("max_streams", int64(h.MaxStreams), 0, 1, maxStreams, new(int64)))
	}
	for _, limit := range h.MaxStreamsPer {
		errs = append(errs, limit.check())
	}
	h.limits, h.turnedAway, h.stalled = newStreamLimits(h.MaxStreams, h.MaxStreamsPer), new(seldom), new(seldom)
	var err error
	h.cors, err = newCORS(h.CORSOrigins, "GET, HEAD, POST")
	return errors.Join(append(errs, err)...)
}

func (h *Handler) resolveMaxAge() error {
	if h.maxAge = 0; h.MaxStreamAge == 0 {
		return nil
	}
	return inRange("max_stream_age", h.MaxStreamAge, 0, time.Second, 365*24*time.Hour, &h.maxAge)
}

// capAge has streams end before the server's write_timeout cuts them, which it
// does whatever they write.
func (h *Handler) capAge(timeout time.Duration, log *zap.Logger) {
	if timeout <= 0 {
		return
	}
	// A tenth and at least a second for the last writes; half of a timeout
	// that is too short for that.
	most := max(timeout-max(time.Second, timeout/10), timeout/2)
	if h.maxAge != 0 && h.maxAge <= most {
		return
	}
	h.maxAge = most
	log.Warn("the server's write_timeout limits the age of streams: they end before it and clients come back",
		zap.Duration("write_timeout", timeout), zap.Duration("max_stream_age", most))
}

// Cleanup gives the hub up, at once or when the last open stream ends. It
// does not wait for them: a reload would wait as long as the longest stream.
func (h *Handler) Cleanup() error {
	if h.claim == nil {
		return nil // not provisioned to the end
	}
	return h.claim.close()
}

// ServeHTTP answers GET and POST with a stream (POST for fetch clients and
// for a reverse proxy's handle_response), HEAD with a stream's headers, or as GET
// where there is nothing more to stream.
// OPTIONS goes to the next handler, unless there are cors_origins.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.cors == nil && r.Method == http.MethodOptions {
		return next.ServeHTTP(w, r)
	}
	noSniff(w.Header())
	answered := h.cors.answer(w, r)
	if !answered && (r.Method == http.MethodGet || r.Method == http.MethodPost) {
		return h.serveStream(w, r)
	}
	leaveBody(w, r)
	switch {
	case answered:
		return nil
	case r.Method == http.MethodHead && h.isOver(r):
		answerNothing(w, h.metrics.noContent[noContentEnded])
		return nil
	case r.Method == http.MethodHead:
		setHeaders(w.Header())
		w.WriteHeader(http.StatusOK)
		return nil
	}
	w.Header().Set("Allow", "GET, HEAD, POST")
	return h.invalid.answer(w, r, caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("method %q opens no stream: GET and POST do", r.Method)))
}

// Interface guards
var (
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
)
