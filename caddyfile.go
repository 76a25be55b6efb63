package redissse

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("redis_sse", parseGlobal)
	httpcaddyfile.RegisterHandlerDirective("redis_sse", parseHandler)
	httpcaddyfile.RegisterDirectiveOrder("redis_sse", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterHandlerDirective("redis_sse_publish", parsePublishHandler)
	httpcaddyfile.RegisterDirectiveOrder("redis_sse_publish", httpcaddyfile.Before, "respond")
}

// parseGlobal reads the global option, once for each hub:
//
//	redis_sse [<name>] {
//	    redis          <url>
//	    buffer {
//	        messages     <count>
//	        max_age      <duration>
//	        channel_size <size>
//	        total_size   <size>
//	        max_message  <size>
//	        max_channels <count>
//	    }
//	    keep           <pattern>...
//	    linger         <duration>
//	    ping_interval  <duration>
//	    dead_after     <duration>
//	    probe_interval <duration>
//	    reconnect_min  <duration>
//	    reconnect_max  <duration>
//	    publisher {
//	        attempts         <count>
//	        backoff          <duration>
//	        breaker_failures <count>
//	        breaker_reset    <duration>
//	    }
//	}
func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	app := &App{Hubs: map[string]*Hub{}}
	if before, ok := existing.(httpcaddyfile.App); ok {
		if err := caddy.StrictUnmarshalJSON(before.Value, app); err != nil {
			return nil, d.Errf("reading the redis_sse options before: %v", err)
		}
	}
	d.Next() // the option's name
	name := defaultHub
	if d.NextArg() {
		name = d.Val()
	}
	if d.NextArg() {
		return nil, d.Err("redis_sse takes one argument, a hub's name")
	}
	if err := checkHubName(name); err != nil {
		return nil, d.WrapErr(err)
	}
	if app.Hubs[name] != nil {
		return nil, d.Errf("hub %q is defined twice", name)
	}
	hub := new(Hub)
	for d.NextBlock(0) {
		if err := hub.parseOption(d); err != nil {
			return nil, err
		}
	}
	check := hub.resolve
	if strings.Contains(hub.Redis, "{") {
		check = hub.tuning // placeholders are for the machine it runs on
	}
	if _, err := check(); err != nil {
		return nil, d.Errf("hub %q: %v", name, err)
	}
	app.Hubs[name] = hub
	return httpcaddyfile.App{Name: "redis_sse", Value: caddyconfig.JSON(app, nil)}, nil
}

func (c *Hub) parseOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "redis":
		return parseRedisURL(d, &c.Redis)
	case "buffer":
		return c.parseBuffer(d)
	case "keep":
		return parseList(d, &c.Keep)
	case "linger":
		if err := parseDuration(d, &c.Linger); err != nil {
			return err
		}
		if c.Linger == 0 {
			c.Linger = -1 // in JSON, 0 is the default
		}
		return nil
	case "ping_interval":
		return parsePositive(d, &c.PingInterval)
	case "dead_after":
		return parsePositive(d, &c.DeadAfter)
	case "probe_interval":
		return parsePositive(d, &c.ProbeInterval)
	case "reconnect_min":
		return parsePositive(d, &c.ReconnectMin)
	case "reconnect_max":
		return parsePositive(d, &c.ReconnectMax)
	case "publisher":
		return c.parsePublisher(d)
	}
	return unrecognized(d)
}

func (c *Hub) parseBuffer(d *caddyfile.Dispenser) error {
	if c.Buffer != nil {
		return d.Err("buffer is given twice")
	}
	c.Buffer = new(Buffer)
	return parseBlock(d, func() error {
		switch d.Val() {
		case "messages":
			return parseCount(d, &c.Buffer.Messages)
		case "max_age":
			return parsePositive(d, &c.Buffer.MaxAge)
		case "channel_size":
			return parseSize(d, &c.Buffer.ChannelSize)
		case "total_size":
			return parseSize(d, &c.Buffer.TotalSize)
		case "max_message":
			return parseSize(d, &c.Buffer.MaxMessage)
		case "max_channels":
			return parseCount(d, &c.Buffer.MaxChannels)
		}
		return unrecognized(d)
	})
}

func (c *Hub) parsePublisher(d *caddyfile.Dispenser) error {
	if c.Publisher != nil {
		return d.Err("publisher is given twice")
	}
	c.Publisher = new(Publisher)
	return parseBlock(d, func() error {
		switch d.Val() {
		case "attempts":
			return parseCount(d, &c.Publisher.Attempts)
		case "backoff":
			return parsePositive(d, &c.Publisher.Backoff)
		case "breaker_failures":
			return parseCount(d, &c.Publisher.BreakerFailures)
		case "breaker_reset":
			return parsePositive(d, &c.Publisher.BreakerReset)
		}
		return unrecognized(d)
	})
}

// parseBlock reads the block of an option without arguments, each line with
// option.
func parseBlock(d *caddyfile.Dispenser, option func() error) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := option(); err != nil {
			return err
		}
	}
	return nil
}

func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive:
//
//	redis_sse [<matcher>] [<channel>...] {
//	    hub            <name>
//	    redis          <url>
//	    channel        <channel>...
//	    pattern        <pattern>...
//	    from           live | start | last <n> | since <duration>
//	    client_from
//	    event          none | channel | field <name>
//	    heartbeat      <duration>
//	    retry          <duration>
//	    open_timeout   <duration>
//	    stall_timeout  <duration>
//	    max_stream_age <duration>
//	    drain          <reload> [<exit>]
//	    max_streams    <count>
//	    max_streams_per <key> <count> [/<bits>]
//	    cors_origins   <origin>...
//	    gap_event      <name>
//	    cursor_event   <name>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	h.Channels = d.RemainingArgs()
	for d.NextBlock(0) {
		if err := h.parseOption(d); err != nil {
			return err
		}
	}
	if err := h.resolve(); err != nil {
		return d.WrapErr(err)
	}
	return checkHub(d, h.Hub, h.Redis)
}

// checkHub checks how a handler names its hub.
func checkHub(d *caddyfile.Dispenser, hub, redis string) error {
	if strings.Contains(hub, "://") {
		return d.WrapErr(errHubNameURL)
	}
	if hub != "" && redis != "" {
		return d.Errf("hub %q and redis are both given: a handler takes one of them", hub)
	}
	if strings.Contains(redis, "{") {
		return nil // placeholders are for the machine it runs on
	}
	if _, err := readRedisURL(redis); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (h *Handler) parseOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "hub":
		return parseString(d, &h.Hub)
	case "redis":
		return parseRedisURL(d, &h.Redis)
	case "channel":
		return parseList(d, &h.Channels)
	case "pattern":
		return parseList(d, &h.Patterns)
	case "from":
		return parseWords(d, &h.From, func(s string) error { _, err := parseFrom(s); return err })
	case "client_from":
		if d.NextArg() {
			return d.ArgErr()
		}
		h.ClientFrom = true
		return nil
	case "event":
		return parseWords(d, &h.Event, func(s string) error { _, err := hub.ParseFormat(s, "", ""); return err })
	case "heartbeat":
		return parsePositive(d, &h.Heartbeat)
	case "retry":
		return parsePositive(d, &h.Retry)
	case "open_timeout":
		return parsePositive(d, &h.OpenTimeout)
	case "stall_timeout":
		return parsePositive(d, &h.StallTimeout)
	case "max_stream_age":
		return parsePositive(d, &h.MaxStreamAge)
	case "drain":
		return h.parseDrain(d)
	case "max_streams":
		return parseCount(d, &h.MaxStreams)
	case "max_streams_per":
		return h.parseMaxStreamsPer(d)
	case "cors_origins":
		return parseList(d, &h.CORSOrigins)
	case "gap_event":
		return parseString(d, &h.GapEvent)
	case "cursor_event":
		return parseString(d, &h.CursorEvent)
	}
	return unrecognized(d)
}

func (h *Handler) parseDrain(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.ArgErr()
	}
	h.Drain = new(Drain)
	for i, to := range []*caddy.Duration{&h.Drain.Reload, &h.Drain.Exit}[:len(args)] {
		t, err := caddy.ParseDuration(args[i])
		if err != nil || t < 0 {
			return d.Errf("drain is %q, want durations", strings.Join(args, " "))
		}
		if *to = caddy.Duration(t); t == 0 {
			*to = -1 // in JSON, 0 is the default
		}
	}
	return nil
}

func (h *Handler) parseMaxStreamsPer(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 {
		return d.ArgErr()
	}
	n, err := strconv.Atoi(args[1])
	limit := StreamLimit{Key: args[0], Max: n}
	if err == nil && len(args) == 3 {
		limit.IPv6Prefix, err = parseBits(args[2])
	}
	if err != nil {
		return d.Errf("max_streams_per is %q, want a key, a count and perhaps how many bits of an address count, such as /64",
			strings.Join(args, " "))
	}
	if err := limit.check(); err != nil {
		return d.WrapErr(err)
	}
	h.MaxStreamsPer = append(h.MaxStreamsPer, limit)
	return nil
}

func parsePublishHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(PublishHandler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive:
//
//	redis_sse_publish [<matcher>] [<channel>] {
//	    hub          <name>
//	    redis        <url>
//	    channel      <channel>
//	    max_size     <size>
//	    cors_origins <origin>...
//	}
func (h *PublishHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		h.Channel = d.Val()
	}
	if d.NextArg() {
		return d.Errf("channels %q and %q: redis_sse_publish takes one", h.Channel, d.Val())
	}
	for d.NextBlock(0) {
		if err := h.parseOption(d); err != nil {
			return err
		}
	}
	if err := h.resolve(); err != nil {
		return d.WrapErr(err)
	}
	return checkHub(d, h.Hub, h.Redis)
}

func (h *PublishHandler) parseOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "hub":
		return parseString(d, &h.Hub)
	case "redis":
		return parseRedisURL(d, &h.Redis)
	case "channel":
		before := h.Channel
		if err := parseString(d, &h.Channel); err != nil {
			return err
		}
		if before != "" {
			return d.Errf("channels %q and %q: redis_sse_publish takes one", before, h.Channel)
		}
		return nil
	case "max_size":
		return parseSize(d, &h.MaxSize)
	case "cors_origins":
		return parseList(d, &h.CORSOrigins)
	}
	return unrecognized(d)
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*PublishHandler)(nil)
)
