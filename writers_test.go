package redissse

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"
)

// writersProbe is a handler that begins a response as a stream does, and says what writersOf makes of its writer.
type writersProbe struct{}

func init() {
	caddy.RegisterModule(writersProbe{})
	httpcaddyfile.RegisterHandlerDirective(writersProbeName, func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return writersProbe{}, nil
	})
}

const writersProbeName = "redis_sse_writers_probe"

func (writersProbe) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers." + writersProbeName, New: func() caddy.Module { return new(writersProbe) }}
}

func (*writersProbe) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// writersSeen has the probe's verdicts.
var writersSeen struct {
	sync.Mutex
	all []string
}

func (writersProbe) ServeHTTP(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
	found := writersOf(w)
	setHeaders(w.Header())
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write([]byte(": " + strings.Repeat("long enough to be worth compressing ", 100) + "\n")); err != nil {
		return err
	}
	writersSeen.Lock()
	defer writersSeen.Unlock()
	writersSeen.all = append(writersSeen.all, writersVerdict(&found))
	return http.NewResponseController(w).Flush()
}

// writersVerdict is what there is to be known of writers, in one line.
func writersVerdict(found *writers) string {
	if found.unknown != "" {
		return "unknown " + strings.TrimRight(strings.TrimPrefix(found.unknown, caddyModules), "0123456789")
	}
	var words []string
	if found.recorded {
		words = append(words, "recorded")
	}
	if found.alter() {
		words = append(words, "changed")
	}
	if len(words) == 0 {
		return "plain"
	}
	return strings.Join(words, " ")
}

// writersRow is a handler module of Caddy in front of the probe, and what the probe is to find.
type writersRow struct {
	module string // after "http.handlers."; empty for what is no handler of a route
	global string // options
	site   string // directives in front; %s is the address of a backend
	want   string
}

// writersRows has each handler module of the pinned Caddy.
var writersRows = []writersRow{
	{"", "", "", "plain"},
	{"", "", "log {\noutput gateway_test\n}", "recorded"},
	{"", "metrics", "", "recorded"},
	{"authentication", "", "basic_auth {\nuser " + writersHash + "\n}", "plain"},
	{"encode", "", "encode zstd gzip", "plain"},
	{"encode", "", "header >Cache-Control no-store\nencode zstd gzip", "plain"}, // it asks before that is written
	{"encode", "", "encode zstd gzip\nheader >Cache-Control no-store", "changed"},
	{"encode", "", "encode zstd gzip\nheader {\nCache-Control no-store\nContent-Type text/plain\ndefer\n}", "changed"},
	{"headers", "", "header X-Other value", "plain"},
	{"headers", "", "header >X-Other value", "plain"},
	{"headers", "", "header ?X-Other value", "plain"},
	{"headers", "", "header >Trailer X-Other", "changed"},
	{"headers", "", "request_header X-Other value", "plain"},
	{"intercept", "", "intercept {\nhandle_response {\nrespond \"intercepted\"\n}\n}", "unknown caddyhttp/intercept.interceptedResponseHandler"},
	{"invoke", "}\n&(named) {\nvars name value", "invoke named", "plain"}, // a block behind the global one
	{"log_append", "", "log_append field value", "plain"},
	{"log_append", "", "log_append field {http.response.body}", "recorded changed"},
	{"map", "", "map {path} {name} {\ndefault value\n}", "plain"},
	{"push", "", "push /other", "plain"},
	{"request_body", "", "request_body {\nmax_size 1MB\n}", "plain"},
	{"reverse_proxy", "", "forward_auth %s {\nuri /auth\ncopy_headers X-Other\n}", "plain"},
	{"reverse_proxy", "", "reverse_proxy %s {\n@any status 2xx\nhandle_response @any {\nroute {\n" + writersProbeName + "\n}\n}\n}", "plain"},
	{"rewrite", "", "rewrite * /other", "plain"},
	{"subroute", "", "route {\nvars name value\n}", "plain"},
	{"templates", "", "templates", "recorded"},
	{"templates", "", "templates {\nmime text/event-stream\n}", "recorded changed"},
	{"timeouts", "", "timeouts {\nread_timeout 10s\nwrite_timeout 10s\n}", "plain"},
	{"timeouts", "servers {\ntimeouts {\nwrite_idle -1s\nread_body_idle -1s\n}\n}", "timeouts {\nread_timeout 10s\nwrite_timeout 10s\n}", "plain"},
	{"tracing", "", "tracing", "unknown github.com/felixge/httpsnoop.rw"},
	{"vars", "", "vars name value", "plain"},
}

// writersAnswer has the handler modules that hand nothing on: they answer themselves. So does acme_server, which is not linked: the
// demo's module has not all that it needs.
var writersAnswer = []string{
	"copy_response", "copy_response_headers", "error", "file_server", "metrics", "static_response",
}

// writersHash is bcrypt's, at its least cost, of the password "password".
const writersHash = "$2a$04$l.kSxqN6Njs0SfKyKzX7quOjwvm/J5xH3QxO9AwaViJFfuJtAoGPS"

func TestTheWritersBehindEachHandlerOfCaddyAreKnown(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Other", "value") }))
	t.Cleanup(backend.Close)
	for _, row := range writersRows {
		t.Run(row.module+" "+row.site, func(t *testing.T) {
			g := newGateway(t)
			site := strings.ReplaceAll(row.site, "%s", strings.TrimPrefix(backend.URL, "http://"))
			if got := writersBehind(g, row.global, site); got != row.want {
				t.Errorf("the writers are %q, want %q", got, row.want)
			}
		})
	}
}

// writersBehind returns what the probe has found behind directives.
func writersBehind(g *gateway, global, site string) string {
	g.t.Helper()
	const routes = "%s\nroute {\n%s\n" + writersProbeName + "\n}\n"
	log := ""
	if strings.HasPrefix(site, "log {") {
		log, site = site, ""
	}
	g.loadConfig(global, fmt.Sprintf(routes, log, site))
	writersSeen.Lock()
	writersSeen.all = nil
	writersSeen.Unlock()
	request, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.URL("/probe"), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	request.SetBasicAuth("user", "password")
	request.Header.Set("Accept-Encoding", acceptEncoding)
	response, err := g.client.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	writersSeen.Lock()
	defer writersSeen.Unlock()
	if len(writersSeen.all) != 1 {
		g.t.Fatalf("the answer is %s, and the probe has seen %q", response.Status, writersSeen.all)
	}
	return writersSeen.all[0]
}

func TestTheWritersOfEachProtocolAreKnown(t *testing.T) {
	overEachProtocol(t, func(t *testing.T, proto string) {
		if got := writersBehind(newGatewayOver(t, proto), "", ""); got != "plain" {
			t.Errorf("the writers are %q", got)
		}
	})
}

// A handler of a Caddy to come may change what is written.
func TestEachHandlerOfCaddyHasItsRow(t *testing.T) {
	known := slices.Clone(writersAnswer)
	for _, row := range writersRows {
		known = append(known, row.module)
	}
	for _, module := range caddy.GetModules("http.handlers") {
		of := typeOf(module.New())
		if strings.HasPrefix(of.pkg, caddyModules) && !slices.Contains(known, module.ID.Name()) {
			t.Errorf("%s is in no row: look at what it does with its writer", of)
		}
	}
	for _, name := range known {
		if _, err := caddy.GetModule("http.handlers." + name); err != nil && name != "" {
			t.Errorf("%s has a row: %v", name, err)
		}
	}
}

// notAsItWas is a writer of somebody else, put around a known one.
type notAsItWas struct {
	*caddyhttp.ResponseWriterWrapper
}

func TestAnUnknownWriterIsNamed(t *testing.T) {
	const here = "github.com/redis-sse/caddy-redis-sse."
	around := func(w http.ResponseWriter) http.ResponseWriter {
		return &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}
	}
	for want, w := range map[string]http.ResponseWriter{
		here + "notAsItWas":                  around(notAsItWas{&caddyhttp.ResponseWriterWrapper{ResponseWriter: httptest.NewRecorder()}}),
		"net/http/httptest.ResponseRecorder": around(httptest.NewRecorder()),
		"struct { http.ResponseWriter }":     around(struct{ http.ResponseWriter }{httptest.NewRecorder()}),
		"nil":                                around(nil),
	} {
		if got := writersOf(w); got.unknown != want || got.base != nil {
			t.Errorf("unknown is %q above %T, want %q", got.unknown, got.base, want)
		}
	}
}
