package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Sizes on Grafana's grid, which is 24 wide: three charts or six numbers beside each other.
const (
	chartWidth, chartHeight = 8, 7
	statWidth, statHeight   = 4, 4
)

type row struct {
	title  string
	panels []panel
}

// panel is what tells one from another.
type panel struct {
	title   string
	about   string
	unit    string
	now     bool // a number instead of a chart
	queries []query
	states  []state // what its values are called
	bad     float64 // of a number without states: red from here on
}

// query is a PromQL expression, and what each of its series is called.
type query struct{ legend, expr string }

// state is the name and the colour of a value.
type state struct{ value, text, color string }

func (p panel) build(id uint32) cog.Builder[dashboard.Panel] {
	if p.now {
		return p.number(id)
	}
	return p.chart(id)
}

func (p panel) chart(id uint32) cog.Builder[dashboard.Panel] {
	b := timeseries.NewPanelBuilder().
		Id(id).Title(p.title).Description(p.about).Datasource(source()).
		Span(chartWidth).Height(chartHeight).
		Unit(p.unit).Min(0).FillOpacity(10).ShowPoints(common.VisibilityModeNever).
		Mappings(p.mappings()).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	for i, q := range p.queries {
		b = b.WithTarget(q.build(i))
	}
	return b
}

func (p panel) number(id uint32) cog.Builder[dashboard.Panel] {
	b := stat.NewPanelBuilder().
		Id(id).Title(p.title).Description(p.about).Datasource(source()).
		Span(statWidth).Height(statHeight).
		Unit(p.unit).ColorMode(common.BigValueColorModeValue).GraphMode(common.BigValueGraphModeNone).
		Mappings(p.mappings()).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
	if p.bad > 0 {
		b = b.Thresholds(dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps([]dashboard.Threshold{
			{Color: "green"}, {Color: "red", Value: cog.ToPtr(p.bad)},
		}))
	}
	for i, q := range p.queries {
		b = b.WithTarget(q.build(i))
	}
	return b
}

func (q query) build(i int) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().
		RefId(string(rune('A' + i))).Datasource(source()).Expr(q.expr).LegendFormat(q.legend).Range()
}

func (p panel) mappings() []dashboard.ValueMapping {
	if p.states == nil {
		return []dashboard.ValueMapping{}
	}
	named := dashboard.NewValueMap()
	for i, s := range p.states {
		named.Options[s.value] = dashboard.ValueMappingResult{
			Text: cog.ToPtr(s.text), Color: cog.ToPtr(s.color), Index: cog.ToPtr(int32(i)),
		}
	}
	return []dashboard.ValueMapping{{ValueMap: named}}
}
