package redissse

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/requestbody"
	_ "github.com/caddyserver/caddy/v2/modules/logging"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// loggedMistake is what is logged of one.
type loggedMistake struct{ Msg, Site, Route, Because, Instead string }

// mistakesIn are those that are logged of a configuration when it is validated.
func mistakesIn(t *testing.T, config []byte) []loggedMistake {
	t.Helper()
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
		t.Fatal(err)
	}
	adaptLogHere(t, &parsed)
	gatewayLogs.reset()
	if err := caddy.Validate(&parsed); err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	return loggedMistakes(t)
}

// adaptLogHere has a configuration keep nothing and log to gatewayLogs.
func adaptLogHere(t *testing.T, config *caddy.Config) {
	t.Helper()
	config.Admin = &caddy.AdminConfig{Disabled: true}
	config.StorageRaw = []byte(`{"module": "file_system", "root": "` + t.TempDir() + `"}`)
	config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{
		WriterRaw: []byte(`{"output": "gateway_test"}`), EncoderRaw: []byte(`{"format": "json"}`),
	}}}}
}

func loggedMistakes(t *testing.T) (found []loggedMistake) {
	t.Helper()
	for line := range strings.Lines(gatewayLogs.text()) {
		var m loggedMistake
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m.Instead != "" {
			if !strings.Contains(line, `"level":"warn","ts"`) || !strings.Contains(line, `"logger":"redis_sse"`) {
				t.Errorf("not a warning of the app: %s", line)
			}
			found = append(found, m)
		}
	}
	return found
}

// inSite is a Caddyfile with a site.
func inSite(lines string) string { return "http://example.com {\n" + lines + "\n}\n" }

const (
	copiesUser = " 127.0.0.1:1 {\nuri /auth\ncopy_headers X-User-Id\n}\n"
	asksOnly   = " 127.0.0.1:1 {\nuri /auth\n}\n"
	asksBob    = " {\nbob $2a$14$B4fAmSWyDZVX/nb6JgHz1eNmb2soSIf7GSaip2BHqIL6gKJbcFwWK\n}\n"
	app        = "reverse_proxy 127.0.0.1:1\n"
	byUser     = "user:{header.X-User-Id}"
	byUserLong = "user:{http.request.header.X-User-Id}"
)

const (
	tellsWhole     = "redis_sse without a matcher answers all requests of its site: what stands behind it never runs"
	tellsAnswered  = "redis_sse never runs: what stands before it answers all of its requests"
	tellsTaken     = "redis_sse never runs: a handle before it takes all of its requests, and only one runs"
	tellsTwice     = "redis_sse never runs: another one before it answers the same requests"
	tellsBoth      = "redis_sse_publish never runs: redis_sse before it answers the same requests, also POST"
	tellsOutside   = "redis_sse never runs: its path is none of those that what stands around it is for"
	tellsStripped  = "redis_sse never runs: its path is compared when handle_path or uri has taken the beginning away"
	tellsNoPart    = "redis_sse answers each request with 400: its path has no such part"
	tellsForged    = "redis_sse lets clients choose the channel with a header: nothing before it removes or sets what they send"
	tellsUncovered = "redis_sse lets clients choose the channel with a header: what removes or sets it is not for all of its paths, such as "
	tellsEverybody = "redis_sse lets everybody in: what asks who it is stands behind it and never runs"

	handleInstead  = "handle /events { redis_sse news } in place of the line, or a matcher for what stands before it"
	twiceInstead   = "one redis_sse with all channels, or a path of its own"
	bothInstead    = "a path of its own, or matchers with method GET for redis_sse and method POST for redis_sse_publish"
	copyInstead    = "copy_headers X-User-Id in a forward_auth with the same matcher; or a remote_ip matcher, if a proxy in front sets the header"
	swapInstead    = "the two the other way round"
	outsideInstead = "redis_sse /api/events news, or handle_path in place of handle"
)

// mistakeCase is a site, and the one mistake in it: all but the site.
type mistakeCase struct{ name, lines, text, route, because, instead string }

var mistakeCases = []mistakeCase{
	// The page, too, becomes a stream.
	{"no matcher beside an app", "redis_sse news\n" + app, tellsWhole, "redis_sse news", "reverse_proxy", "redis_sse /events news"},
	{"no slash", "redis_sse events news\nfile_server", tellsWhole, "redis_sse events news", "file_server",
		"redis_sse /events events news or, if events is meant as a path, redis_sse /events news"},
	{"no matcher beside a text", "redis_sse news\nrespond /health ok", tellsWhole, "redis_sse news", "static_response", "redis_sse /events news"},
	{"no matcher, in a handle", "handle {\nredis_sse news\n}\n" + app, tellsWhole, "redis_sse news", "reverse_proxy", "redis_sse /events news"},

	{"a handle for all else", "redis_sse /events news\nhandle {\n" + app + "}", tellsAnswered, "redis_sse /events news", "reverse_proxy", handleInstead},
	{"a redirection of all", "redir https://example.org{uri}\nredis_sse /events news", tellsAnswered, "redis_sse /events news", "static_response", handleInstead},
	{"behind an app in a route", "route {\n" + app + "redis_sse /events news\n}", tellsAnswered, "redis_sse /events news", "reverse_proxy", handleInstead},
	{"behind files in a route", "route {\nfile_server\nredis_sse /events news\n}", tellsAnswered, "redis_sse /events news", "file_server", handleInstead},
	{"behind a wider path", "route {\nrespond /e* no\nredis_sse /events news\n}", tellsAnswered, "redis_sse /events news", "static_response", handleInstead},
	{"another handle with its path", "route {\nhandle /e* {\nheader A b\n}\nhandle /events {\nredis_sse news\n}\n}", tellsTaken, "redis_sse /events news", "handle", "all of it in one handle"},
	{"a named route", "handle {\ninvoke app\n}\nredis_sse /events news", tellsAnswered, "redis_sse /events news", "reverse_proxy", handleInstead},

	{"two with one path", "redis_sse /events a\nredis_sse /events b", tellsTwice, "redis_sse /events b", "redis_sse /events a", twiceInstead},
	{"two handles with one path", "handle /events {\nredis_sse a\n}\nhandle /events {\nredis_sse b\n}", tellsTwice, "redis_sse /events b", "redis_sse /events a", twiceInstead},
	{"two with one expression", "@a path_regexp ^/e\nredis_sse @a a\nredis_sse @a b", tellsTwice, "redis_sse b", "redis_sse a", twiceInstead},
	{"both with one path", "redis_sse /events a\nredis_sse_publish /events b", tellsBoth, "redis_sse_publish /events b", "redis_sse /events a", bothInstead},

	{"another path around", "handle /api/* {\nredis_sse /events news\n}", tellsOutside, "redis_sse /events news", "/api/*", outsideInstead},
	{"its path once more", "handle /events {\nredis_sse /events/* news\n}", tellsOutside, "redis_sse /events/* news", "/events", "redis_sse news"},
	{"a path that is stripped", "handle_path /api/* {\nredis_sse /api/events news\n}", tellsStripped, "redis_sse /api/events news", "/api", "redis_sse /events news"},
	{"a path that uri strips", "uri strip_prefix /api\nredis_sse /api/events news", tellsStripped, "redis_sse /api/events news", "/api", "redis_sse /events news"},
	{"no such part", "redis_sse /rooms {path.1}", tellsNoPart, "redis_sse /rooms {http.request.uri.path.1}", "{http.request.uri.path.1}",
		"redis_sse /rooms/* {http.request.uri.path.1}"},

	{"a header", "redis_sse /events " + byUser, tellsForged, "redis_sse /events " + byUserLong, "X-User-Id", copyInstead},
	{"a header that is not copied", "forward_auth /events" + asksOnly + "redis_sse /events " + byUser, tellsForged,
		"redis_sse /events " + byUserLong, "X-User-Id", copyInstead},
	{"a header that is copied elsewhere", "forward_auth /me/*" + copiesUser + "redis_sse /events " + byUser, tellsUncovered + "/events",
		"redis_sse /events " + byUserLong, "X-User-Id", copyInstead},
	{"a header that is copied below", "forward_auth /me/*" + copiesUser + "redis_sse /me " + byUser, tellsUncovered + "/me",
		"redis_sse /me " + byUserLong, "X-User-Id", copyInstead},
	{"a header that is copied at some of its paths", "forward_auth /me" + copiesUser + "redis_sse /me* " + byUser, tellsUncovered + "/mex",
		"redis_sse /me* " + byUserLong, "X-User-Id", copyInstead},
	{"a header that is copied behind", "route /me {\nredis_sse " + byUser + "\nrequest_header -X-User-Id\n}", tellsForged,
		"redis_sse /me " + byUserLong, "X-User-Id", copyInstead},
	{"authentication behind", "route /events {\nredis_sse news\nbasic_auth" + asksBob + "}", tellsEverybody, "redis_sse /events news", "authentication", swapInstead},
	{"forward_auth behind", "route /events {\nredis_sse news\nforward_auth" + asksOnly + "}", tellsEverybody, "redis_sse /events news", "reverse_proxy", swapInstead},
}

func TestMistakesInTheRoutesAreTold(t *testing.T) {
	for _, c := range mistakeCases {
		t.Run(c.name, func(t *testing.T) {
			config, err := adapt("&(app) {\n" + app + "}\n" + inSite(c.lines))
			if err != nil {
				t.Fatal(err)
			}
			want := loggedMistake{c.text, "example.com", c.route, c.because, c.instead}
			if got := mistakesIn(t, config); len(got) != 1 || got[0] != want {
				t.Errorf("got  %+v\nwant %+v\n%s", got, want, config)
			}
		})
	}
}

// Each is what one of the mistakes looks like, and is none.
func TestWhatOnlyLooksLikeAMistake(t *testing.T) {
	for _, lines := range []string{
		"redis_sse news",
		"redis_sse a b",
		"redis_sse news\nencode gzip\nlog",
		"redis_sse news\nrespond 204", // to OPTIONS
		"redis_sse news\n@options method OPTIONS\nrespond @options ok",
		"handle /events {\nredis_sse news\nrespond 204\n}",
		"handle /events {\nredis_sse news\nreverse_proxy 127.0.0.1:1 {\nhandle_response {\nrespond ok\n}\n}\n}",
		"handle /api/* {\n" + app + "}\nhandle {\nredis_sse news\n}",
		"handle /events {\nredis_sse news\n}\nhandle {\n" + app + "}",
		"handle_path /api/* {\n" + app + "}\nredis_sse /events news",
		"redis_sse /events news\nhandle {\nheader A b\n}", // answers nothing
		"redis_sse /events news\n@no not path /events\nhandle @no {\n" + app + "}",
		"@out not header Cookie *\nredir @out /login\nredis_sse /events news",
		"route {\nredis_sse /events news\nfile_server\n}",
		"route {\nfile_server {\npass_thru\n}\nredis_sse /events news\n}",
		"route {\nrespond /events/* no\nredis_sse /events news\n}",
		"redis_sse /a a\nredis_sse /b b\nredis_sse /a/* c",
		"@get {\nmethod GET\npath /events\n}\nredis_sse @get a\nredis_sse_publish /events b",
		"redis_sse /events a\n@old path /events\nroute {\nrewrite @old /new\nredis_sse /new b\n}",
		"handle /api/* {\nredis_sse /api/events news\n}",
		"handle_path /api/* {\nredis_sse /events news\n}",
		"handle /a* {\nhandle /*b {\nredis_sse news\n}\n}",
		"@old header A b\nuri @old strip_prefix /v1\nredis_sse /v1/events news",
		"route {\nhandle /a {\nuri strip_prefix /v1\n}\nredis_sse /v1/events news\n}",
		"redis_sse /rooms/* {path.1}",
		"redis_sse /rooms/all {path.1}",
		"handle_path /rooms/* {\nredis_sse {path.0}\n}",
		"@room path_regexp ^/rooms\nredis_sse @room {path.1}",
		"forward_auth /me*" + copiesUser + "redis_sse /me/events " + byUser,
		"forward_auth /me/events /events" + copiesUser + "redis_sse /me/events " + byUser,
		"forward_auth" + copiesUser + "redis_sse /events " + byUser + "\nredis_sse_publish /publish " + byUser,
		"@e path_regexp ^/e\nforward_auth @e" + copiesUser + "redis_sse /events " + byUser,
		"handle /me/* {\nforward_auth" + copiesUser + "redis_sse " + byUser + "\n}",
		"request_header X-User-Id 7\nredis_sse /events " + byUser,
		"request_header -X-*\nredis_sse /events " + byUser,
		"basic_auth" + asksBob + "redis_sse /events " + byUser,
		"@front {\nremote_ip 10.0.0.0/8\npath /events\n}\nredis_sse @front " + byUser,
		"bind 127.0.0.1\nredis_sse /events " + byUser,
		"redis_sse /events {header.X-Api-Key} {header.Accept-Language} {query.a} {path.0} {cookie.a}",
		"basic_auth /events" + asksBob + "redis_sse /events news",
	} {
		config, err := adapt(inSite(lines))
		if err != nil {
			t.Fatalf("%s\n%v", lines, err)
		}
		if got := mistakesIn(t, config); got != nil {
			t.Errorf("%s\nis told of: %+v", lines, got)
		}
	}
}

// caddyfileBlocks are those of a page.
var caddyfileBlocks = regexp.MustCompile("(?s)```caddyfile\n(.*?)```")

// adaptShown adapts what a file shows, which may be a part of a site or of a reverse_proxy, and may import what stands beside the file.
func adaptShown(name, text string) (config []byte, err error) {
	file, _, _ := strings.Cut(name, " ")
	snippets := ""
	for _, beside := range []string{"ai.Caddyfile"} {
		if path := filepath.Join(filepath.Dir(file), beside); file != path && !strings.Contains(text, "import "+beside) && isThere(path) {
			snippets = "import " + beside + "\n"
		}
	}
	first := error(nil)
	for _, all := range []string{text, snippets + text, snippets + inSite(text), snippets + inSite("reverse_proxy 127.0.0.1:1 {\n"+text+"\n}")} {
		config, _, err = caddyconfig.GetAdapter("caddyfile").Adapt([]byte(all), map[string]any{"filename": file})
		if err == nil {
			return config, nil
		}
		first = cmp.Or(first, err)
	}
	return nil, errors.Join(first, err)
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestNothingThatWeShowIsAMistake(t *testing.T) {
	for _, name := range []string{"REDIS_URL", "ANALYTICS_REDIS_URL"} {
		t.Setenv(name, "redis://127.0.0.1:1")
	}
	t.Setenv("DEMO_BACKEND", "127.0.0.1:1")
	t.Setenv("PUBLISH_HASH", "$2a$14$B4fAmSWyDZVX/nb6JgHz1eNmb2soSIf7GSaip2BHqIL6gKJbcFwWK")
	texts := map[string]string{}
	var pages []string
	for _, glob := range []string{"examples/*/*Caddyfile", "*.md", "docs/*.md", "docs/*/*.md", "examples/*/*.md"} {
		files, err := filepath.Glob(glob)
		if err != nil || files == nil {
			t.Fatalf("%s: %v, %v", glob, files, err)
		}
		pages = append(pages, files...)
	}
	for _, file := range pages {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(file, ".md") {
			texts[file] = string(text)
		}
		for i, block := range caddyfileBlocks.FindAllStringSubmatch(string(text), -1) {
			texts[fmt.Sprint(file, " ", i)] = block[1]
		}
	}
	if len(texts) < 20 {
		t.Fatalf("only %d", len(texts))
	}
	for name, text := range texts {
		config, err := adaptShown(name, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := mistakesIn(t, config); got != nil {
			t.Errorf("%s is told of: %+v", name, got)
		}
	}
}

// A configuration that a program writes has no site blocks, and its routes need not be terminal.
func TestMistakesInJSONAreTold(t *testing.T) {
	const config = `{"apps": {"http": {"servers": {"s": {"listen": [":8088"], "routes": [
		{"match": [{"path": ["/events", "/e"]}, {"path": ["/f"]}], "handle": [{"handler": "redis_sse", "channels": ["a"]}]},
		{"handle": [{"handler": "redis_sse", "patterns": ["b*"]}]},
		{"match": [{"path": ["/F"], "method": ["GET"]}], "handle": [{"handler": "redis_sse", "channels": ["c"]}]},
		{"handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:1"}]}]}
	]}}}}}`
	got := mistakesIn(t, []byte(config))
	want := []loggedMistake{
		{tellsTwice, ":8088", "redis_sse /f c", "redis_sse /events a", twiceInstead},
		{tellsWhole, ":8088", "redis_sse b*", "reverse_proxy", "redis_sse /events b*"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// HTTP and HTTPS of one site are servers of their own.
func TestAMistakeIsToldOnceALoad(t *testing.T) {
	redis := redistest.Start(t)
	g := newGateway(t)
	const routes = "redis_sse /events a\nredis_sse /events b\n"
	count := func() int { return strings.Count(gatewayLogs.text(), "never runs") }
	g.load(redis.URL(), "", routes)
	if n := count(); n != 1 {
		t.Errorf("told %d times by one load", n)
	}
	g.load(redis.URL(), "linger 1m", routes)
	g.stop()
	if n := count(); n != 2 {
		t.Errorf("told %d times by two loads", n)
	}
	config, err := adapt("http://example.com, https://example.com {\n" + routes + "}")
	if err != nil {
		t.Fatal(err)
	}
	if got := mistakesIn(t, config); len(got) != 1 {
		t.Errorf("of two servers are told %+v", got)
	}
}

func TestOfManyMistakesTheFirstAreTold(t *testing.T) {
	var lines strings.Builder
	for i := range mostMistakes + 5 {
		fmt.Fprintf(&lines, "redis_sse /%d a\nredis_sse /%d b\n", i, i)
	}
	config, err := adapt(inSite(lines.String()))
	if err != nil {
		t.Fatal(err)
	}
	got := mistakesIn(t, config)
	if len(got) != mostMistakes || !strings.Contains(gatewayLogs.text(), `"more":5`) {
		t.Errorf("told %d\n%s", len(got), gatewayLogs.text())
	}
}

// Its own error is what to read, and its routes may not be complete.
func TestOfAConfigurationThatFailsNothingIsTold(t *testing.T) {
	const config = `{"apps": {"http": {"servers": {"s": {"listen": [":8088"], "routes": [
		{"handle": [{"handler": "redis_sse", "channels": ["a"]}, {"handler": "redis_sse", "channels": ["b"]}]}
	], "tls_connection_policies": [{"match": {"nothing": {}}}]}}}}}`
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON([]byte(config), &parsed); err != nil {
		t.Fatal(err)
	}
	adaptLogHere(t, &parsed)
	gatewayLogs.reset()
	if err := caddy.Validate(&parsed); err == nil {
		t.Error("it is valid")
	}
	if got := loggedMistakes(t); got != nil {
		t.Errorf("told: %+v", got)
	}
}

func TestTheReferenceListsTheMistakes(t *testing.T) {
	text, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range mistakeCases {
		_, said, _ := strings.Cut(c.text, " ")
		said, _, _ = strings.Cut(said, ", such as /") // which path is of the case
		if !strings.Contains(string(text), "| `"+said) {
			t.Errorf("%s does not list %q", referenceFile, said)
		}
	}
}
