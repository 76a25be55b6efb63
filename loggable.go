package redissse

import (
	"slices"

	"go.uber.org/zap/zapcore"
)

// Caddy logs a handler with all its exported fields (the option trace of a server's logs).
// These log it without its URL.

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (h *Handler) MarshalLogObject(to zapcore.ObjectEncoder) error {
	to.AddString("hub", h.Hub)
	to.AddString("route", h.route)
	return nil
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (h *PublishHandler) MarshalLogObject(to zapcore.ObjectEncoder) error {
	to.AddString("hub", h.Hub)
	to.AddString("route", h.Channel)
	return nil
}

func (h *Handler) configured() []string { return slices.Concat(h.Channels, h.Patterns) }

func (h *PublishHandler) configured() []string { return []string{h.Channel} }

// Interface guards
var (
	_ zapcore.ObjectMarshaler = (*Handler)(nil)
	_ zapcore.ObjectMarshaler = (*PublishHandler)(nil)
)
