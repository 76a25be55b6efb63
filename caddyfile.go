package redissse

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("redis_sse", parseGlobal)
	httpcaddyfile.RegisterHandlerDirective("redis_sse", parseHandler)
	httpcaddyfile.RegisterDirectiveOrder("redis_sse", httpcaddyfile.Before, "respond")
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
	if name == "" || d.NextArg() {
		return nil, d.ArgErr()
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
		return parseString(d, &c.Redis)
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
	}
	return d.Errf("unrecognized subdirective %q", d.Val())
}

func (c *Hub) parseBuffer(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	if c.Buffer != nil {
		return d.Err("buffer is given twice")
	}
	c.Buffer = new(Buffer)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "messages":
			err = parseCount(d, &c.Buffer.Messages)
		case "max_age":
			err = parsePositive(d, &c.Buffer.MaxAge)
		case "channel_size":
			err = parseSize(d, &c.Buffer.ChannelSize)
		case "total_size":
			err = parseSize(d, &c.Buffer.TotalSize)
		case "max_message":
			err = parseSize(d, &c.Buffer.MaxMessage)
		case "max_channels":
			err = parseCount(d, &c.Buffer.MaxChannels)
		default:
			err = d.Errf("unrecognized subdirective %q", d.Val())
		}
		if err != nil {
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
	if h.Hub != "" && h.Redis != "" {
		return d.Errf("hub %q and redis are both given: a handler takes one of them", h.Hub)
	}
	if err := h.resolve(); err != nil {
		return d.WrapErr(err)
	}
	if strings.Contains(h.Redis, "{") {
		return nil // placeholders are for the machine it runs on
	}
	if _, err := redisOptions(h.Redis); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (h *Handler) parseOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "hub":
		return parseString(d, &h.Hub)
	case "redis":
		return parseString(d, &h.Redis)
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
		return parseWords(d, &h.Event, func(s string) error { _, err := parseFormat(s, "", ""); return err })
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
	case "gap_event":
		return parseString(d, &h.GapEvent)
	case "cursor_event":
		return parseString(d, &h.CursorEvent)
	}
	return d.Errf("unrecognized subdirective %q", d.Val())
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

// The functions below read the one argument of the current option and name
// both in their errors.

func parseString(d *caddyfile.Dispenser, to *string) error {
	key := d.Val()
	if !d.NextArg() {
		return d.ArgErr()
	}
	if *to = d.Val(); *to == "" {
		return d.Errf("%s is empty", key)
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

func parseList(d *caddyfile.Dispenser, to *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, args...)
	return nil
}

func parseWords(d *caddyfile.Dispenser, to *string, check func(string) error) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*to = strings.Join(args, " ")
	if err := check(*to); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func parseDuration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	var s string
	key := d.Val()
	if err := parseString(d, &s); err != nil {
		return err
	}
	t, err := caddy.ParseDuration(s)
	if err != nil || t < 0 {
		return d.Errf("%s is %q, want a duration", key, s)
	}
	*to = caddy.Duration(t)
	return nil
}

// parsePositive refuses 0, which would silently mean the default.
func parsePositive(d *caddyfile.Dispenser, to *caddy.Duration) error {
	key := d.Val()
	if err := parseDuration(d, to); err != nil {
		return err
	}
	if *to == 0 {
		return d.Errf("%s is %q, want a duration above 0", key, d.Val())
	}
	return nil
}

func parseCount(d *caddyfile.Dispenser, to *int) error {
	var s string
	key := d.Val()
	if err := parseString(d, &s); err != nil {
		return err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return d.Errf("%s is %q, want a count above 0", key, s)
	}
	*to = n
	return nil
}

func parseSize(d *caddyfile.Dispenser, to *int64) error {
	var s string
	key := d.Val()
	if err := parseString(d, &s); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n < 1 || n > 1<<62 {
		return d.Errf("%s is %q, want a size such as 4MiB", key, s)
	}
	*to = int64(n)
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Handler)(nil)
