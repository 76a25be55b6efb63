// Command dashboard prints the Grafana dashboard of caddy-redis-sse, as it stands in grafana-dashboard.json beside this directory:
//
//	go run . >../grafana-dashboard.json
//
// It is a module of its own, so that who builds Caddy with caddy-redis-sse does not get Grafana's SDK.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	text, err := render()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(text)
}

// render returns the dashboard as Grafana imports it.
func render() ([]byte, error) {
	built, err := build()
	if err != nil {
		return nil, fmt.Errorf("building the dashboard: %w", err)
	}
	text, err := json.MarshalIndent(built, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encoding the dashboard: %w", err)
	}
	return append(text, '\n'), nil
}

// build lays out the rows, and numbers the panels in their order: a link to one stays right while nothing is put before it.
func build() (dashboard.Dashboard, error) {
	b := dashboard.NewDashboardBuilder("caddy-redis-sse").
		Uid("caddy-redis-sse").
		Description("Redis pub/sub to Server-Sent Events. What each panel means, and what to do: "+page).
		Tags([]string{"caddy", "redis", "sse"}).
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Time("now-1h", "now").
		Refresh("30s").
		Link(dashboard.NewDashboardLinkBuilder("Monitoring").Type(dashboard.DashboardLinkTypeLink).Url(page).TargetBlank(true))
	for _, v := range variables() {
		b = b.WithVariable(v)
	}
	id := uint32(0)
	for _, r := range rows {
		id++
		b = b.WithRow(dashboard.NewRowBuilder(r.title).Id(id))
		for _, p := range r.panels {
			id++
			b = b.WithPanel(p.build(id))
		}
	}
	return b.Build()
}
