//go:build clients && linux

package clientstest

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// python is Debian's, for which its python3-redis and python3-httpx are.
const python = "/usr/bin/python3"

// anyText is a payload that is not JSON.
const anyText = "grüße, 世界 🎉\u2028 {done: 0.5}"

// publisher is one of the blocks under "Publish", of the README or of docs/clients.md.
type publisher struct {
	name    string
	block   blockID
	address func(g *gateway) (oldNew []string) // Redis's
	json    string                             // what it publishes
	value   string                             // what in it is the payload, and
	text    string                             // what anyText is in its place
	command func(t *testing.T, g *gateway, code string) *exec.Cmd
}

// quoted is a string in Python, JavaScript, PHP and Ruby.
const quoted = `"` + anyText + `"`

var publishers = []publisher{
	{
		"redis-cli", publishShell, func(*gateway) []string { return nil },
		`{"done": 0.5}`, `{"done": 0.5}`, anyText, shellCommand,
	},
	{
		"Python", publishPython, byURL,
		`{"done": 0.5}`, `json.dumps({"done": 0.5})`, quoted,
		func(t *testing.T, _ *gateway, code string) *exec.Cmd {
			return exec.Command(python, write(t, t.TempDir(), "publish.py", code))
		},
	},
	{
		"Node", publishNode, byURL,
		`{"done":0.5}`, `JSON.stringify({ done: 0.5 })`, quoted,
		func(t *testing.T, _ *gateway, code string) *exec.Cmd {
			return exec.Command("node", write(t, moduleDir(t), "publish.mjs", code))
		},
	},
	{
		"PHP", publishPHP, func(g *gateway) []string { return []string{"6379", strconv.Itoa(g.redis.Port())} },
		`{"done":0.5}`, `json_encode(["done" => 0.5])`, quoted,
		func(_ *testing.T, _ *gateway, code string) *exec.Cmd { return exec.Command("php", "-r", code) },
	},
	{
		"Ruby", publishRuby, byURL,
		`{"done":0.5}`, `JSON.generate({ done: 0.5 })`, quoted,
		func(t *testing.T, _ *gateway, code string) *exec.Cmd {
			return exec.Command("ruby", write(t, t.TempDir(), "publish.rb", code))
		},
	},
	{
		"Go", publishGo, func(g *gateway) []string { return []string{"127.0.0.1:6379", g.redis.Addr()} },
		`{"done":0.5}`, `json.Marshal(map[string]any{"done": 0.5})`, "`" + anyText + "`, json.Valid(nil)", goCommand,
	},
}

func byURL(g *gateway) []string { return []string{"redis://127.0.0.1:6379/0", g.redis.URL()} }

func TestPublishBlocksReachAStreamByteForByte(t *testing.T) {
	t.Parallel()
	g := newGateway(t, 10)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	stream := ssetest.Open(t, http.DefaultClient, g.url+"/streams/news")
	for _, p := range publishers {
		t.Run(p.name, func(t *testing.T) { // one after the other, in one stream
			asItIs := code(t, p.block, p.address(g)...)
			p.publishes(t, g, stream, asItIs, p.json)
			p.publishes(t, g, stream, replaced(t, asItIs, p.value, p.text), anyText)
		})
	}
}

// publishes runs code, whose message has to be the next one of the stream.
func (p publisher) publishes(t *testing.T, g *gateway, stream *ssetest.Stream, code, want string) {
	t.Helper()
	running := proctest.Start(t, p.command(t, g, code))
	if p.name != "Node" { // which lives on with its connection, as an app does
		if err := running.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, running.Log())
		}
	}
	if got := stream.Messages(1)[0]; got != want {
		t.Errorf("the stream has %q, want %q", got, want)
	}
	running.Kill()
}

// shellCommand runs code with a redis-cli that speaks to the test's Redis.
func shellCommand(t *testing.T, g *gateway, code string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-e", write(t, t.TempDir(), "publish.sh", code))
	cmd.Env = append(os.Environ(), g.redis.CLI())
	return cmd
}

// goCommand runs code as what a program does.
func goCommand(t *testing.T, _ *gateway, code string) *exec.Cmd {
	t.Helper()
	program := `package main

import (
	"context"
	"encoding/json"

	"github.com/redis/go-redis/v9"
)

func main() {
` + code + `
	if err != nil {
		panic(err)
	}
}
`
	return exec.Command("go", "run", write(t, t.TempDir(), "main.go", program)) // here, since the libraries are this module's
}

// write makes a file and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// moduleDir makes a directory whose files may import the npm packages.
func moduleDir(t *testing.T) string {
	t.Helper()
	modules, err := filepath.Abs("node_modules")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}
