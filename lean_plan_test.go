package redissse

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// requestOf is one of a server that logs so, for a host.
func requestOf(logs *caddyhttp.ServerLogConfig, host string, skip bool) *http.Request {
	r := reqGet("/jobs?token=secret")
	r.Host, r.RemoteAddr = host, "192.0.2.1:1234"
	ctx := context.WithValue(r.Context(), caddyhttp.ServerCtxKey, &caddyhttp.Server{Logs: logs})
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{})
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	r = r.WithContext(ctx)
	if skip {
		caddyhttp.SetVar(ctx, caddyhttp.LogSkipVar, true)
	}
	return r
}

// An entry is due for exactly those requests for which Caddy's server writes one.
func TestAnEntryIsDueWhereCaddyWritesOne(t *testing.T) {
	for _, test := range []struct {
		name string
		logs *caddyhttp.ServerLogConfig
		host string
		skip bool
		due  bool
	}{
		{"no access log", nil, "a.example", false, false},
		{"an access log", &caddyhttp.ServerLogConfig{}, "a.example:80", false, true},
		{"log_skip", &caddyhttp.ServerLogConfig{}, "a.example", true, false},
		{"a host that is not logged", &caddyhttp.ServerLogConfig{SkipHosts: []string{"*.example"}}, "a.example", false, false},
		{"another one", &caddyhttp.ServerLogConfig{SkipHosts: []string{"*.example"}}, "a.test", false, true},
		{"named hosts", &caddyhttp.ServerLogConfig{LoggerNames: map[string]caddyhttp.StringArray{"a.example": {"a"}}, SkipUnmappedHosts: true}, "a.example", false, true},
		{"a host without a name", &caddyhttp.ServerLogConfig{SkipUnmappedHosts: true}, "a.example", false, false},
	} {
		if due := entryOf(requestOf(test.logs, test.host, test.skip)) != nil; due != test.due {
			t.Errorf("%s: an entry is due: %v, want %v", test.name, due, test.due)
		}
	}
	if entryOf(reqGet("/")) != nil {
		t.Error("an entry is due for a request without a server")
	}
}

func TestAnEntryKeepsLittleOfARequest(t *testing.T) {
	r := requestOf(&caddyhttp.ServerLogConfig{}, "a.example", false)
	r.RemoteAddr = "@" // of a Unix socket
	r.Header.Set("User-Agent", strings.Repeat("x", 10_000))
	entry := entryOf(r)
	core, logs := observer.New(zap.InfoLevel)
	entry.replaces(r)
	entry.write(zap.New(core), endClient, 42)
	if logs.Len() != 1 || entry.remoteIP != "@" || entry.path != "/jobs" || len(entry.userAgent) > maxEntryText+8 {
		t.Errorf("logged are %v, of %+v", logs.All(), entry)
	}
	if skip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar).(bool); !skip {
		t.Error("Caddy would write another one")
	}
	var none *accessEntry
	none.replaces(r)
	none.write(zap.New(core), endClient, 0)
	if logs.Len() != 1 {
		t.Error("an entry that is not due is written")
	}
}

// What turns up once the headers are written keeps a stream with its request, and says why.
func TestAPlanIsGivenUpForAReason(t *testing.T) {
	changed := httptest.NewRecorder()
	changed.Header().Set("Content-Encoding", "gzip")
	plain := writers{top: httptest.NewRecorder()}
	for name, test := range map[string]struct {
		plan leanPlan
		want whyNotLean
	}{
		"what is written is changed":           {leanPlan{kind: leanFull, writers: writers{top: changed}}, leanWriter},
		"no connection that can be heard":      {leanPlan{kind: leanFull, writers: plain}, leanConnection},
		"the same of a stream that is to park": {leanPlan{kind: leanParked, writers: plain}, leanConnection},
	} {
		_, deliveries, _ := benchHub(t, 1)
		d := deliveries[0]
		d.plan = &test.plan
		d.wake.Signal(signalGone)
		if end, left := new(Handler).follow(d, reqGet("/")); left || end != endClient || d.plan.kind != leanNot || d.plan.why != test.want {
			t.Errorf("%s: the stream is lean: %v, its end %q, the plan %+v, want %q", name, left, end, d.plan, test.want)
		}
	}
}

// A stream that is to end goes on to its end where it is.
func TestAStreamThatIsToEndIsNotHandedOver(t *testing.T) {
	_, deliveries, _ := benchHub(t, 1)
	d := deliveries[0]
	d.behind, d.plan = true, &leanPlan{kind: leanFull}
	d.wake.Signal(signalGone)
	if end, left := new(Handler).follow(d, reqGet("/")); left || end != endClient || d.leanGauge != nil {
		t.Errorf("it is lean: %v, its end %q, it is counted as %v", left, end, d.leanGauge)
	}
}

// A parked stream that was cut has a response that does not end, whatever the kernel still takes.
func TestAParkedStreamThatWasCutHasNoEnd(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	d := &delivery{cut: true, plan: &leanPlan{conn: here}}
	d.afterParked(reqGet("/"))
	if _, err := here.Write([]byte(lastChunk)); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("writing the end fails with %v, want a timeout", err)
	}
}

// A stream that cannot leave its request goes on there.
func TestAStreamThatCannotLeaveGoesOn(t *testing.T) {
	if (&delivery{stream: new(hub.Stream)}).lane() != "" {
		t.Error("a stream without channels has a lane of its own")
	}
}

func TestALateOutletIsLogged(t *testing.T) {
	server := redistest.Start(t)
	g := newGateway(t)
	g.load(server.URL(), "", "redis_sse jobs\n")
	outletLate(2 * time.Second)
	if log := gatewayLogs.text(); !strings.Contains(log, `"msg":"an outlet does not come round: its streams stand still","waited":2`) {
		t.Errorf("logged is %s", log)
	}
}
