//go:build linux

package redissse

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// leanEntry is an entry of the access log.
type leanEntry struct {
	Logger   string  `json:"logger"`
	Msg      string  `json:"msg"`
	Status   int     `json:"status"`
	Size     int     `json:"size"`
	Duration float64 `json:"duration"`
	End      string  `json:"end"`
	Streamed int     `json:"streamed"`
	Request  struct {
		RemoteIP string `json:"remote_ip"`
		ClientIP string `json:"client_ip"`
		Proto    string `json:"proto"`
		Method   string `json:"method"`
		Host     string `json:"host"`
		URI      string `json:"uri"`
	} `json:"request"`
}

// leanEntries are the entries of the access log so far, Caddy's and those of streams that have left their requests.
func leanEntries(t *testing.T) (all []leanEntry) {
	t.Helper()
	for line := range strings.Lines(gatewayLogs.text()) {
		if !strings.Contains(line, `"msg":"handled `) || strings.Contains(line, `"uri":"/metrics"`) {
			continue
		}
		var entry leanEntry
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		all = append(all, entry)
	}
	return all
}

// entryOfOne opens a stream, which the access log must know nothing of before it ends, and returns its one entry.
func entryOfOne(t *testing.T, lean string, end func(*gateway, *leanClient)) (entry leanEntry, bytes int) {
	t.Helper()
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), "", "log {\noutput gateway_test\n}\nredis_sse /jobs jobs {\nlean "+lean+"\ndrain 0s 0s\n}\nmetrics /metrics\n")
	kind, dial := leanFull, func() (*leanClient, error) { return dialLean(g.addr, "/jobs?token=secret", 0) }
	if lean == leanAuto {
		kind, dial = leanParked, func() (*leanClient, error) { return dialParked(g.addr, "/jobs?token=secret") }
	}
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	g.wait("the stream to be live", func() bool { return g.streamsOf(kind) == 1 })
	server.Publish("jobs", strings.Repeat("x", 1000))
	if _, err := c.message(); err != nil {
		t.Fatal(err)
	}
	if all := leanEntries(t); len(all) > 0 {
		t.Errorf("an open stream is in the access log: %+v", all)
	}
	end(g, c)
	g.wait("an entry", func() bool { return len(leanEntries(t)) > 0 })
	g.stop() // whatever else is logged has been then
	all := leanEntries(t)
	if len(all) != 1 {
		t.Fatalf("a stream has the entries %+v", all)
	}
	return all[0], c.bytes
}

// hangUp is the end of a stream by its client.
func hangUp(_ *gateway, c *leanClient) { c.reset() }

// TestALeanStreamHasOneEntryInTheAccessLog, at its end, which says what Caddy's would, without the query.
func TestALeanStreamHasOneEntryInTheAccessLog(t *testing.T) {
	entry, bytes := entryOfOne(t, leanOn, hangUp)
	r := entry.Request
	if entry.Msg != "handled stream" || entry.Status != 200 || entry.Size != bytes || entry.Duration <= 0 || entry.End != string(endClient) {
		t.Errorf("after %d bytes the entry is %+v", bytes, entry)
	}
	if r.RemoteIP != "127.0.0.1" || r.ClientIP != "127.0.0.1" || r.Proto != httpOne || r.Method != "GET" || r.URI != "/jobs" || r.Host == "" {
		t.Errorf("the entry's request is %+v", r)
	}
	if log := gatewayLogs.text(); strings.Contains(log, "secret") {
		t.Errorf("the query is in the log:\n%s", log)
	}
}

func TestTheEntryOfALeanStreamSaysWhyItEnded(t *testing.T) {
	entry, _ := entryOfOne(t, leanOn, func(g *gateway, c *leanClient) {
		g.load("redis://127.0.0.1:1", "", `respond "gone"`)
		if _, err := c.end(); err != nil {
			t.Error(err)
		}
	})
	if entry.End != string(endReload) {
		t.Errorf("the entry is %+v", entry)
	}
}

// TestAStreamThatCaddyRecordsStaysWithItsRequest: its entry is Caddy's own.
func TestAStreamThatCaddyRecordsStaysWithItsRequest(t *testing.T) {
	entry, bytes := entryOfOne(t, leanAuto, hangUp)
	if !strings.HasPrefix(entry.Logger, "http.log.access") || entry.Msg != "handled request" || entry.Status != 200 || entry.Streamed != bytes ||
		entry.Request.URI == "/jobs" {
		t.Errorf("after %d bytes the entry is %+v", bytes, entry)
	}
}

// TestAStreamThatCaddyCountsIsInFlight for as long as it goes on.
func TestAStreamThatCaddyCountsIsInFlight(t *testing.T) {
	server := redistest.Start(t)
	g := newGateway(t)
	g.loadConfig(hubAt(server.URL(), "")+"\nmetrics", "redis_sse /jobs jobs {\nlean auto\ndrain 0s 0s\n}\nmetrics /metrics\n")
	inFlight := func() (n int) {
		_, text := composeGet(t, g, "/metrics", "identity")
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "caddy_http_requests_in_flight{") {
				n = max(n, int(line[len(line)-2]-'0'))
			}
		}
		return n - 1 // this request is one of them
	}
	c, err := dialParked(g.addr, "/jobs")
	if err != nil {
		t.Fatal(err)
	}
	g.wait("the stream to be live", func() bool { return g.streamsOf(leanParked) == 1 })
	if n := inFlight(); n != 1 {
		t.Errorf("%d requests are in flight while a stream is open", n)
	}
	c.reset()
	g.wait("the stream not to be in flight", func() bool { return inFlight() == 0 })
}
