//go:build clients && linux

package aichat_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(proctest.Run(m)) }

// example is this folder's app behind Caddy with this folder's Caddyfile, and a Redis of its own.
type example struct {
	t     *testing.T
	redis *redistest.Server
	dir   string
	env   []string // the app's
	app   *proctest.Process
	caddy *proctest.Process
	model *model
	url   string // as a visitor has it

	appAddr   string
	fromApp   *redistest.Proxy // to Redis
	toRedis   *redistest.Proxy // from Caddy
	toVisitor *redistest.Proxy // from Caddy
}

// startExample returns when the page is served and a question can be asked. The model is one that says what the test does, unless
// env says another thing.
func startExample(t *testing.T, env ...string) *example {
	t.Helper()
	e := &example{t: t, redis: redistest.Start(t), dir: t.TempDir(), model: startModel(t), appAddr: proctest.FreeAddr(t)}
	e.fromApp, e.toRedis = redistest.NewProxy(t, e.redis.Addr()), redistest.NewProxy(t, e.redis.Addr())
	e.env = append([]string{"PYTHONDONTWRITEBYTECODE=1", "REDIS_URL=" + e.fromApp.URL(), "CHAT_DB=" + filepath.Join(e.dir, "chat.db"),
		"OPENAI_BASE_URL=" + e.model.url, "OPENAI_API_KEY=" + key, "OPENAI_MODELS=first,second"}, env...)
	e.startApp()
	e.startCaddy()
	proctest.Poll(t, "the subscription of what is kept", func() bool { return e.redis.Do("PUBSUB", "NUMPAT").(int64) > 0 })
	return e
}

// startApp returns when uvicorn serves.
func (e *example) startApp() {
	t := e.t
	t.Helper()
	const packages = "python3-fastapi uvicorn python3-redis python3-httpx"
	bin, err := exec.LookPath("uvicorn")
	if err != nil {
		t.Fatalf("uvicorn is not on PATH: install Debian's %s, then run `make test-clients` again (%v)", packages, err)
	}
	host, port, _ := net.SplitHostPort(e.appAddr)
	cmd := exec.Command(bin, "app:app", "--host", host, "--port", port)
	cmd.Env = append(os.Environ(), e.env...)
	e.app = proctest.Start(t, cmd)
	e.app.Poll(t, "uvicorn to serve; it needs Debian's "+packages, func() bool { return strings.Contains(e.app.Log(), "Uvicorn running on") })
}

// startCaddy returns when Caddy listens.
func (e *example) startCaddy() {
	t := e.t
	t.Helper()
	onLoopback := strings.Replace(read(t, "Caddyfile"), "\n{\n", "\n{\n\tdefault_bind 127.0.0.1\n", 1)
	if err := os.WriteFile(filepath.Join(e.dir, "Caddyfile"), []byte(onLoopback), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := proctest.FreeAddr(t)
	e.toVisitor = redistest.NewProxy(t, addr)
	_, port, _ := net.SplitHostPort(addr)
	_, visited, _ := net.SplitHostPort(e.toVisitor.Addr())
	e.url = "http://localhost:" + visited
	cmd := exec.Command(proctest.Caddy(t), "run", "--config", "Caddyfile")
	cmd.Dir = e.dir
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+e.dir, "XDG_CONFIG_HOME="+e.dir, "CADDY_ADMIN="+proctest.FreeAddr(t),
		"REDIS_URL="+e.toRedis.URL(), "BACKEND="+e.appAddr, "SITE=http://localhost:"+port)
	e.caddy = proctest.Start(t, cmd)
	e.caddy.AwaitListening(t, addr)
}

// visitor is a browser's cookies, without its page.
type visitor struct {
	e      *example
	client *http.Client
}

func (e *example) visitor() *visitor {
	e.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		e.t.Fatal(err)
	}
	transport := &http.Transport{}
	e.t.Cleanup(transport.CloseIdleConnections)
	return &visitor{e, &http.Client{Transport: transport, Jar: jar}}
}

// do sends a request, and returns the status and what was answered.
func (v *visitor) do(method, path string, body any) (status int, answer string) {
	t := v.e.t
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, v.e.url+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := v.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(got)
}

// want is do for a request whose status is known. It decodes the answer into what is given, if something is.
func (v *visitor) want(status int, method, path string, body any, into ...any) {
	t := v.e.t
	t.Helper()
	got, answer := v.do(method, path, body)
	if got != status {
		t.Fatalf("%s %s: status %d, %q, want %d", method, path, got, answer, status)
	}
	for _, each := range into {
		if err := json.Unmarshal([]byte(answer), each); err != nil {
			t.Fatalf("%s %s: %q: %v", method, path, answer, err)
		}
	}
}

type asked map[string]string

// start asks the first question of a chat, and returns the chat's path.
func (v *visitor) start(question string) (chat string) {
	v.e.t.Helper()
	var made struct{ ID string }
	v.want(http.StatusCreated, http.MethodPost, "/api/chats", asked{"question": question}, &made)
	return "/chats/" + made.ID
}

// stored is what the app says of a chat.
type stored struct {
	Title   string
	Held    bool
	Answers []answer
}

type answer struct {
	ID       int
	Question string
	Model    string
	State    string
	Answer   string
	Error    string
}

func (v *visitor) stored(chat string) (s stored) {
	v.e.t.Helper()
	v.want(http.StatusOK, http.MethodGet, "/api"+chat, nil, &s)
	return s
}

// awaitState returns the newest answer of a chat when it is in a state.
func (v *visitor) awaitState(chat, state string) (newest answer) {
	v.e.t.Helper()
	proctest.Poll(v.e.t, fmt.Sprintf("the answer to be %s", state), func() bool {
		answers := v.stored(chat).Answers
		newest = answers[len(answers)-1]
		return newest.State == state
	})
	return newest
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
