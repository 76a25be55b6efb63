package redissse

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

const invalidRoutes = `
	redis_sse /me user:{http.request.header.X-User-Id}
	redis_sse /jobs job:{query.job} {
		client_from
	}
	redis_sse /user u:{http.auth.user.id}
	redis_sse /env u:{env.REDISSSE_TEST_UNSET}
	redis_sse /file u:{file./etc/redissse-test-unset}
	redis_sse_publish /publish/* {path.1} {
		max_size 10
	}
`

// invalidRequest is a request that is answered with an error, and what its client is told.
type invalidRequest struct {
	method, path, body string
	header             [2]string
	status             int
	told               string
}

func invalidRequestList() []invalidRequest {
	long, get, post := strings.Repeat("x", 1100), http.MethodGet, http.MethodPost
	jobs := func(query, told string) invalidRequest {
		return invalidRequest{method: get, path: "/jobs?job=1&" + query, status: 400, told: told}
	}
	return []invalidRequest{
		{method: get, path: "/me", status: 400, told: "placeholder {http.request.header.X-User-Id} is empty"},
		{method: get, path: "/user", status: 400,
			told: "placeholder {http.auth.user.id} is unknown: nothing that stands before this has set it"},
		{method: get, path: "/env", status: 400, told: "a placeholder of the configuration has no value"},
		{method: get, path: "/file", status: 400, told: "a placeholder of the configuration has no value"},
		jobs("job=2", "placeholder {http.request.uri.query.job} is given 2 times, and can be one name only"),
		{method: get, path: "/jobs?job=" + long, status: 400, told: "the channel's name has 1104 bytes, at most 1024 are allowed"},
		jobs("last=0", `last is "0", want a number from 1 to 10000000`),
		jobs("from=yesterday", `from is "yesterday", want start or live`),
		jobs("since=today", `since is "today", want Unix seconds or an RFC 3339 time`),
		jobs("last=1&from=start", "from, last and since: only one of them can be asked for, once"),
		jobs("x=%zz", `reading the query: invalid URL escape "%zz"`),
		{method: http.MethodPut, path: "/jobs?job=1", status: 405, told: `method "PUT" opens no stream: GET and POST do`},
		{method: post, path: "/jobs?job=1", body: strings.Repeat("x", maxBody+1), status: 413, told: "the body has more than 1048576 bytes"},
		{method: post, path: "/publish/", status: 400, told: "placeholder {http.request.uri.path.1} is empty"},
		{method: post, path: "/publish/a%2Fb", status: 400,
			told: "placeholder {http.request.uri.path.1}: the path has an escaped slash, which Caddy takes for one that separates"},
		{method: post, path: "/publish/__redis_sse:x", status: 400, told: `names that begin with "__redis_sse:" are reserved`},
		{method: post, path: "/publish/__keyspace@0__:x", status: 400,
			told: `names that begin with "__keyspace@" are redis's own, and only the configuration may give one`},
		{method: get, path: "/publish/news", status: 405, told: `method "GET" publishes nothing: POST does`},
		{method: post, path: "/publish/news", body: "eleven byte", status: 413, told: "the body has 11 bytes, at most 10 are allowed"},
		{method: post, path: "/publish/news", header: [2]string{"Sec-Fetch-Site", "cross-site"}, status: 403,
			told: "a page of another site may not publish here unless cors_origins names its origin: cross-origin request detected from Sec-Fetch-Site header"},
	}
}

// do sends a request, with a secret where no answer and no log may have one.
func (q invalidRequest) do(t *testing.T, g *gateway, accept string) (*http.Response, string) {
	t.Helper()
	query := "?"
	if strings.Contains(q.path, "?") {
		query = "&"
	}
	opts := []ssetest.Option{
		ssetest.WithMethod(q.method), ssetest.WithHeader("Accept", accept), ssetest.WithHeader("Authorization", "secret"),
	}
	if q.body != "" {
		opts = append(opts, ssetest.WithBody(strings.NewReader(q.body)))
	}
	if q.header[0] != "" {
		opts = append(opts, ssetest.WithHeader(q.header[0], q.header[1]))
	}
	r := ssetest.Do(t, g.client, g.URL(q.path+query+"token=secret"), opts...)
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(text)
}

func TestARequestThatIsNotValidIsToldWhy(t *testing.T) {
	g := startGateway(t, redistest.Start(t).URL(), "", invalidRoutes)
	for _, q := range invalidRequestList() {
		r, text := q.do(t, g, "*/*")
		if r.StatusCode != q.status || text != q.told+"\n" {
			t.Errorf("%s %.40s: %s and %q, want %d and %q", q.method, q.path, r.Status, text, q.status, q.told)
		}
		if got := r.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
			t.Errorf("%s %.40s: the text is %q", q.method, q.path, got)
		}
		reqNoSniff(t, r.Header)
	}
	long := invalidRequest{method: http.MethodGet, path: "/jobs?job=1&from=" + strings.Repeat("x", 1000)}
	if _, text := long.do(t, g, "*/*"); text != `from is "`+strings.Repeat("x", maxQuoted)+`...", want start or live`+"\n" {
		t.Errorf("the answer has %q of what was asked for", text)
	}
	if r, text := invalidRequestList()[0].do(t, g, "text/event-stream"); r.StatusCode != 400 || !strings.HasSuffix(text, " is empty\n"+stopsForEver+"\n") {
		t.Errorf("an EventSource gets %s and %q, want that it stops", r.Status, text)
	}
}

// logLine is a line of a log of ours.
type logLine struct {
	Level  string `json:"level"`
	Msg    string `json:"msg"`
	Route  string `json:"route"`
	Status int    `json:"status"`
	Reason string `json:"newest_reason"`
	Cause  string `json:"cause"`
	IP     string `json:"client_ip"`
	Held   *int   `json:"held_back"`
}

func logLines(t *testing.T, msg string) (lines []logLine) {
	t.Helper()
	for text := range strings.Lines(gatewayLogs.text()) {
		var line logLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if line.Msg == msg {
			lines = append(lines, line)
		}
	}
	return lines
}

// Whoever sends such requests cannot fill the log, and brings nothing of theirs into it.
func TestTheLogTellsOnceOfRequestsThatAreNotValid(t *testing.T) {
	g := startGateway(t, redistest.Start(t).URL(), "", invalidRoutes)
	for _, q := range invalidRequestList() {
		for range 3 {
			q.do(t, g, "*/*")
		}
	}
	lines := logLines(t, "requests are not valid")
	if len(lines) != 6 {
		t.Fatalf("%d lines for 6 handlers: %+v", len(lines), lines)
	}
	first, env := lines[0], lines[2]
	if first.Level != "warn" || first.Route != "user:{http.request.header.X-User-Id}" || first.Status != 400 || first.IP != "127.0.0.1" ||
		first.Reason != invalidRequestList()[0].told || first.Held == nil || *first.Held != 0 || first.Cause != "" {
		t.Errorf("logged is %+v", first)
	}
	if env.Cause != "placeholder {env.REDISSSE_TEST_UNSET} is empty" && !strings.HasPrefix(env.Cause, "placeholder {env.REDISSSE_TEST_UNSET} is unknown") {
		t.Errorf("the log does not name the placeholder that has no value: %+v", env)
	}
	if strings.Contains(gatewayLogs.text(), "secret") {
		t.Error("the log has what stands in a query")
	}
	if n := len(logLines(t, "a page of another site may not publish: if it is of this one, a proxy in front changes Host; have the proxy pass "+
		"Host on, or X-Forwarded-Host and be among trusted_proxies, or name the page's origin in cors_origins")); n != 1 {
		t.Errorf("%d lines tell of pages of other sites, want 1", n)
	}
}

func TestWithDebugTheLogHasEachRequestThatIsNotValid(t *testing.T) {
	g := newGateway(t)
	g.loadConfig("debug\n"+hubAt(redistest.Start(t).URL(), ""), invalidRoutes)
	for range 3 {
		invalidRequestList()[0].do(t, g, "*/*")
	}
	lines := logLines(t, "requests are not valid")
	if len(lines) != 3 || lines[0].Level != "warn" || lines[1].Level != "debug" || lines[2].Level != "debug" {
		t.Errorf("logged is %+v, want a warning and two lines more", lines)
	}
}

// The pages of a site are its own: they are asked where they answer, and nowhere else.
func TestErrorPagesAreForRequestsThatAreNotValid(t *testing.T) {
	g := newGateway(t)
	_, port, _ := strings.Cut(g.addr, ":")
	const route = "redis_sse user:{http.request.header.X-User-Id}\n"
	site := func(host, errors string) string {
		return "}\nhttp://" + host + ":" + port + " {\n" + route + errors
	}
	const page = " {\nrespond \"page of {err.status_code}: {err.message}\"\n}\n"
	g.loadConfig(hubAt(redistest.Start(t).URL(), ""), route+site("pages.test", "handle_errors"+page)+
		site("others.test", "handle_errors 404 5xx"+page)+site("some.test", "handle_errors 4xx"+page)+
		"}\nhttp://bare.test:"+port+" {\n"+route)
	const reason = "placeholder {http.request.header.X-User-Id} is empty"
	for host, want := range map[string]string{
		"127.0.0.1": reason + "\n", "bare.test": reason + "\n", "others.test": reason + "\n",
		"pages.test": "page of 400: " + reason, "some.test": "page of 400: " + reason,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL("/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host + ":" + port
		response, err := g.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != 400 || string(text) != want || err != nil {
			t.Errorf("%s answers %s with %q, %v, want a 400 with %q", host, response.Status, text, err, want)
		}
	}
}
