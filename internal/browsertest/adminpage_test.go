//go:build browser && linux

package browsertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/browsers"
)

// hostile is a channel whose name is markup.
const hostile = `<img src=x onerror=document.title='run'>`

// withAdminPage is a hub "paged" that has the admin page, and an admin endpoint that lets a browser in who types its address, or
// comes from a page of this origin.
func withAdminPage(origin string) func(g *gateway) (global, site string) {
	return func(g *gateway) (global, site string) {
		return fmt.Sprintf("admin %s {\norigins %[1]s %s \"\"\n}\nredis_sse paged {\nredis %s\nreconnect_min 100ms\nkeep *\nadmin_page\n}",
			g.admin, origin, g.redis.URL()), ""
	}
}

func (g *gateway) adminPage() string { return "http://" + g.admin + "/redis_sse/" }

// pagedHub is what the status says of the hub that has the page.
type pagedHub struct {
	Name    string
	Streams int
	Proved  bool
	Routes  []struct {
		Route   string
		Streams int
	}
}

func (g *gateway) paged() (paged pagedHub) {
	g.t.Helper()
	response, err := http.Get(g.adminPage() + "status")
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	var status struct{ Hubs []pagedHub }
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		g.t.Fatal(err)
	}
	for _, h := range status.Hubs {
		if h.Name == "paged" {
			paged = h
		}
	}
	return paged
}

func TestTheAdminPageShowsWhatHappens(t *testing.T) {
	t.Parallel()
	b, err := browsers.OneChromium()
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, httpOne, withAdminPage(""))
	d := &demoPage{t: t, browser: b, tab: fmt.Sprintf("tab-%d", tabs.Add(1)), proto: httpOne}
	if err := b.Open(d.tab, g.adminPage()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(d.tab); err != nil {
			t.Error(err)
		}
	})
	d.wait(".hub-card.good >> nth=1") // both hubs
	g.redis.Publish(hostile, "as text")
	d.wait("#channels button >> text=<img")
	d.wait("#chart polyline.received[points*=' ']") // two looks and more

	d.do(command{"command": "fill", "selector": "#stream [name=channel]", "text": "job:1"})
	d.do(command{"command": "click", "selector": "#open"})
	d.wait("#stream-state >> text=open")
	d.wait(`#routes td:has-text("/redis_sse/stream")`)
	d.do(command{"command": "fill", "selector": "#publish [name=channel]", "text": "job:1"})
	d.do(command{"command": "fill", "selector": "#publish textarea", "text": "<b>by hand</b>\nand more"})
	d.do(command{"command": "click", "selector": "#publish button"})
	d.wait(`#events pre:has-text("<b>by hand</b>")`)
	d.shows("#published", "published", 1)
	d.wait("#channels button >> text=job:1")

	g.redis.Kill()
	d.wait(".hub-card.bad .error >> nth=1")
	g.redis.Restart()
	d.wait("#events li.gap >> text=redis_disconnected")
	d.wait("#chart rect")
	d.wait(".hub-card.good >> nth=1")
	g.redis.Publish(hostile, "as text")
	d.do(command{"command": "click", "selector": "#channels button >> text=<img"})
	d.wait("#stream-state >> text=open")
	shots := screenshotDir(t)
	for _, size := range []struct{ width, height int }{{390, 2600}, {1280, 1800}} {
		d.do(command{"command": "size", "width": size.width, "height": size.height})
		if wide := d.do(command{"command": "eval", "expression": "document.documentElement.scrollWidth"}); wide != fmt.Sprint(size.width) {
			t.Errorf("of a screen %d wide the page takes %s", size.width, wide)
		}
		d.do(command{"command": "screenshot", "path": filepath.Join(shots, fmt.Sprintf("admin-page-%d.png", size.width))})
	}
	if title := d.do(command{"command": "eval", "expression": "document.title"}); title != "Redis SSE gateway" {
		t.Errorf("a channel's name was run: the title is %q", title)
	}
	if logged := d.do(command{"command": "logged"}); strings.Contains(logged, "Content Security Policy") {
		t.Errorf("the page breaks its own policy: %s", logged)
	}
}

// Firefox is not driven: what its page does is seen from the gateway. The address asks for a stream.
func TestTheAdminPageWorksInFirefox(t *testing.T) {
	t.Parallel()
	b, err := browsers.OneFirefox()
	if err != nil {
		t.Fatal(err)
	}
	home, err := url.Parse(b.Home())
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, httpOne, withAdminPage(home.Host))
	tab := fmt.Sprintf("tab-%d", tabs.Add(1))
	if err := b.Open(tab, g.adminPage()+"#channel=job:1&hub=paged"); err != nil {
		t.Fatal(err)
	}
	g.process.Poll(t, "a stream by hand", func() bool {
		is := g.paged()
		return len(is.Routes) == 1 && is.Routes[0].Route == "/redis_sse/stream" && is.Streams == 1
	})
	// It comes back by itself. The tab stays: who opened the page has no hold on it.
	response, err := http.Post(g.adminPage()+"disconnect?all=1&over=0s&hub=paged", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	g.process.Poll(t, "another stream", func() bool {
		return strings.Count(g.process.Log(), `"uri":"/redis_sse/stream?`) == 2 && g.paged().Streams == 1
	})
}
