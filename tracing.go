package redissse

import (
	"context"
	"net"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// Caddy's tracing directive has a span for each request, in its context. Its provider
// makes those below it, so that there is nothing to configure here. Where a request is
// not traced, or not sampled, nothing is done.

// traced is what a span tells of a message.
type traced struct {
	channel  string // as configured: clients may choose the concrete one
	template bool   // it has placeholders
	redis    string // a host and port, or a path
	size     int    // of the payload, in bytes
}

// start begins the span of a message that is about to be published, by OpenTelemetry's
// conventions for messaging. It is nil if the request is not traced.
//
// The kind is client, as the conventions want where a message cannot carry its span's
// context: Redis has nowhere to put it.
func (m traced) start(ctx context.Context) (context.Context, trace.Span) {
	above := trace.SpanFromContext(ctx)
	if !above.IsRecording() {
		return ctx, nil
	}
	attributes := []attribute.KeyValue{
		attribute.String("messaging.system", "redis"),
		attribute.String("messaging.operation.name", "publish"),
		attribute.String("messaging.operation.type", "send"),
		attribute.Int("messaging.message.body.size", m.size),
		attribute.String(m.destination(), m.channel),
	}
	attributes = append(attributes, serverAttributes(m.redis)...)
	return above.TracerProvider().Tracer(modulePath, trace.WithInstrumentationVersion(ownVersion())).Start(ctx, "publish "+m.channel,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
}

// destination is which attribute the channel is.
func (m traced) destination() string {
	if m.template {
		return "messaging.destination.template"
	}
	return "messaging.destination.name"
}

// serverAttributes are of an address: a host and port, or a path.
func serverAttributes(addr string) []attribute.KeyValue {
	host, text, err := net.SplitHostPort(addr)
	port, invalid := strconv.Atoi(text)
	if err != nil || invalid != nil {
		return []attribute.KeyValue{attribute.String("server.address", addr)}
	}
	return []attribute.KeyValue{attribute.String("server.address", host), attribute.Int("server.port", port)}
}

// endSpan ends a span with what has come of its message.
func endSpan(span trace.Span, receivers int64, attempts int, err error) {
	if span == nil {
		return
	}
	defer span.End()
	span.SetAttributes(attribute.Int("redis_sse.attempts", attempts))
	if err == nil {
		span.SetAttributes(attribute.Int64("redis_sse.receivers", receivers))
		return
	}
	reason := string(verdictOf(err).reason) // the error's text may have the channel
	span.SetAttributes(attribute.String("error.type", reason))
	span.SetStatus(codes.Error, reason)
}

// streamTrace adds to a request's span what becomes of its stream. A nil one does nothing:
// the request is not traced.
type streamTrace struct {
	span         trace.Span
	events, gaps int // written
}

// maxTracedGaps is how many gaps of a stream are events of its span, which is kept in
// memory until its end: anybody who publishes too large messages makes one each.
const maxTracedGaps = 32

// openStreamTrace records that a stream opens. begins says where.
func openStreamTrace(ctx context.Context, begins hub.Beginning) *streamTrace {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return nil
	}
	span.AddEvent("redis_sse.open", trace.WithAttributes(attribute.String("redis_sse.begins", string(begins))))
	return &streamTrace{span: span}
}

// count counts a batch that has been written.
func (s *streamTrace) count(b *hub.Batch) {
	if s == nil {
		return
	}
	for i := range b.Items {
		reason, isGap := b.Items[i].IsGap()
		if !isGap {
			s.events++
			continue
		}
		if s.gaps++; s.gaps <= maxTracedGaps {
			s.span.AddEvent("redis_sse.gap", trace.WithAttributes(attribute.String("redis_sse.reason", string(reason))))
		}
	}
}

func (s *streamTrace) end(why endReason) {
	if s != nil {
		s.span.AddEvent("redis_sse.end", trace.WithAttributes(attribute.String("redis_sse.end", string(why)),
			attribute.Int("redis_sse.events", s.events), attribute.Int("redis_sse.gaps", s.gaps)))
	}
}
