package autoexport_test

import (
	"testing"

	"go.opentelemetry.io/contrib/exporters/autoexport"
)

func TestThereIsNoExporter(t *testing.T) {
	autoexport.WithFallbackMetricProducer(nil)
	if reader, err := autoexport.NewMetricReader(t.Context()); reader != nil || err == nil {
		t.Errorf("reader %v, error %v", reader, err)
	}
}
