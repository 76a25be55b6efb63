// Package autoexport has what caddyhttp names for the option "otlp" of metrics, which the demo's Caddyfile does not set. It stands in
// for OpenTelemetry's, which also brings every exporter there is, and gRPC.
package autoexport

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/sdk/metric"
)

// WithFallbackMetricProducer changes nothing: nothing is exported.
func WithFallbackMetricProducer(func(context.Context) (metric.Producer, error)) {}

// NewMetricReader says that there is no exporter here.
func NewMetricReader(context.Context) (metric.Reader, error) {
	return nil, errors.New("choosing an exporter of metrics: the demo is built without one")
}
