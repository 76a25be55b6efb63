//go:build clients && linux

package clientstest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// What the client's README calls and leaves to the page.
const clientPage = `<!doctype html>
<script>
const told = [];
const refetch = () => told.push("refetch");
const show = (done) => told.push("show " + done);
const say = (text) => told.push("say " + text);
</script>
`

// The client's README has a page and a Caddyfile, which fit together. Only the address, the checkout's place and that there is the page
// are not as they stand there.
func TestClientsReadmeDoesWhatItSays(t *testing.T) {
	t.Parallel()
	blocks := map[string]string{}
	for _, b := range fileBlocks(t, "client/README.md") {
		blocks[b.lang] += b.code
	}
	if len(blocks) != 2 {
		t.Fatalf("there are blocks in %d languages, want an html and a caddyfile one: %q", len(blocks), blocks)
	}
	checkout, err := filepath.Abs(clientDir)
	if err != nil {
		t.Fatal(err)
	}
	redis, addr, dir := redistest.Start(t), proctest.FreeAddr(t), t.TempDir()
	url := "http://" + addr
	write(t, dir, "index.html", clientPage+blocks["html"])
	runCaddy(t, addr, options+"\tredis_sse {\n\t\tredis "+redis.URL()+"\n\t}\n}\n"+replaced(t, blocks["caddyfile"],
		"example.com", url, "/srv/caddy-redis-sse/client", checkout, "redis_sse /events news\n", "redis_sse /events news\n\troot "+dir+"\n\tfile_server\n"))

	openPage(t, url+"/")
	c, err := oneChromium()
	if err != nil {
		t.Fatal(err)
	}
	awaitTold := func(want string) {
		t.Helper()
		proctest.Poll(t, fmt.Sprintf("the page to be told %q", want), func() bool {
			told, err := c.ask(map[string]any{"command": "eval", "page": url + "/", "expression": "told.join()"})
			if err != nil {
				t.Fatal(err)
			}
			return strings.Contains(told, want)
		})
	}
	awaitTold("say live,refetch")
	redis.Publish("news", `{"done": 0.5}`)
	awaitTold("show 0.5")
}
