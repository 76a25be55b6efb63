package redissse

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

const streamLogRoutes = `
	redis_sse /jobs job:{query.job} notice:all {
		pattern log:*
		client_from
		lean off
		drain 0s 0s
	}
`

// streamLine is what the log has of a stream.
type streamLine struct {
	Level    string   `json:"level"`
	Msg      string   `json:"msg"`
	Channels []string `json:"channels"`
	Patterns []string `json:"patterns"`
	All      int      `json:"channels_in_all"`
	Begins   string   `json:"begins"`
	Lean     string   `json:"lean"`
	Reason   string   `json:"reason"`
	IP       string   `json:"client_ip"`
	Proto    string   `json:"proto"`
	End      string   `json:"end"`
	Events   int      `json:"events"`
	Gaps     int      `json:"gaps"`
	Bytes    int      `json:"bytes"`
	Age      float64  `json:"age"`
}

func streamLines(t *testing.T) (lines []streamLine) {
	t.Helper()
	for text := range strings.Lines(gatewayLogs.text()) {
		var line streamLine
		if strings.Contains(text, `"msg":"a stream `) {
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// openLines are those that streams open.
func openLines(t *testing.T) []streamLine {
	t.Helper()
	return slices.DeleteFunc(streamLines(t), func(line streamLine) bool { return line.Msg != "a stream opens" })
}

func TestWithDebugTheLogTellsOfEachStream(t *testing.T) {
	server := redistest.Start(t)
	g := newGateway(t)
	g.loadConfig("debug\n"+hubAt(server.URL(), ""), streamLogRoutes)
	s := g.opened("/jobs?job=1&token=secret")
	server.Publish("job:1", "a")
	server.Publish("log:x", "b")
	s.Next()
	s.Next()
	s.Close()
	g.wait("the end of the stream", func() bool { return len(streamLines(t)) == 3 })
	opens, live, ends := streamLines(t)[0], streamLines(t)[1], streamLines(t)[2]
	names := []string{"job:1", "notice:all"}
	for _, line := range []streamLine{opens, live, ends} {
		if line.Level != "debug" || !reflect.DeepEqual(line.Channels, names) || !reflect.DeepEqual(line.Patterns, []string{"log:*"}) ||
			line.Begins != "live" || line.IP != "127.0.0.1" || line.Proto != "HTTP/1.1" {
			t.Errorf("logged is %+v", line)
		}
	}
	if opens.Msg != "a stream opens" || opens.All != 2 {
		t.Errorf("logged is %+v, want that it opens", opens)
	}
	if live.Msg != "a stream is live" || live.Lean != "no" || live.Reason != "option" {
		t.Errorf("logged is %+v, want that it is not lean, and why", live)
	}
	if ends.Msg != "a stream ends" || ends.End != "client" || ends.Events != 2 || ends.Gaps != 0 || ends.Bytes != len(s.Raw()) || ends.Age <= 0 {
		t.Errorf("logged is %+v, want that it ends, and that it had %d bytes", ends, len(s.Raw()))
	}
	if strings.Contains(gatewayLogs.text(), "secret") {
		t.Error("the log has what stands in a query")
	}
}

func TestTheLogTellsWhereAStreamBegins(t *testing.T) {
	server := redistest.Start(t)
	g := newGateway(t)
	g.loadConfig("debug\n"+hubAt(server.URL(), ""), streamLogRoutes)
	first := g.opened("/jobs?job=1")
	for query, want := range map[string]hub.Beginning{
		"from=start": hub.BeginsAtStart, "last=2": hub.BeginsAtLast, "since=1": hub.BeginsSince, "from=live": hub.BeginsLive,
		"last_event_id=" + first.LastEventID(): hub.BeginsExactly, "last_event_id=nonsense": hub.BeginsUnknown,
	} {
		before := len(openLines(t))
		g.opened("/jobs?job=1&"+query, ssetest.WithHeader("Accept", "*/*"))
		if lines := openLines(t); len(lines) != before+1 || lines[before].Begins != string(want) {
			t.Errorf("%s: logged is %+v, want a stream that begins at %q", query, lines[before:], want)
		}
	}
}

// Without debug, a stream costs nothing by it.
func TestWithoutDebugNothingIsKeptOfAStream(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	r := reqGet("/")
	channels, log := []string{"news"}, zap.New(core)
	if n := testing.AllocsPerRun(100, func() {
		l := openStreamLog(log, r, channels, nil, hub.BeginsLive)
		l.count(nil)
		l.end(endClient, 1)
	}); n != 0 || logs.Len() != 0 {
		t.Errorf("%v allocations and %d lines, want none", n, logs.Len())
	}
}

// Clients may have chosen the names, and how many there are.
func TestTheLogHasFewAndShortNames(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	channels := manyChannels(20)
	channels[0] = strings.Repeat("é", 500) + "\n"
	openStreamLog(zap.New(core), reqGet("/"), channels, nil, hub.BeginsLive)
	fields := zapcore.NewMapObjectEncoder()
	for _, field := range logs.All()[0].Context {
		field.AddTo(fields)
	}
	got := fields.Fields["channels"].([]any)
	want := append([]any{strings.Repeat("é", maxLoggedName/2) + "..."}, "ok1", "ok2", "ok3", "ok4", "ok5", "ok6", "ok7")
	if !reflect.DeepEqual(got, want) || fields.Fields["channels_in_all"] != int64(20) {
		t.Errorf("logged are %q of %v", got, fields.Fields["channels_in_all"])
	}
	for _, text := range []string{"", "é", strings.Repeat("é", 4)} {
		for most := range 9 {
			if short := shortened(text, most); len(strings.TrimSuffix(short, "...")) > most || strings.ContainsRune(strconv.Quote(short), '\\') {
				t.Errorf("%q becomes %q, want at most %d bytes", text, short, most)
			}
		}
	}
}
