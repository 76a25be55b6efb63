//go:build unix

package examples_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// protocol is what goes over the wire of one. It has the channel test:1 with the kind in place of "test".
type protocol struct {
	snippet, kind string

	begin, more, end string // payloads

	// The same as a client gets them, and a gap: a name, "message" for none, and the data. In the gap {gap} is its JSON.
	wantBegin, wantMore, wantLast, wantGap [2]string

	joined string // the data of two times more, for who comes late; empty if they are two events
}

var protocols = []protocol{
	{
		"ai_sdk", "ui", `{"type":"start"}`, `{"type":"text-delta","id":"1","delta":"Hi"}`, `[DONE]`,
		[2]string{"message", `{"type":"start"}`}, [2]string{"message", `{"type":"text-delta","id":"1","delta":"Hi"}`},
		[2]string{"message", `[DONE]`}, [2]string{"message", `{"type":"data-gap","data":{gap},"transient":true}`},
		`{"type":"text-delta","id":"1","delta":"HiHi"}`,
	},
	{
		"openai_completions", "completions",
		`{"choices":[{"delta":{"role":"assistant"}}]}`, `{"choices":[{"delta":{"content":"Hi"}}]}`, `[DONE]`,
		[2]string{"message", `{"choices":[{"delta":{"role":"assistant"}}]}`},
		[2]string{"message", `{"choices":[{"delta":{"content":"Hi"}}]}`}, [2]string{"message", `[DONE]`},
		[2]string{"message", `{"error":{"message":"a part of the answer may be missing","type":"gap","code":"gap"},"gap":{gap}}`},
		`{"choices":[{"delta":{"content":"HiHi"}}]}`,
	},
	{
		"openai_responses", "responses", `{"type":"response.created","sequence_number":0}`,
		`{"type":"response.output_text.delta","sequence_number":1,"delta":"Hi"}`, `{"type":"response.completed","sequence_number":2}`,
		[2]string{"response.created", `{"type":"response.created","sequence_number":0}`},
		[2]string{"response.output_text.delta", `{"type":"response.output_text.delta","sequence_number":1,"delta":"Hi"}`},
		[2]string{"response.completed", `{"type":"response.completed","sequence_number":2}`},
		[2]string{"message", `{"type":"error","code":"gap","message":"a part of the answer may be missing","param":null,` +
			`"sequence_number":-1,"gap":{gap}}`},
		``,
	},
	{
		"anthropic", "anthropic", `{"type":"message_start"}`, `{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}`,
		`{"type":"message_stop"}`,
		[2]string{"message_start", `{"type":"message_start"}`},
		[2]string{"content_block_delta", `{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}`},
		[2]string{"message_stop", `{"type":"message_stop"}`},
		[2]string{"error", `{"type":"error","error":{"type":"api_error","message":"a part of the answer may be missing"},"gap":{gap}}`},
		`{"type":"content_block_delta","delta":{"type":"text_delta","text":"HiHi"}}`,
	},
	{
		"ag_ui", "agui", `{"type":"RUN_STARTED"}`, `{"type":"TEXT_MESSAGE_CONTENT","delta":"Hi"}`, `{"type":"RUN_FINISHED"}`,
		[2]string{"message", `{"type":"RUN_STARTED"}`}, [2]string{"message", `{"type":"TEXT_MESSAGE_CONTENT","delta":"Hi"}`},
		[2]string{"message", `{"type":"RUN_FINISHED"}`}, [2]string{"message", `{"type":"CUSTOM","name":"gap","value":{gap}}`},
		`{"type":"TEXT_MESSAGE_CONTENT","delta":"HiHi"}`,
	},
	{
		"langgraph", "langgraph", `{"event":"metadata","data":{"run_id":"1"}}`, `{"event":"messages","data":[{"content":"Hi"}]}`,
		`{"event":"end"}`,
		[2]string{"metadata", `{"run_id":"1"}`}, [2]string{"messages", `[{"content":"Hi"}]`}, [2]string{"end", `{"event":"end"}`},
		[2]string{"error", `{"error":"gap","message":"a part of the answer may be missing","gap":{gap}}`},
		``,
	},
}

// Each snippet is what its protocol reads: an answer that begins after an outage, with a gap in it, and its end.
func testAIProtocols(t *testing.T) {
	redis := redistest.Start(t)
	f := readFile(t, "ai-protocols/Caddyfile")
	imported, err := filepath.Abs("ai-protocols/ai.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	f.replace("import ai.Caddyfile", "import "+imported)
	g := startGatewayAt(t, redis, f, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Events-Channel", strings.TrimPrefix(r.URL.Path, "/")+":1")
		w.Header().Set("Content-Location", "/runs/1")
		w.WriteHeader(http.StatusNoContent)
	})
	g.awaitKept(t, redis)
	redis.KillPubSub()
	g.awaitKept(t, redis)
	early, late := map[string]*ssetest.Stream{}, map[string]*ssetest.Stream{}
	for _, p := range protocols {
		publish(t, redis, p.kind+":1", p.begin)
		early[p.kind] = ask(t, g, p)
		p.wantNext(t, early[p.kind], p.wantBegin)
		for range 2 {
			publish(t, redis, p.kind+":1", p.more)
			p.wantNext(t, early[p.kind], p.wantMore)
		}
		late[p.kind] = ask(t, g, p)
		p.wantReplay(t, late[p.kind])
	}
	resumed := ssetest.Open(t, newClient(t), g.url+"/api/chat/1/stream")
	protocols[0].wantReplay(t, resumed)
	redis.KillPubSub()
	g.awaitKept(t, redis)
	for _, p := range protocols {
		publish(t, redis, p.kind+":1", p.end)
		p.wantEnd(t, early[p.kind])
		p.wantEnd(t, late[p.kind])
	}
	protocols[0].wantEnd(t, resumed)
	if got := early["langgraph"].Header().Get("Content-Location"); got != "/runs/1" {
		t.Errorf("LangGraph's client is told %q", got)
	}
	wantStatus(t, http.StatusNoContent, g.url+"/api/chat/1/stream") // there is no other answer in the works
	wantSnippetsTold(t)
}

// ask is a POST that the app answers with a channel.
func ask(t *testing.T, g *gateway, p protocol) *ssetest.Stream {
	t.Helper()
	return ssetest.Open(t, newClient(t), g.url+"/"+p.kind, ssetest.WithMethod(http.MethodPost))
}

// awaitKept returns when what the Caddyfile keeps is subscribed, after a lost connection, too.
func (g *gateway) awaitKept(t *testing.T, redis *redistest.Server) {
	t.Helper()
	proctest.Poll(t, "what is kept to be subscribed", func() bool {
		return !slices.ContainsFunc(protocols, func(p protocol) bool { return redis.Publish(p.kind+":0", "warm") != 1 })
	})
}

var gapJSON = regexp.MustCompile(`\{"(?:channel|pattern)":"[^"]*","reason":"redis_disconnected",[^}]*\}`)

// wantNext takes the next event, in which a gap's JSON may stand.
func (p protocol) wantNext(t *testing.T, s *ssetest.Stream, want [2]string) {
	t.Helper()
	e := s.NextAfterCursors()
	if got := [2]string{e.Type, gapJSON.ReplaceAllString(e.Data, "{gap}")}; got != want {
		t.Fatalf("%s: got %q, want %q", p.snippet, got, want)
	}
}

// wantReplay takes what was published before, with no gap though there was an outage before the answer.
func (p protocol) wantReplay(t *testing.T, s *ssetest.Stream) {
	t.Helper()
	p.wantNext(t, s, p.wantBegin)
	if p.joined != "" {
		p.wantNext(t, s, [2]string{p.wantMore[0], p.joined})
		return
	}
	p.wantNext(t, s, p.wantMore)
	p.wantNext(t, s, p.wantMore)
}

// wantEnd takes a gap and the end, and wants a response that ends properly then, with events of the protocol only.
func (p protocol) wantEnd(t *testing.T, s *ssetest.Stream) {
	t.Helper()
	p.wantNext(t, s, p.wantGap)
	p.wantNext(t, s, p.wantLast)
	proctest.Await(t, "the stream to end", s.Ended())
	if err := s.Err(); err != nil {
		t.Errorf("%s: the stream has not ended properly: %v", p.snippet, err)
	}
	if raw := string(s.Raw()); strings.Contains(raw, "cursor") || strings.Contains(raw, "\n\n\n") {
		t.Errorf("%s: the stream has more than the protocol's events:\n%s", p.snippet, raw)
	}
}

// wantSnippetsTold wants each snippet to be here, in the example's Caddyfile, and in its README, with the block quoted as it is.
func wantSnippetsTold(t *testing.T) {
	t.Helper()
	texts := map[string]string{}
	for _, name := range []string{"ai.Caddyfile", "Caddyfile", "README.md"} {
		text, err := os.ReadFile(filepath.Join("ai-protocols", name))
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	for _, found := range regexp.MustCompile(`(?m)^\((\w+)\) \{$`).FindAllStringSubmatch(texts["ai.Caddyfile"], -1) {
		name := found[1]
		if !slices.ContainsFunc(protocols, func(p protocol) bool { return p.snippet == name }) ||
			!strings.Contains(texts["Caddyfile"], "import "+name+"\n") || !strings.Contains(texts["README.md"], "| `"+name+"` |") {
			t.Errorf("%s is not tried, or not in the Caddyfile, or not in the README", name)
		}
	}
	_, code, _ := strings.Cut(texts["README.md"], "```caddyfile\n")
	code, _, _ = strings.Cut(code, "```")
	if !strings.Contains(texts["Caddyfile"], code) {
		t.Errorf("the Caddyfile does not have\n%s", code)
	}
}
