package redissse

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/jsonpath"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("redis_sse", parseGlobal)
	// The first stands before those that follow: a redis_sse without a matcher would
	// answer a health check with a stream.
	httpcaddyfile.RegisterDirectiveOrder("redis_sse_health", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterHandlerDirective("redis_sse", parseHandler)
	httpcaddyfile.RegisterDirectiveOrder("redis_sse", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterHandlerDirective("redis_sse_publish", parsePublishHandler)
	httpcaddyfile.RegisterDirectiveOrder("redis_sse_publish", httpcaddyfile.Before, "respond")
}

// The tables below are all that a Caddyfile may say, in the order of the documentation:
// the comments of App, Handler and PublishHandler have the same.

// allBlocks are all that a Caddyfile may have of this module.
func allBlocks() []block {
	return append(new(Hub).block().withInner(), new(Handler).block(), new(PublishHandler).block(), new(HealthHandler).block())
}

func (c *Hub) block() block {
	buffer, publisher := new(Buffer), new(Publisher)
	return block{"the global option redis_sse (in the { } at the top of the Caddyfile)", []option{
		{name: "redis", args: "<url>", example: "redis://localhost:6379", read: readURL(&c.Redis)},
		withBlock("buffer", buffer.block(), func() { c.Buffer = buffer }),
		{name: "keep", args: "<pattern>...", example: "job:* notice:*", read: readList(&c.Keep, func(p string) error { return checkPattern("keep", p) })},
		{name: "linger", args: "<duration>", example: "5m", read: readPeriod(&c.Linger)},
		{name: "ping_interval", args: "<duration>", example: "1s", read: readPositive(&c.PingInterval)},
		{name: "dead_after", args: "<duration>", example: "9s", read: readPositive(&c.DeadAfter)},
		{name: "probe_interval", args: "<duration>", example: "10s", read: readPositive(&c.ProbeInterval)},
		{name: "reconnect_min", args: "<duration>", example: "1s", read: readPositive(&c.ReconnectMin)},
		{name: "reconnect_max", args: "<duration>", example: "10s", read: readPositive(&c.ReconnectMax)},
		withBlock("publisher", publisher.block(), func() { c.Publisher = publisher }),
		{name: "admin_page", read: readFlag(&c.AdminPage)},
	}}
}

func (c *Buffer) block() block {
	return block{"buffer { } of the global option redis_sse", []option{
		{name: "messages", args: "<count>", example: "10000", read: readNumber(&c.Messages)},
		{name: "max_age", args: "<duration>", example: "15m", read: readPositive(&c.MaxAge)},
		{name: "channel_size", args: "<size>", example: "4MiB", read: readSize(&c.ChannelSize)},
		{name: "total_size", args: "<size>", example: "256MiB", read: readSize(&c.TotalSize)},
		{name: "max_message", args: "<size>", example: "1MiB", read: readSize(&c.MaxMessage)},
		{name: "max_channels", args: "<count>", example: "100000", read: readNumber(&c.MaxChannels)},
	}}
}

func (c *Publisher) block() block {
	return block{"publisher { } of the global option redis_sse", []option{
		{name: "attempts", args: "<count>", example: "3", read: readNumber(&c.Attempts)},
		{name: "backoff", args: "<duration>", example: "100ms", read: readPositive(&c.Backoff)},
		{name: "breaker_failures", args: "<count>", example: "5", read: readNumber(&c.BreakerFailures)},
		{name: "breaker_reset", args: "<duration>", example: "60s", read: readPositive(&c.BreakerReset)},
	}}
}

func (h *Handler) block() block {
	checkFrom := func(s string) error { _, err := parseFrom(s, nil); return err }
	checkEvent := func(s string) error { _, err := hub.ParseFormat(hub.Wire{Event: s}); return err }
	checkData := func(s string) error { _, err := hub.ParseFormat(hub.Wire{Data: s}); return err }
	const match = "data <text>... | event <name>... | field <path> [<value>...]"
	return block{"the directive redis_sse (in a site)", []option{
		{name: "hub", args: "<name>", example: "default", read: readString(&h.Hub)},
		{name: "redis", args: "<url>", example: "redis://localhost:6379", read: readURL(&h.Redis)},
		{name: "channel", args: "<channel>...", example: "news user:{http.auth.user.id}", read: readList(&h.Channels, checkConfigured)},
		{name: "pattern", args: "<pattern>...", example: "job:*", read: readList(&h.Patterns, func(p string) error { return checkPattern("pattern", p) })},
		{name: "from", args: "live | start | unfinished | last <count> | since <duration>", example: "last 10", read: readWords(&h.From, checkFrom)},
		{name: "client_from", read: readFlag(&h.ClientFrom)},
		{name: "event", args: "none | channel | field <path>", example: "channel", read: readWords(&h.Event, checkEvent)},
		{name: "data", args: "payload | field <path>", example: "field data", read: readWords(&h.Data, checkData)},
		{name: "end", args: match, example: "data [DONE]", read: readMatch(&h.End)},
		{name: "begin", args: match, example: "field type start", read: readMatch(&h.Begin)},
		{name: "merge", args: "<path>...", example: "delta", read: readList(&h.Merge, jsonpath.Check)},
		{name: "empty", args: "wait | 204", example: "204", read: readString(&h.Empty)},
		{name: "heartbeat", args: "<duration>", example: "15s", read: readPositive(&h.Heartbeat)},
		{name: "retry", args: "<duration>", example: "2s", read: readPositive(&h.Retry)},
		{name: "open_timeout", args: "<duration>", example: "2s", read: readPositive(&h.OpenTimeout)},
		{name: "stall_timeout", args: "<duration>", example: "10s", read: readPositive(&h.StallTimeout)},
		{name: "max_stream_age", args: "<duration>", example: "1h", read: readPositive(&h.MaxStreamAge)},
		{name: "drain", args: "<reload> [<exit>]", example: "30s 5s", read: readDrain(&h.Drain)},
		{name: "max_streams", args: "<count>", example: "20000", read: readNumber(&h.MaxStreams)},
		{name: "max_streams_per", args: "<key> <count> [/<bits>]", example: "{client_ip} 20 /64", read: readStreamLimit(&h.MaxStreamsPer)},
		{name: "cors_origins", args: "<origin>...", example: "https://app.example.com", read: readList(&h.CORSOrigins, checkOrigin)},
		{name: "quiet", args: "<duration> [<text>]", example: "2m", read: readQuiet(&h.Quiet)},
		{name: "presence", args: "<key> [<duration>]", example: "listening:{channel} 30s", read: readPresence(&h.Presence)},
		{name: "lean", args: "auto | on | off", example: "auto", read: readString(&h.Lean)},
		{name: "control", args: "events | comments", example: "comments", read: readString(&h.Control)},
		{name: "gap_event", args: "<name>", example: "gap", read: readString(&h.GapEvent)},
		{name: "gap_data", args: "<template> | none", example: "none", read: readString(&h.GapData)},
		{name: "cursor_event", args: "<name>", example: "cursor", read: readString(&h.CursorEvent)},
	}}
}

func (h *PublishHandler) block() block {
	return block{"the directive redis_sse_publish (in a site)", []option{
		{name: "hub", args: "<name>", example: "default", read: readString(&h.Hub)},
		{name: "redis", args: "<url>", example: "redis://localhost:6379", read: readURL(&h.Redis)},
		{name: "channel", args: "<channel>", example: "news", read: h.readChannel},
		{name: "max_size", args: "<size>", example: "64KiB", read: readSize(&h.MaxSize)},
		{name: "cors_origins", args: "<origin>...", example: "https://app.example.com", read: readList(&h.CORSOrigins, checkOrigin)},
	}}
}

func (h *PublishHandler) readChannel(r *reading) error {
	before := h.Channel
	if err := readString(&h.Channel)(r); err != nil {
		return err
	}
	if before != "" {
		return r.Errf("channels %q and %q: redis_sse_publish takes one", before, h.Channel)
	}
	return r.checkList("channel", []string{h.Channel}, checkConfigured)
}

// parseGlobal reads the global option, once for each hub.
func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	app, err := hubsOf(existing)
	if err != nil {
		return nil, d.WrapErr(err)
	}
	d.Next() // the option's name
	name := defaultHub
	args := d.RemainingArgs()
	if len(args) > 0 {
		name = args[0]
	}
	if err := checkGlobalArgs(name, len(args)); err != nil {
		return nil, d.WrapErr(err)
	}
	if app.Hubs[name] != nil {
		return nil, d.Errf("hub %q is defined twice", name)
	}
	hub, r := new(Hub), newReading(d)
	if err := r.block(hub.block()); err != nil {
		return nil, err
	}
	if _, err := hub.tuning(); err != nil {
		return nil, r.located(err)
	}
	if err := checkNamedHub(name, hub); err != nil {
		return nil, d.WrapErr(err)
	}
	app.Hubs[name] = hub
	return httpcaddyfile.App{Name: "redis_sse", Value: caddyconfig.JSON(app, nil)}, nil
}

// hubsOf returns what the global options so far have made.
func hubsOf(option any) (*App, error) {
	app := &App{Hubs: map[string]*Hub{}}
	if before, ok := option.(httpcaddyfile.App); ok {
		if err := caddy.StrictUnmarshalJSON(before.Value, app); err != nil {
			return nil, fmt.Errorf("reading the redis_sse options before: %w", err)
		}
	}
	return app, nil
}

// checkGlobalArgs checks the arguments of the global option, of which there should be one,
// a hub's name. It repeats none: one may be a URL.
func checkGlobalArgs(name string, n int) error {
	if err := checkHubName(name); err != nil {
		return err
	}
	if n > 1 || strings.ContainsAny(name[:1], "/@*") {
		return errors.New("the global option redis_sse takes one argument, a hub's name. " +
			"The directive of that name, with a matcher and channels, stands in a site; a Redis URL goes on a redis line in the block")
	}
	if strings.HasSuffix(name, "{") {
		return errors.New("a hub's name ends with {: perhaps a space is missing before it")
	}
	return nil
}

func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	r := newReading(d)
	r.Next() // the directive's name
	h.Channels = r.RemainingArgs()
	if err := r.checkChannelArgs(h.Channels); err != nil {
		return err
	}
	if err := r.block(h.block()); err != nil {
		return err
	}
	err := h.resolve()
	if _, alone := r.given["redis"]; alone && errors.Is(err, errNoChannel) {
		return r.Errf("no channel, but a redis line: if this is meant to be %s, it belongs there; the directive needs a channel", new(Hub).block().place)
	}
	return r.checkHandler(err, h.Hub, h.Redis)
}

// checkChannelArgs checks the arguments of a directive, which are channels.
func (r *reading) checkChannelArgs(args []string) error {
	for _, arg := range args {
		if arg != "" && strings.ContainsAny(arg[:1], "/@*") {
			return r.Errf("argument %q begins as a matcher does: there is one at most, the first argument, and a @name can match several paths. "+
				"A channel that begins like that goes on a channel line in the block", arg)
		}
	}
	return r.checkList("channel", args, checkConfigured)
}

// checkHandler ends the reading of a directive: err is what is wrong with its options.
func (r *reading) checkHandler(err error, hub, redis string) error {
	switch {
	case err != nil:
		return r.located(err)
	case strings.Contains(hub, "://"):
		return r.located(errHubURL)
	case hub != "" && redis != "":
		return r.located(fmt.Errorf("hub %q and redis are both given: a handler takes one of them", hub))
	}
	return nil
}

func parsePublishHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(PublishHandler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive.
func (h *PublishHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return h.read(newReading(d))
}

func (h *PublishHandler) read(r *reading) error {
	r.Next() // the directive's name
	args := r.RemainingArgs()
	if err := r.checkChannelArgs(args); err != nil {
		return err
	}
	if len(args) > 1 {
		return r.Errf("channels %q and %q: redis_sse_publish takes one", args[0], args[1])
	}
	if len(args) == 1 {
		h.Channel = args[0]
	}
	if err := r.block(h.block()); err != nil {
		return err
	}
	return r.checkHandler(h.resolve(), h.Hub, h.Redis)
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*PublishHandler)(nil)
)
