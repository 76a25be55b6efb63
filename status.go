package redissse

import "time"

// statusReport answers GET /redis_sse/status. Nothing of it is secret, nor a
// payload. Fields are added, none is taken away or changes its meaning.
type statusReport struct {
	Version      string      `json:"version"` // of this module
	CaddyVersion string      `json:"caddy_version"`
	Now          time.Time   `json:"now"`
	Uptime       float64     `json:"uptime_seconds"` // of the process
	AdminPage    bool        `json:"admin_page"`     // whether one of the hubs has the option
	Top          int         `json:"top"`            // how many channels are asked for of each hub
	By           busiestBy   `json:"by"`             // what makes one busy
	Hubs         []hubStatus `json:"hubs"`           // by name; never null
}

// hubStatus is a hub as it is. The four counters count from the process's start,
// and are those of all hubs that had the name.
type hubStatus struct {
	Name      string `json:"name"`       // the address if the configuration gives none
	Redis     string `json:"redis"`      // its URL without user, password and database
	Draining  bool   `json:"draining"`   // only streams of a configuration that has gone hold it
	AdminPage bool   `json:"admin_page"` // the page may read its channels, and publish

	Connected bool          `json:"connected"`            // Redis answers
	Since     *time.Time    `json:"since,omitempty"`      // when that changed; absent before it was known
	LastError *lastError    `json:"last_error,omitempty"` // why the newest connection that failed did; stays once another one works
	Role      string        `json:"role"`                 // master, replica, cut_off (a replica without its master) or unknown
	Proved    bool          `json:"proved"`               // the newest message of the hub to itself came back
	Breaker   breakerStatus `json:"breaker"`              // of publishing

	Subscriptions int          `json:"subscriptions"` // channels and patterns that streams hold, that linger or are kept
	Channels      int          `json:"channels"`      // with a buffer
	Refused       int          `json:"refused"`       // channels and patterns that Redis has denied within the last 30 s
	Streams       int64        `json:"streams"`       // open
	Buffer        bufferStatus `json:"buffer"`

	ReceivedMessages uint64 `json:"received_messages"` // from Redis
	ReceivedBytes    uint64 `json:"received_bytes"`    // of their payloads
	SentEvents       uint64 `json:"sent_events"`       // messages written to streams
	Gaps             uint64 `json:"gaps"`              // written to streams

	Routes  []routeStatus   `json:"routes"`  // with open streams, most first; never null
	Busiest []channelStatus `json:"busiest"` // most first; never null
}

type lastError struct {
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

type breakerStatus struct {
	State string     `json:"state"`           // closed, half-open or open
	Until *time.Time `json:"until,omitempty"` // of an open one: when it is half-open at the latest
}

type bufferStatus struct {
	Messages      int64 `json:"messages"`
	Bytes         int64 `json:"bytes"`          // counted
	BytesLimit    int64 `json:"bytes_limit"`    // total_size
	ChannelsLimit int   `json:"channels_limit"` // max_channels
}

// routeStatus is what handlers of the same channels, as configured, have open on
// hubs of one name.
type routeStatus struct {
	Route   string `json:"route"`
	Streams int64  `json:"streams"`
	Behind  int64  `json:"behind"` // of those, how many had more to read than their last batch took
}

// channelStatus is a channel or a pattern as it is. It answers GET
// /redis_sse/channels/<name>, too.
type channelStatus struct {
	Hub      string     `json:"hub,omitempty"` // not within a hub
	Name     string     `json:"name"`
	Pattern  bool       `json:"pattern"`
	Streams  int        `json:"streams"`             // that read it by this name
	State    string     `json:"state"`               // live, unconfirmed or refused
	Lingers  bool       `json:"lingers"`             // held by no stream and not kept
	Messages int        `json:"messages"`            // buffered
	Outages  int        `json:"outages"`             // remembered among them
	Bytes    int64      `json:"bytes"`               // counted
	Rate     float64    `json:"rate"`                // messages a second over the last 10 s
	NewestID string     `json:"newest_id,omitempty"` // of the newest message buffered
	NewestAt *time.Time `json:"newest_at,omitempty"` // when it was received
}

// busiestBy is what the busiest channels have most of.
type busiestBy string

const (
	byStreams busiestBy = "streams"
	byRate    busiestBy = "rate"
	byBytes   busiestBy = "bytes"
)

// inUTC is a time as the admin API writes it.
func inUTC(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// when is inUTC of a time that may not be known.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = inUTC(t)
	return &t
}
