package redissse

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func (a *adminAPI) stream(query string, opts ...ssetest.Option) *ssetest.Stream {
	a.t.Helper()
	return ssetest.Open(a.t, a.server.Client(), a.server.URL+"/redis_sse/stream"+query, opts...)
}

func TestThePageIsThereOnlyIfItIsAskedFor(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), patientHub, "redis_sse news {\ndrain 0s 0s\n}")
	api := newAdminAPI(t)
	for _, target := range []string{"GET /redis_sse/", "GET /redis_sse/stream?channel=news", "POST /redis_sse/publish?channel=news"} {
		method, path, _ := strings.Cut(target, " ")
		if got := api.ask(method, path); got.code != http.StatusNotFound || !strings.Contains(got.body, "admin_page") {
			t.Errorf("without the option %s is %v", target, got)
		}
	}
	if is := api.status(""); is.AdminPage || is.Hubs[0].AdminPage {
		t.Errorf("the status is %+v", is)
	}
	g.load(server.URL(), patientHub+"admin_page", "redis_sse news {\ndrain 0s 0s\n}")
	got := api.ask(http.MethodGet, "/redis_sse/")
	if got.code != http.StatusOK || got.header.Get("Content-Type") != "text/html; charset=utf-8" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("with it the page is %d, %v", got.code, got.header)
	}
	if is := api.status(""); !is.AdminPage || !is.Hubs[0].AdminPage {
		t.Errorf("with it the status is %+v", is)
	}
	if got := api.ask(http.MethodGet, "/redis_sse/nothing"); got.code != http.StatusNotFound {
		t.Errorf("what there is not is %v", got)
	}
	if got := api.ask(http.MethodGet, "/redis_sse/?top=1"); got.code != http.StatusBadRequest {
		t.Errorf("a query of the page is %v", got)
	}
	g.load(server.URL(), patientHub, "redis_sse news {\ndrain 0s 0s\n}")
	if got := api.ask(http.MethodGet, "/redis_sse/"); got.code != http.StatusNotFound {
		t.Errorf("once the option has gone it is %v", got)
	}
}

// A browser runs the page's own script and style, and nothing else.
func TestThePagesPolicyAllowsItsOwnScriptAlone(t *testing.T) {
	for tag, text := range map[string]string{"script": pageJS, "style": pageCSS} {
		found := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(page, -1)
		if len(found) != 1 || found[0][1] != text || len(text) < 1000 {
			t.Errorf("the page has %d of <%s>, and not as it is in its file", len(found), tag)
		}
		if !strings.Contains(pagePolicy, tag+"-src "+hashOf(text)) {
			t.Errorf("the policy is %s", pagePolicy)
		}
	}
	for _, want := range []string{"default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'"} {
		if !strings.Contains(pagePolicy, want) {
			t.Errorf("the policy %s is without %s", pagePolicy, want)
		}
	}
	for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"} {
		if strings.Contains(strings.ReplaceAll(page, "http://www.w3.org/2000/svg", ""), never) {
			t.Errorf("the page has %s", never)
		}
	}
	if found := regexp.MustCompile(`(?i)<[a-z][^>]*\s(on[a-z]+|style|src)=`).FindString(pageHTML); found != "" {
		t.Errorf("the page has %s", found)
	}
}

func TestAStreamByHandIsAStreamAsClientsGetIt(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), patientHub+"admin_page\nkeep job:*", "redis_sse news {\ndrain 0s 0s\n}")
	api := newAdminAPI(t)
	server.WaitNumSub("news", 0)
	g.opened("/")
	const braces = "{env.HOME} job"
	s, byPattern := api.stream("?channel="+strings.ReplaceAll(braces, " ", "+")+"&hub=default"), api.stream("?pattern=job:*")
	s.SkipCursor()
	byPattern.SkipCursor()
	if n := server.Publish(braces, "hello"); n != 1 {
		t.Errorf("%d clients have the channel with braces in its name, want this hub", n)
	}
	s.Messages(1)
	server.Publish("job:1", "hello")
	byPattern.Messages(1)
	again := api.stream("?pattern=job:*&from=start")
	again.SkipCursor()
	again.Messages(1)
	if is := api.status("").Hubs[0]; is.Streams != 4 || is.Routes[0] != (routeStatus{Route: routeStreamByHand, Streams: 3}) {
		t.Errorf("the status has %d streams, %+v", is.Streams, is.Routes)
	}
	if got := api.post("/redis_sse/disconnect?pattern=job:*&over=0s"); got != `{"streams":2,"over_seconds":0}` {
		t.Errorf("disconnecting them answers %s", got)
	}
	judgeLastWords(t, byPattern)
	for query, want := range map[string]string{
		"?channel=a&pattern=b":     `400 {"error":"the query has 2 of channel, pattern: want one"}`,
		"?channel=":                `400 {"error":"channel is empty"}`,
		"?pattern={env.HOME}":      `400 {"error":"pattern \"{env.HOME}\": patterns are constants, the placeholder \"{env.HOME}\" is not replaced in them"}`,
		"?channel=a&last=no":       `400 {"error":"last is \"no\", want a number from 1 to 10000000"}`,
		"?channel=a&hub=other":     `404 {"error":"hub is \"other\", and there is none of that name"}`,
		"?channel=a&format=json":   `400 {"error":"\"format\" is \"json\", but there is no such key: there are channel, pattern, hub, from, last, since, last_event_id"}`,
		"?channel=__keyspace@0__:": `400 {"error":"names that begin with \"__keyspace@\" are redis's own, and only the configuration may give one"}`,
	} {
		if got := api.ask(http.MethodGet, "/redis_sse/stream"+query).String(); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// Caddy's admin endpoint gives a request ten seconds to be read, and a reload waits as long for what is open.
func TestAStreamByHandOutlivesTheReadTimeoutAndEndsWithItsServer(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), patientHub+"admin_page", "redis_sse news {\ndrain 0s 0s\n}")
	const timeout = 100 * time.Millisecond
	api := newAdminAPIWithin(t, timeout)
	s := api.stream("?channel=a")
	s.SkipCursor()
	opened := time.Now()
	g.wait("the timeout to be over", func() bool { return time.Since(opened) > 3*timeout })
	server.Publish("a", "hello")
	s.Messages(1)
	ctx, cancel := context.WithTimeout(t.Context(), gatewayWait)
	defer cancel()
	if err := api.server.Config.Shutdown(ctx); err != nil {
		t.Errorf("the server does not end: %v", err)
	}
	judgeLastWords(t, s)
	other := newAdminAPI(t)
	late := other.stream("?channel=a")
	late.SkipCursor()
	drains.mu.Lock()
	defer drains.mu.Unlock()
	if drains.by[api.server.Config] != nil || drains.by[other.server.Config] == nil {
		t.Error("the server that has ended is remembered, or the other one is not")
	}
}

func TestAPublishByHandIsAPublish(t *testing.T) {
	server := redistest.Start(t)
	global := hubAt(server.URL(), patientHub) + "\nredis_sse open {\nredis " + server.URL() + "\nadmin_page\n}"
	g := newGateway(t)
	g.loadConfig(global, "redis_sse news {\nhub open\ndrain 0s 0s\n}")
	api := newAdminAPI(t)
	s := g.opened("/")
	got := api.send(http.MethodPost, "/redis_sse/publish?channel=news", "hello")
	if got.String() != `200 {"channel":"news","receivers":1,"attempts":1}` {
		t.Errorf("it answers %v", got)
	}
	if data := s.Messages(1); data[0] != "hello" {
		t.Errorf("a client gets %q", data)
	}
	for _, test := range []struct{ query, body, want string }{
		{"", "", `400 {"error":"the query has 0 of channel: want one"}`},
		{"?channel=__redis_sse:x", "", `400 {"error":"channel \"__redis_sse:x\": names that begin with \"__redis_sse:\" are reserved"}`},
		{"?channel=a&hub=default", "", `404 {"error":"hub \"default\" is without admin_page"}`},
		{"?channel=a&all=1", "", `400 {"error":"\"all\" is \"1\", but there is no such key: there are channel, hub"}`},
		{"?channel=a", strings.Repeat("x", defaultMaxSize+1), `413 {"error":"the body has 65537 bytes, at most 65536 are allowed"}`},
	} {
		if got := api.send(http.MethodPost, "/redis_sse/publish"+test.query, test.body).String(); got != test.want {
			t.Errorf("%s: %s, want %s", test.query, got, test.want)
		}
	}
	server.Kill()
	var answer publishAnswer
	if got := api.send(http.MethodPost, "/redis_sse/publish?channel=a", "x"); json.Unmarshal([]byte(got.body), &answer) != nil || got.code < 500 || answer.Outcome == "" {
		t.Errorf("without Redis it answers %v", got)
	}
}

// What Caddy itself refuses: other hosts and origins. The empty origin is for who types the address.
func TestCaddysAdminEndpointKeepsOtherSitesOut(t *testing.T) {
	p := startCaddy(t, "", "redis_sse /events news")
	config := strings.Replace(string(p.caddyfile(withHub(p.redis, "", "redis_sse /events news"))),
		"admin "+p.admin, "admin "+p.admin+" {\norigins "+p.admin+" \"\"\n}", 1)
	config = strings.Replace(config, processHub, processHub+"\nadmin_page", 1)
	response, err := http.Post("http://"+p.admin+"/load", "text/caddyfile", bytes.NewReader([]byte(config)))
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("loading: %v, %v", response, err)
	}
	_ = response.Body.Close()
	for _, test := range []struct {
		method, path string
		header       [2]string
		want         int
	}{
		{http.MethodGet, "/redis_sse/", [2]string{"Sec-Fetch-Mode", "navigate"}, http.StatusOK},
		{http.MethodGet, "/redis_sse/status", [2]string{"Referer", "http://" + p.admin + "/redis_sse/"}, http.StatusOK},
		{http.MethodPost, "/redis_sse/disconnect?all=1", [2]string{"Origin", "http://" + p.admin}, http.StatusOK},
		{http.MethodPost, "/redis_sse/disconnect?all=1", [2]string{"Origin", "http://evil.example"}, http.StatusForbidden},
		{http.MethodPost, "/redis_sse/publish?channel=a", [2]string{"Origin", "http://evil.example"}, http.StatusForbidden},
		{http.MethodGet, "/redis_sse/stream?channel=a", [2]string{"Origin", "http://evil.example"}, http.StatusForbidden},
		{http.MethodGet, "/redis_sse/status", [2]string{"Host", "evil.example"}, http.StatusForbidden},
	} {
		request, err := http.NewRequest(test.method, "http://"+p.admin+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(test.header[0], test.header[1])
		if test.header[0] == "Host" {
			request.Host = test.header[1]
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if _ = response.Body.Close(); response.StatusCode != test.want {
			t.Errorf("%s %s with %q is %d, want %d", test.method, test.path, test.header, response.StatusCode, test.want)
		}
	}
}
