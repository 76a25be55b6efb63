// Package monitoringtest runs examples/monitoring: Debian's Prometheus, with the scrape configuration and the alerts as they stand
// there, asks real gateways under load, one that is well and others with a fault each. Every query of the Grafana dashboard has to
// return something, every alert to fire on the fault it is for, and none on the gateway that is well. It runs the commands of
// docs/operations, too, and draws the picture there from what that Prometheus has:
//
//	make test-monitoring
//	make test-monitoring PICTURE=docs/operations/dashboard.svg
//
// The tests that need programs other tests do not stand behind the build tag monitoring. Those of the pages do not.
package monitoringtest
