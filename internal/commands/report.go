package commands

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// statusReport is what GET /redis_sse/status answers, as far as it is shown.
type statusReport struct {
	Version      string      `json:"version"`
	CaddyVersion string      `json:"caddy_version"`
	Now          time.Time   `json:"now"`
	Uptime       float64     `json:"uptime_seconds"`
	By           string      `json:"by"`
	Hubs         []hubStatus `json:"hubs"`
}

type hubStatus struct {
	Name      string     `json:"name"`
	Redis     string     `json:"redis"`
	Draining  bool       `json:"draining"`
	Connected bool       `json:"connected"`
	Since     *time.Time `json:"since"`
	LastError *struct {
		Text string    `json:"text"`
		At   time.Time `json:"at"`
	} `json:"last_error"`
	Role    string `json:"role"`
	Proved  bool   `json:"proved"`
	Breaker struct {
		State string     `json:"state"`
		Until *time.Time `json:"until"`
	} `json:"breaker"`
	Channels int   `json:"channels"`
	Refused  int   `json:"refused"`
	Streams  int64 `json:"streams"`
	Buffer   struct {
		Bytes         int64 `json:"bytes"`
		BytesLimit    int64 `json:"bytes_limit"`
		ChannelsLimit int   `json:"channels_limit"`
	} `json:"buffer"`
	ReceivedMessages uint64 `json:"received_messages"`
	SentEvents       uint64 `json:"sent_events"`
	Gaps             uint64 `json:"gaps"`
	Routes           []struct {
		Route   string `json:"route"`
		Streams int64  `json:"streams"`
		Behind  int64  `json:"behind"`
	} `json:"routes"`
	Busiest []channelStatus `json:"busiest"`
}

type channelStatus struct {
	Name     string     `json:"name"`
	Pattern  bool       `json:"pattern"`
	Streams  int        `json:"streams"`
	State    string     `json:"state"`
	Lingers  bool       `json:"lingers"`
	Messages int        `json:"messages"`
	Bytes    int64      `json:"bytes"`
	Rate     float64    `json:"rate"`
	NewestAt *time.Time `json:"newest_at"`
}

// table is the report for a person. before is an earlier one, for rates, or nil.
func (s *statusReport) table(from string, before *statusReport) string {
	var out strings.Builder
	fmt.Fprintf(&out, "caddy-redis-sse %s in Caddy %s at %s, up %s, %s\n\n", escaped(s.Version), escaped(s.CaddyVersion), escaped(from),
		short(time.Duration(s.Uptime*float64(time.Second))), s.Now.Format("2006-01-02 15:04:05 MST"))
	if len(s.Hubs) == 0 {
		return out.String() + "No hub: the configuration has no redis_sse.\n"
	}
	s.hubs(&out, before)
	s.problems(&out)
	s.routes(&out)
	s.busiest(&out)
	return out.String()
}

// columns writes a table: a header, then rows that each calls row with.
func columns(out *strings.Builder, header string, each func(row func(cells ...any))) {
	const padding = 2
	w := tabwriter.NewWriter(out, 0, 0, padding, ' ', 0)
	row := func(cells ...any) {
		texts := make([]string, len(cells))
		for i, cell := range cells {
			texts[i] = cut(escaped(fmt.Sprint(cell)))
		}
		fmt.Fprintln(w, strings.Join(texts, "\t"))
	}
	fmt.Fprintln(w, strings.Join(strings.Split(header, "|"), "\t"))
	each(row)
	_ = w.Flush() // a strings.Builder takes everything
}

// maxCell keeps a long name from pushing all other columns off the screen.
const maxCell = 48

func cut(text string) string {
	if runes := []rune(text); len(runes) > maxCell {
		return string(runes[:maxCell-3]) + "..."
	}
	return text
}

func (s *statusReport) hubs(out *strings.Builder, before *statusReport) {
	header := "HUB|REDIS|STATE|ROLE|PROVED|BREAKER|STREAMS|CHANNELS|BUFFER|RECEIVED|SENT|GAPS"
	columns(out, header, func(row func(...any)) {
		for i := range s.Hubs {
			h := &s.Hubs[i]
			rate := s.rates(before, h.Name)
			row(h.Name, h.Redis, h.state(s.Now), h.Role, yes(h.Proved), h.Breaker.State, h.Streams, h.Channels,
				part(h.Buffer.Bytes, h.Buffer.BytesLimit),
				rate(h.ReceivedMessages, func(h *hubStatus) uint64 { return h.ReceivedMessages }),
				rate(h.SentEvents, func(h *hubStatus) uint64 { return h.SentEvents }), h.Gaps)
		}
	})
}

// rates returns what adds to a count of a hub how fast it grew since before.
func (s *statusReport) rates(before *statusReport, name string) func(now uint64, of func(*hubStatus) uint64) string {
	return func(now uint64, of func(*hubStatus) uint64) string {
		text := fmt.Sprint(now)
		if before == nil || s.Uptime < before.Uptime { // another process counts
			return text
		}
		passed := s.Now.Sub(before.Now).Seconds()
		for i := range before.Hubs {
			if h := &before.Hubs[i]; h.Name == name && passed > 0 && now >= of(h) {
				return fmt.Sprintf("%s (%s/s)", text, number(float64(now-of(h))/passed))
			}
		}
		return text
	}
}

// number has a decimal only where that says something.
func number(n float64) string {
	if n == 0 || n >= 100 {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.1f", n)
}

func (h *hubStatus) state(now time.Time) string {
	text := "DOWN"
	if h.Connected {
		text = "up"
	}
	if h.Since == nil {
		return text
	}
	return text + " " + short(max(0, now.Sub(*h.Since)))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

// part is a size, and which part of its limit that is.
func part(size, limit int64) string {
	text := humanize.IBytes(uint64(max(0, size)))
	if limit > 0 {
		text += fmt.Sprintf(" (%.0f %%)", 100*float64(size)/float64(limit))
	}
	return text
}

// problems says what the table of hubs has no room for.
func (s *statusReport) problems(out *strings.Builder) {
	for i := range s.Hubs {
		h := &s.Hubs[i]
		say := func(format string, args ...any) {
			fmt.Fprintf(out, "  %s: %s\n", escaped(h.Name), escaped(fmt.Sprintf(format, args...)))
		}
		if e := h.LastError; e != nil {
			say("the last error, %s ago: %s", short(max(0, s.Now.Sub(e.At))), e.Text)
		}
		if h.Breaker.Until != nil {
			say("publishing is tried again in %s", short(max(0, h.Breaker.Until.Sub(s.Now))))
		}
		if h.Refused > 0 {
			say("Redis denies %s", count(h.Refused, "channel or pattern", "channels or patterns"))
		}
		if limit := h.Buffer.ChannelsLimit; limit > 0 && h.Channels >= limit {
			say("there is no room for another channel: max_channels is %d", limit)
		}
		if h.Draining {
			say("only streams of a configuration that has gone hold it")
		}
	}
}

func (s *statusReport) routes(out *strings.Builder) {
	if !slices.ContainsFunc(s.Hubs, func(h hubStatus) bool { return len(h.Routes) > 0 }) {
		return
	}
	out.WriteString("\n")
	columns(out, "HUB|ROUTE|STREAMS|BEHIND", func(row func(...any)) {
		for i := range s.Hubs {
			for _, r := range s.Hubs[i].Routes {
				row(s.Hubs[i].Name, r.Route, r.Streams, r.Behind)
			}
		}
	})
}

func (s *statusReport) busiest(out *strings.Builder) {
	fmt.Fprintf(out, "\nBusiest by %s:\n", escaped(cmp.Or(s.By, busiestBy[0])))
	columns(out, "HUB|CHANNEL|STREAMS|RATE|MESSAGES|BYTES|NEWEST|STATE", func(row func(...any)) {
		for i := range s.Hubs {
			for j := range s.Hubs[i].Busiest {
				c := &s.Hubs[i].Busiest[j]
				row(s.Hubs[i].Name, c.name(), c.Streams, number(c.Rate)+"/s", c.Messages, humanize.IBytes(uint64(max(0, c.Bytes))),
					c.newest(s.Now), c.state())
			}
		}
	})
}

func (c *channelStatus) name() string {
	if c.Pattern {
		return "pattern " + c.Name
	}
	return c.Name
}

func (c *channelStatus) newest(now time.Time) string {
	if c.NewestAt == nil {
		return "-"
	}
	return short(max(0, now.Sub(*c.NewestAt))) + " ago"
}

func (c *channelStatus) state() string {
	if c.Lingers {
		return c.State + ", lingers"
	}
	return c.State
}
