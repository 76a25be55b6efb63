package redissse

import (
	"fmt"
	"net"
	"net/http"

	"go.opentelemetry.io/otel/trace"
)

// How streams over plain HTTP/1.1 are written; see Handler.Lean.
const (
	leanAuto = "auto"
	leanOn   = "on"
	leanOff  = "off"
)

// defaultLean is what is in force without the option. Tests play the others: in their own process, and in one that was built so, by the linker.
var defaultLean = leanAuto

// checkLean checks the option, and returns what is in force.
func checkLean(value string) (string, error) {
	switch value {
	case "":
		return defaultLean, nil
	case leanAuto, leanOn, leanOff:
		return value, nil
	}
	return "", fmt.Errorf("lean is %q, want auto, on or off", value)
}

// leanKind is how a stream is written once it is live.
type leanKind string

const (
	leanNot    leanKind = "no"     // by its request's goroutine
	leanShared leanKind = "shared" // by a crew, while that goroutine waits: writing has to wait for the connection
	leanParked leanKind = "parked" // by an outlet, while that goroutine waits: the request goes on for Caddy
	leanFull   leanKind = "yes"    // by an outlet; the request is over, and with it what it took
)

// whyNotLean says why a stream is not leaner.
type whyNotLean string

const (
	leanWhole      whyNotLean = ""           // it is lean
	leanOption     whyNotLean = "option"     // lean is off
	leanProtocol   whyNotLean = "protocol"   // HTTP/1.0; HTTP/2 or HTTP/3, which frame what is written: shared
	leanTLS        whyNotLean = "tls"        // what is written has to be encrypted: shared
	leanConnection whyNotLean = "connection" // a listener wrapper stands before the socket, or this system has no outlets
	leanWriter     whyNotLean = "writer"     // another handler may change what is written
	leanBody       whyNotLean = "body"       // of the request, something is still to come
	leanRecorded   whyNotLean = "recorded"   // an access log or Caddy's metrics record the request: parked
	leanTraced     whyNotLean = "traced"     // Caddy's tracing has a span that ends with the request: parked
)

// leanPlan is what is to become of a stream once it is live. It is made before the headers
// are written, as those of a stream that leaves its request say that the connection closes.
type leanPlan struct {
	kind     leanKind
	why      whyNotLean
	detail   string // of a writer or a connection
	conn     net.Conn
	writers  writers
	recorded bool // an entry in the access log is due
}

// giveUp has the stream be its request's goroutine's, for a reason.
func (p *leanPlan) giveUp(why whyNotLean, detail string) {
	*p = leanPlan{kind: leanNot, why: why, detail: detail}
}

// planLean says what the option wants to become of a stream of r. cut says that the request's body has not been read to its end.
func planLean(option string, cut bool, w http.ResponseWriter, r *http.Request) *leanPlan {
	not := func(why whyNotLean, detail string) *leanPlan {
		return &leanPlan{kind: leanNot, why: why, detail: detail}
	}
	shared := func(why whyNotLean, detail string) *leanPlan {
		return &leanPlan{kind: leanShared, why: why, detail: detail}
	}
	switch {
	case option == leanOff:
		return not(leanOption, "")
	case r.ProtoMajor == 1 && r.ProtoMinor < 1:
		return not(leanProtocol, r.Proto)
	case cut:
		return not(leanBody, "")
	case r.ProtoMajor > 1:
		return shared(leanProtocol, r.Proto)
	case r.TLS != nil:
		return shared(leanTLS, "")
	case !outletsHere:
		return not(leanConnection, "this system has no outlets")
	}
	conn := connOf(r)
	if !isBare(conn) {
		return not(leanConnection, fmt.Sprintf("%T", conn))
	}
	below := writersOf(w)
	if below.unknown != "" {
		return not(leanWriter, below.unknown)
	}
	plan := &leanPlan{kind: leanFull, conn: conn, writers: below, recorded: below.recorded}
	switch {
	case trace.SpanFromContext(r.Context()).IsRecording():
		plan.kind, plan.why = leanParked, leanTraced
	case below.recorded && option == leanAuto:
		plan.kind, plan.why = leanParked, leanRecorded
	}
	return plan
}

// connOf returns the connection that r came on, nil if it is not known.
func connOf(r *http.Request) net.Conn {
	if c, ok := r.Context().Value(connCtxKey).(*clientConn); ok {
		return c.conn
	}
	return nil
}

// isBare reports whether what is written to a connection's socket is what its client gets: a listener's
// wrapper may want to see it, or the end.
func isBare(conn net.Conn) bool {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}
