package redissse

import (
	"errors"
	"runtime/debug"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// Buffer bounds what is kept, of each channel and in total. Of a channel, what
// goes first is always the oldest; clients that would have needed it are told
// so by a gap event.
type Buffer struct {
	// At most this many messages a channel, 1 to 10000000. Default: 10000
	Messages int `json:"messages,omitempty"`

	// At most this long after receipt, 1s to 1 year. Default: 15m
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// At most this many bytes a channel, 4096 to 1 TiB; payloads, cached event
	// bodies and some 110 bytes a message count. Old messages that are alike
	// count far less: some 40 bytes for the token of an answer. More than half
	// of total_size has no effect. A message that is larger by itself is not delivered but
	// gapped. Default: 4194304 (4 MiB)
	ChannelSize int64 `json:"channel_size,omitempty"`

	// At most this many bytes over all channels of the hub, 65536 to 1 TiB;
	// counted as for channel_size, and some 600 bytes a channel and its name.
	// Over it go channels that linger, longest first, then such as only keep
	// holds, quietest first, then the oldest messages. Default: 268435456 (256
	// MiB) or a quarter of GOMEMLIMIT, if that is less
	TotalSize int64 `json:"total_size,omitempty"`

	// A message with more bytes than this is not delivered but gapped, 1 byte
	// to 512 MiB, which is the most that Redis takes. Default: 1048576 (1 MiB)
	MaxMessage int64 `json:"max_message,omitempty"`

	// At most this many channels at once, 1 to 10000000; total_size allows
	// half of it to be taken by channels being there. Over it channels go that
	// no client has open, then streams of new channels are refused. Default:
	// 100000
	MaxChannels int `json:"max_channels,omitempty"`
}

// The defaults. 10,000 messages are some minutes of the fastest token stream,
// and 4 MiB a channel hold ten times as many; 15 minutes cover a closed laptop lid.
const (
	defaultMessages    = 10000
	defaultMaxAge      = 15 * time.Minute
	defaultChannelSize = 4 << 20
	defaultTotalSize   = 256 << 20
	minTotalSize       = 64 << 10
	defaultMaxMessage  = 1 << 20
	defaultMaxChannels = 100_000
)

// resolve checks the configuration, which may be nil, and fills in what is not
// set.
func (c *Buffer) resolve() (of hub.Limits, all hub.Budget, err error) {
	if c == nil {
		c = new(Buffer)
	}
	var maxAge time.Duration
	var messages, channels int64
	err = errors.Join(
		inRange("max_age", c.MaxAge, defaultMaxAge, time.Second, 365*24*time.Hour, &maxAge),
		sizeInRange("channel_size", c.ChannelSize, defaultChannelSize, 4<<10, 1<<40, &of.Bytes),
		inRange("messages", int64(c.Messages), defaultMessages, 1, 10_000_000, &messages),
		sizeInRange("total_size", c.TotalSize, standardTotalSize(debug.SetMemoryLimit(-1)), minTotalSize, 1<<40, &all.Bytes),
		sizeInRange("max_message", c.MaxMessage, defaultMaxMessage, 1, 512<<20, &of.Message),
		inRange("max_channels", int64(c.MaxChannels), defaultMaxChannels, 1, 10_000_000, &channels),
	)
	of.Messages, of.MaxAge, all.Channels = int(messages), maxAge.Milliseconds(), int(channels)
	// For a larger message all others would have to go, and it might go, too.
	of.Bytes = min(of.Bytes, all.Bytes/2)
	return of, all, err
}

// standardTotalSize leaves the process three quarters of its memory limit.
func standardTotalSize(memoryLimit int64) int64 {
	return max(minTotalSize, min(defaultTotalSize, memoryLimit/4))
}
