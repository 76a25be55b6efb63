//go:build clients && linux

package aichat_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

const key = "a-key"

// model is an OpenAI-compatible server that says what a test has it say.
type model struct {
	t     *testing.T
	url   string
	steps chan step

	mu   sync.Mutex
	last completion // the newest request
	sent int
}

// step is what is written next of an answer, and whether that was all.
type step struct {
	write string
	over  bool
}

type completion struct {
	Model    string
	Stream   bool
	Messages []message
}

type message struct{ Role, Content string }

func startModel(t *testing.T) *model {
	t.Helper()
	m := &model{t: t, steps: make(chan step)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", m.complete)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	m.url = server.URL + "/v1"
	return m
}

func (m *model) complete(w http.ResponseWriter, r *http.Request) {
	var asked completion
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.Header.Get("Authorization") != "Bearer "+key {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	m.mu.Lock()
	m.last, m.sent = asked, m.sent+1
	m.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		_ = http.NewResponseController(w).Flush() // a failed one is the end of the request
		select {
		case next := <-m.steps:
			_, _ = fmt.Fprint(w, next.write)
			if next.over {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// say writes pieces of an answer that somebody waits for.
func (m *model) say(pieces ...string) {
	m.t.Helper()
	for _, piece := range pieces {
		m.step(step{write: chunk(map[string]any{"delta": map[string]string{"content": piece}})})
	}
}

// words is say for each word of a text.
func (m *model) words(text string) {
	m.t.Helper()
	m.say(strings.SplitAfter(text, " ")...)
}

// end ends an answer as a server does.
func (m *model) end() {
	m.t.Helper()
	m.step(step{write: chunk(map[string]any{"delta": struct{}{}, "finish_reason": "stop"}) + "data: [DONE]\n\n", over: true})
}

func (m *model) step(next step) {
	m.t.Helper()
	select {
	case m.steps <- next:
	case <-time.After(proctest.Patience):
		m.t.Fatalf("nobody asks the model: %q", next.write)
	}
}

func chunk(choice map[string]any) string {
	text, err := json.Marshal(map[string]any{"object": "chat.completion.chunk", "choices": []any{choice}})
	if err != nil {
		panic(err) // of a test's own
	}
	return "data: " + string(text) + "\n\n"
}

func (m *model) asked() (newest completion, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, m.sent
}

// The server is asked in OpenAI's words, with what was said before.
func TestAnyOpenAIServerCanAnswer(t *testing.T) {
	t.Parallel()
	e := startExample(t)
	v := e.visitor()
	var names []string
	v.want(http.StatusOK, http.MethodGet, "/api/models", nil, &names)
	if want := []string{"first", "second"}; !slices.Equal(names, want) {
		t.Errorf("the models are %q, want %q", names, want)
	}
	chat := v.start("One?")
	e.model.words("It is one.")
	e.model.end()
	if got := v.awaitState(chat, "finished"); got.Answer != "It is one." || got.Model != "first" {
		t.Errorf("got %+v", got)
	}
	v.want(http.StatusAccepted, http.MethodPost, "/api"+chat+"/questions", asked{"question": "And two?", "model": "second"})
	e.model.words("That, too.")
	e.model.end()
	v.awaitState(chat, "finished")
	got, _ := e.model.asked()
	want := []message{{"user", "One?"}, {"assistant", "It is one."}, {"user", "And two?"}}
	if got.Model != "second" || !got.Stream || !slices.Equal(got.Messages, want) {
		t.Errorf("the server was asked %+v, want %+v", got, want)
	}
	v.want(http.StatusUnprocessableEntity, http.MethodPost, "/api"+chat+"/questions", asked{"question": "x", "model": "none"})
}

// A server that fails is a failed answer that says why, keeps what came, and can be asked again.
func TestAModelThatFailsIsTold(t *testing.T) {
	t.Parallel()
	e := startExample(t)
	v := e.visitor()
	chat := v.start("Is anybody there?")
	for _, test := range []struct{ name, write, want string }{
		{"cut", "", "The model's server broke off."},
		{"an error", "data: {\"error\":{\"message\":\"overloaded\"}}\n\n", "The model's server reports an error."},
		{"no JSON", "data: <html>\n\n", "The model's server does not speak OpenAI's protocol."},
		{"other JSON", "data: [1]\n\n", "The model's server does not speak OpenAI's protocol."},
	} {
		e.model.say("It ")
		e.model.step(step{write: test.write, over: true})
		if got := v.awaitState(chat, "failed"); got.Error != test.want || got.Answer != "It " {
			t.Errorf("%s: got %+v, want %q", test.name, got, test.want)
		}
		v.want(http.StatusAccepted, http.MethodPost, "/api"+chat+"/questions", asked{"question": "And now?"})
	}
	e.model.end()
	if got := v.awaitState(chat, "finished"); got.Answer != "" || got.Error != "" {
		t.Errorf("got %+v", got)
	}
}

// What is wrong with the server's answer as a whole, and a server that is not there.
func TestAModelThatCannotBeAskedIsTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ env, want string }{
		{"OPENAI_API_KEY=another", "The model's server answered with status 401."},
		{"OPENAI_BASE_URL=http://" + proctest.FreeAddr(t), "The model's server is out of reach (ConnectError)."},
	} {
		e := startExample(t, test.env)
		v := e.visitor()
		if got := v.awaitState(v.start("Hello?"), "failed"); got.Error != test.want {
			t.Errorf("%s: got %+v, want %q", test.env, got, test.want)
		}
		if strings.Contains(e.app.Log(), "another") {
			t.Errorf("the key is in the log:\n%s", e.app.Log())
		}
	}
}

// Without a server the typist answers: the same question the same, with the same seed.
func TestTheTypist(t *testing.T) {
	t.Parallel()
	e := startExample(t, "OPENAI_BASE_URL=", "CHAT_PAUSE=0", "CHAT_SEED=7")
	v := e.visitor()
	for question, want := range map[string]string{
		"Plan a trip to Lisbon":         "## Three days in Lisbon",
		"Some python code":              "```python\n",
		"Say:  **just** `this` \n- 😀\n": "**just** `this` \n- 😀",
	} {
		first := v.awaitState(v.start(question), "finished").Answer
		if !strings.Contains(first, want) {
			t.Errorf("%q: %q, want %q in it", question, first, want)
		}
		if again := v.awaitState(v.start(question), "finished").Answer; again != first {
			t.Errorf("%q again: %q", question, again)
		}
	}
}
