package redissse

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// tracingSpans are the spans of the running test that have ended.
var tracingSpans = tracetest.NewInMemoryExporter()

var tracingProvider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(tracingSpans))

// traceRequests is a Caddy handler that has requests traced as Caddy's directive tracing does, which exports to a collector only.
type traceRequests struct {
	Unsampled bool `json:"unsampled,omitempty"`
}

func init() {
	caddy.RegisterModule(traceRequests{})
	httpcaddyfile.RegisterHandlerDirective("trace_test", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return &traceRequests{Unsampled: h.NextArg()}, nil
	})
}

func (traceRequests) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.trace_test", New: func() caddy.Module { return new(traceRequests) }}
}

func (h *traceRequests) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.Unsampled {
		return next.ServeHTTP(w, r.WithContext(trace.ContextWithSpanContext(r.Context(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1},
		}))))
	}
	ctx, span := tracingProvider.Tracer("test").Start(r.Context(), "request")
	defer span.End()
	return next.ServeHTTP(w, r.WithContext(ctx))
}

func startTraced(t *testing.T, server *redistest.Server) *gateway {
	t.Helper()
	tracingSpans.Reset()
	route := func(lines string) string { return "route " + strings.Replace(lines, ": ", " {\n", 1) + "\n}\n" }
	return startGateway(t, server.URL(), quickHub, strings.Join([]string{
		route("/stream: trace_test\nredis_sse a {\ndrain 0s 0s\n}"),
		route("/publish/*: trace_test\nredis_sse_publish room:{path.1}"),
		route("/constant: trace_test\nredis_sse_publish a"),
		route("/unsampled: trace_test off\nredis_sse_publish a"),
	}, ""))
}

func (g *gateway) publishTo(path, body string) {
	g.t.Helper()
	ssetest.Do(g.t, g.client, g.URL(path), ssetest.WithMethod("POST"), ssetest.WithBody(strings.NewReader(body)))
}

// spanCalled waits for a span.
func (g *gateway) spanCalled(name string) (found tracetest.SpanStub) {
	g.t.Helper()
	g.wait("the span "+name, func() bool {
		for _, s := range tracingSpans.GetSpans() {
			if s.Name == name {
				found = s
				return true
			}
		}
		return false
	})
	return found
}

func wantAttributes(t *testing.T, of string, got []attribute.KeyValue, want ...attribute.KeyValue) {
	t.Helper()
	set, wanted := attribute.NewSet(got...), attribute.NewSet(want...)
	if !set.Equals(&wanted) {
		t.Errorf("%s has\n%s, want\n%s", of, set.Encoded(attribute.DefaultEncoder()), wanted.Encoded(attribute.DefaultEncoder()))
	}
}

// semconv's names are the conventions' own.
func TestAPublishedMessageHasASpan(t *testing.T) {
	server := redistest.Start(t)
	g := startTraced(t, server)
	host, _, _ := strings.Cut(server.Addr(), ":")
	common := []attribute.KeyValue{
		semconv.MessagingSystemKey.String("redis"), semconv.MessagingOperationName("publish"), semconv.MessagingOperationTypeSend,
		semconv.MessagingMessageBodySize(5), semconv.ServerAddress(host), semconv.ServerPort(server.Port()),
	}
	g.publishTo("/publish/secret", "hello")
	const route = "room:{http.request.uri.path.1}"
	span := g.spanCalled("publish " + route)
	wantAttributes(t, "a span", span.Attributes, append(slices.Clone(common), semconv.MessagingDestinationTemplate(route),
		attribute.Int("redis_sse.attempts", 1), attribute.Int("redis_sse.receivers", 0))...)
	if request := g.spanCalled("request"); span.Parent.SpanID() != request.SpanContext.SpanID() || span.SpanKind != trace.SpanKindClient {
		t.Errorf("the span is a %s below %s", span.SpanKind, span.Parent.SpanID())
	}
	if span.InstrumentationScope.Name != modulePath || span.Status.Code != codes.Unset {
		t.Errorf("the span is of %s, %v", span.InstrumentationScope.Name, span.Status)
	}

	server.Kill()
	g.publishTo("/constant", "hello")
	span = g.spanCalled("publish a")
	wantAttributes(t, "a failed one", span.Attributes, append(slices.Clone(common), semconv.MessagingDestinationName("a"),
		attribute.Int("redis_sse.attempts", 3), semconv.ErrorTypeKey.String("unreachable"))...)
	if span.Status.Code != codes.Error || span.Status.Description != "unreachable" {
		t.Errorf("its status is %v", span.Status)
	}
}

func TestARequestThatIsNotSampledHasNoSpan(t *testing.T) {
	server := redistest.Start(t)
	g := startTraced(t, server)
	g.publishTo("/unsampled", "hello")
	untraced := t.Context()
	if ctx, span := (traced{channel: "a", redis: server.Addr()}).start(untraced); span != nil || ctx != untraced {
		t.Error("without tracing a message costs a span")
	}
	if spans := tracingSpans.GetSpans(); len(spans) > 0 {
		t.Errorf("%d spans", len(spans))
	}
}

func TestAStreamsSpanHasItsGapsAndItsEnd(t *testing.T) {
	server := redistest.Start(t)
	g := startTraced(t, server)
	s := g.opened("/stream")
	server.Publish("a", "one")
	resumeMessages(t, s, "one")
	large := strings.Repeat("x", 1<<20+1)
	const gaps = maxTracedGaps + 3
	for range gaps {
		server.Publish("a", large)
		resumeMustGap(t, s, "a", gapTooLarge)
	}
	s.Close()
	span := g.spanCalled("request")
	var names []string
	for _, e := range span.Events {
		names = append(names, e.Name)
	}
	want := append([]string{"redis_sse.open"}, slices.Repeat([]string{"redis_sse.gap"}, maxTracedGaps)...)
	if want = append(want, "redis_sse.end"); !slices.Equal(names, want) {
		t.Fatalf("its events are %v, want %v", names, want)
	}
	wantAttributes(t, "its beginning", span.Events[0].Attributes, attribute.String("redis_sse.begins", "live"))
	wantAttributes(t, "a gap", span.Events[1].Attributes, attribute.String("redis_sse.reason", "too_large"))
	wantAttributes(t, "its end", span.Events[len(names)-1].Attributes, attribute.String("redis_sse.end", "client"),
		attribute.Int("redis_sse.events", 1), attribute.Int("redis_sse.gaps", gaps))
}

func TestASocketHasNoPort(t *testing.T) {
	wantAttributes(t, "a socket", serverAttributes("/run/redis.sock"), semconv.ServerAddress("/run/redis.sock"))
	wantAttributes(t, "IPv6", serverAttributes("[::1]:6379"), semconv.ServerAddress("::1"), semconv.ServerPort(6379))
}

// The attributes and events in the reference are those of the code.
func TestTheReferenceHasWhatIsTraced(t *testing.T) {
	names := map[string]bool{}
	for _, l := range literalsOf(t, "tracing.go") {
		names[l] = strings.Contains(l, ".") && !strings.Contains(l, "/")
	}
	var real, documented []string
	for name, is := range names {
		if is {
			real = append(real, name)
		}
	}
	for _, row := range referenceRows(t, "### Tracing", "attribute") {
		documented = append(documented, code(row["attribute"])[0])
	}
	for _, row := range referenceRows(t, "### Tracing", "span event") {
		for _, name := range append(code(row["span event"]), code(row["attributes"])...) {
			if strings.HasPrefix(name, "redis_sse.") && !slices.Contains(documented, name) {
				documented = append(documented, name)
			}
		}
	}
	sameWords(t, "attribute or span event", documented, real)
}
