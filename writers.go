package redissse

import (
	"net/http"
	"reflect"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// writers is what stands between a handler and its client's connection: writers that handlers in front of it have
// put around each other.
type writers struct {
	top      http.ResponseWriter // what the handler was given
	base     http.ResponseWriter // the server's own; nil if one in front of it is unknown
	recorded bool                // somebody counts what is written, and may keep it
	unknown  string              // the first type that is not known, which may change what is written; empty if all are
}

// writerType names a type, or what a pointer points to.
type writerType struct{ pkg, name string }

func (t writerType) String() string {
	if t.pkg == "" {
		return t.name
	}
	return t.pkg + "." + t.name
}

// writerRole is what a writer does with what is written to it.
type writerRole uint8

const (
	writerUnknown writerRole = iota
	writerPasses             // hands it on as it is, once the headers have been written
	writerRecords            // does so and counts it, unless it keeps it, which it decides when the headers are written
	writerBase               // writes it to the connection
)

const caddyModules = "github.com/caddyserver/caddy/v2/modules/"

// writerRoles has the types whose source has been read, of Caddy v2.11.9 and what that serves with. Whatever else has an Unwrap
// method, which http.ResponseController goes through, may do anything with what passes it.
var writerRoles = map[writerType]writerRole{
	{"net/http", "response"}:                               writerBase,
	{"golang.org/x/net/http2", "responseWriter"}:           writerBase,
	{"github.com/quic-go/quic-go/http3", "responseWriter"}: writerBase,
	// Nothing but its methods for other writers to embed.
	{caddyModules + "caddyhttp", "ResponseWriterWrapper"}: writerPasses,
	// Sets a deadline before each write and flush.
	{caddyModules + "caddyhttp", "IdleTimeoutWriter"}: writerPasses,
	// Has read deadlines go another way.
	{caddyModules + "caddyhttp", "readDeadlineWriter"}: writerPasses,
	// Of the access log, Caddy's metrics, templates, and of log_append where that wants the body.
	{caddyModules + "caddyhttp", "responseRecorder"}: writerRecords,
	// Changes headers, when they are written.
	{caddyModules + "caddyhttp/headers", "responseWriterWrapper"}: writerPasses,
	// Compresses unless Cache-Control has no-transform, which it decides when the headers of a stream are written; it has set
	// Content-Encoding then.
	{caddyModules + "caddyhttp/encode", "responseWriter"}: writerPasses,
	// Pushes what Link headers name, when they are written.
	{caddyModules + "caddyhttp/push", "linkPusher"}: writerPasses,
}

// writersOf finds out what stands below w, which a handler was given.
func writersOf(w http.ResponseWriter) writers {
	found := writers{top: w}
	for {
		t := typeOf(w)
		switch writerRoles[t] {
		case writerBase:
			found.base = w
			return found
		case writerRecords:
			found.recorded = true
		case writerUnknown:
			found.unknown = t.String()
			return found
		}
		w = below(w)
	}
}

func typeOf(writer any) writerType {
	t := reflect.TypeOf(writer)
	if t == nil {
		return writerType{name: "nil"}
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Name() == "" { // a struct without a name of its own
		return writerType{name: t.String()}
	}
	return writerType{t.PkgPath(), t.Name()}
}

// below returns the writer that w was put around, nil if there is none.
func below(w http.ResponseWriter) http.ResponseWriter {
	if wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		return wrapper.Unwrap()
	}
	return nil
}

// alter reports whether what is written reaches the connection in another form, or not all of what goes there is written here, although
// all writers are known. It is settled by the first write: "encode" may decide there.
func (w *writers) alter() bool {
	for at := w.top; at != nil; at = below(at) {
		if recorder, ok := at.(caddyhttp.ResponseRecorder); ok && recorder.Buffered() {
			return true
		}
	}
	header := w.top.Header()
	for _, name := range []string{"Content-Encoding", "Content-Length", "Transfer-Encoding", "Trailer"} {
		if header.Get(name) != "" {
			return true
		}
	}
	return false
}
