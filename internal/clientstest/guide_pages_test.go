//go:build clients && linux

package clientstest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// notifications is that guide with two tabs of user 1, and the cookie of user 2.
type notifications struct {
	*guide
	page, other *tab
	cookie      string
}

func TestNotificationsGuide(t *testing.T) {
	t.Parallel()
	n := &notifications{guide: newGuide(t, "notifications.md")}
	caddy := n.start()[1]
	n.page = n.open("one", n.site)
	n.page.click(`#out [data-user="1"]`)
	n.page.await("#in:visible #unread", "0")
	n.other = n.open("one", n.site+"/?other")
	n.other.await("#in:visible #unread", "0")
	n.cookie = n.login("2")

	n.readByTheirUserOnly()
	n.fetchedWhenLost()

	caddy.Kill()
	way := redistest.NewProxy(t, n.app) // of Caddy, to ask who it is
	n.makeFiles("Caddyfile: max_stream_age 5m", "max_stream_age 2s", "Caddyfile: forward_auth "+n.app, "forward_auth "+way.Addr())
	n.again("./caddy")
	n.endWithTheSession()
	n.comeBackAfterAnOutageOfTheApp(way)
}

// readByTheirUserOnly has user 2 claim to be user 1.
func (n *notifications) readByTheirUserOnly() {
	n.t.Helper()
	forger := proctest.Start(n.t, n.command(n.block("sh", "curl -c jar")))
	forger.Poll(n.t, "the stream of user 2", func() bool { return strings.Contains(forger.Log(), "event: cursor") })
	for _, tab := range []*tab{n.page, n.other} {
		tab.await("#list", "User 2: lunch?")
		tab.await("#notice", "Back at ten")
	}
	n.page.picture("notifications")
	n.notify("1", "at one?")
	n.notify("2", "buy bread")
	forger.Poll(n.t, "user 2's own notification", func() bool { return strings.Contains(forger.Log(), "buy bread") })
	if strings.Contains(forger.Log(), "at one?") {
		n.t.Errorf("who claims to be user 1 reads what is user 1's:\n%s", forger.Log())
	}
	if status, _ := ask(n.t, n.site+"/me/events", ssetest.WithHeader("X-User-Id", "1")); status != http.StatusUnauthorized {
		n.t.Errorf("without a cookie the stream is answered %d, want 401", status)
	}
}

func (n *notifications) fetchedWhenLost() {
	n.t.Helper()
	n.page.click("#read")
	n.other.await("#unread", "0")
	n.redis.Kill()
	n.notify("1", "while Redis was away")
	n.redis.Restart()
	for _, tab := range []*tab{n.page, n.other} {
		tab.await("#list", "User 2: while Redis was away")
		tab.await("#unread", "1")
	}
	n.page.reload()
	n.page.await("#in:visible #unread", "1")
}

func (n *notifications) endWithTheSession() {
	n.t.Helper()
	n.page.click("#logout")
	n.page.awaitSignedOut()
	n.other.awaitSignedOut()
	if state := n.other.eval("source.readyState"); state != "2" {
		n.t.Errorf("the stream of another tab that is signed out has readyState %s, want 2", state)
	}
}

func (n *notifications) comeBackAfterAnOutageOfTheApp(way *redistest.Proxy) {
	n.t.Helper()
	n.page.click(`#out [data-user="1"]`)
	n.page.await("#in:visible #unread", "1")
	way.SetRefuse(true)
	way.Reset()
	n.page.awaitClosed("a stream that a 502 stops")
	way.SetRefuse(false)
	proctest.Poll(n.t, "another stream", func() bool { return n.page.eval("source.readyState") == "1" })
}

func (tab *tab) awaitSignedOut() {
	tab.t.Helper()
	tab.await("#out:visible button:first-child", "Sign in as user 1")
}

func (n *notifications) notify(user, text string) {
	n.t.Helper()
	status, answer := n.post("/users/"+user+"/notifications", `{"text": "`+text+`"}`, n.cookie)
	if status != http.StatusNoContent {
		n.t.Fatalf("telling user %s %q: %d, %s", user, text, status, answer)
	}
}

// The last step of the guide's job, and how many there are.
const lastStep, allSteps = "All 20 pages converted", "21"

func TestJobProgressGuide(t *testing.T) {
	t.Parallel()
	g := newGuide(t, "job-progress.md", "app.mjs: await setTimeout(500)", "await setTimeout(200)",
		"Caddyfile: from start", "from start\n\t\theartbeat 1s")
	caddy := g.start()[1]
	g.prints(`id=$(curl`, "retry: 2000")
	page := g.open("one", g.site)
	page.startJob()
	late := g.open("two", page.eval("location.href"))
	page.reload()
	late.await(`#log [value="1"]`, "Page 1 of 20 converted")
	page.picture("job-progress")
	page.wantWholeJob("a page that was loaded again")
	late.wantWholeJob("a page that was opened late")
	g.open("three", page.eval("location.href")).wantWholeJob("a page that was opened at the end")

	page.startJob()
	caddy.Kill()
	g.again("./caddy")
	page.await("#text", lastStep)
	page.awaitClosed("a page through a restart of Caddy")
	forgotten := g.open("four", late.eval("location.href"))
	forgotten.await("#text", lastStep)
	forgotten.await("#log", lastStep)
	forgotten.awaitClosed("a page of a job that is older than the buffer")
	g.open("five", g.site+"/#none").await("#text", "No such job")
}

// startJob starts one and returns when it has told some steps.
func (tab *tab) startJob() {
	tab.t.Helper()
	tab.eval("window.before = true")
	tab.click("#start") // which loads the page again
	proctest.Poll(tab.t, "some steps of a job", func() bool { return tab.eval("!window.before && newest.n > 4") == "true" })
}

func (tab *tab) wantWholeJob(what string) {
	tab.t.Helper()
	tab.await("#text", lastStep)
	tab.awaitClosed(what)
	if got := tab.eval(`document.querySelectorAll("#log li:not([value='0'])").length`); got != allSteps {
		tab.t.Errorf("%s shows %s steps, want %s:\n%s", what, got, allSteps, tab.text("#log"))
	}
}

// dashboard is that guide with a tab that has a way of its own to the site.
type dashboard struct {
	*guide
	way  *redistest.Proxy
	page *tab
}

func TestDashboardsGuide(t *testing.T) {
	t.Parallel()
	d := &dashboard{guide: newGuide(t, "dashboards.md")}
	d.start()
	d.way = redistest.NewProxy(t, strings.Replace(d.site, "http://localhost", "127.0.0.1", 1))
	d.page = d.open("one", strings.Replace(d.way.Addr(), "127.0.0.1", "http://localhost", 1))
	proctest.Poll(t, "all sensors to be shown", func() bool { return d.widgets() == "50" })

	d.drawsSeldom()
	d.page.picture("dashboards")
	d.prints("CLIENT KILL", "sensor:0")
	d.page.await("#status", "fetched again: redis_disconnected")
	d.goesOn()
	d.isTooSlow()
	d.goesOn()
	d.redis.Publish("sensor:new", `{"at": 1, "value": 1}`)
	d.goesOn()
	if got := d.widgets(); got != "50" {
		t.Errorf("%s sensors are shown, also one that the page does not know", got)
	}
}

func (d *dashboard) widgets() string {
	d.t.Helper()
	return d.page.eval(`document.querySelectorAll("#widgets b:not(:empty)").length`)
}

func (d *dashboard) drawsSeldom() {
	d.t.Helper()
	d.page.eval(`{ window.heard = window.draws = 0; const was = draw; draw = () => { draws++; was(); } }`)
	d.page.eval(`source.addEventListener("sensor:7", () => heard++)`)
	proctest.Poll(d.t, "messages of a sensor", func() bool { return d.page.eval("heard > 20") == "true" })
	if d.page.eval("draws > 0 && draws < 10 * heard") != "true" { // 50 times as often if each message were drawn
		d.t.Errorf("the page draws %s times for %s messages of one sensor", d.page.eval("draws"), d.page.eval("heard"))
	}
}

// isTooSlow has more published than there is room for on the way to a page that reads nothing.
func (d *dashboard) isTooSlow() {
	d.t.Helper()
	d.way.SetBlackhole(true)
	for range 500 {
		d.redis.Publish("sensor:0", `{"at": 0, "value": 0, "more": "`+strings.Repeat("x", 10_000)+`"}`)
	}
	d.way.SetBlackhole(false)
	proctest.Poll(d.t, "the page to fetch what it was too slow for", func() bool {
		status := d.page.text("#status") // the second if this machine is too slow, so that the stream was cut
		return status == "fetched again: slow_client" || status == "fetched again: evicted"
	})
}

func (d *dashboard) goesOn() {
	d.t.Helper()
	d.page.eval(`window.shown = widgets.get("sensor:7").lastChild.textContent`)
	proctest.Poll(d.t, "the numbers to go on", func() bool {
		return d.page.eval(`shown !== widgets.get("sensor:7").lastChild.textContent`) == "true"
	})
}

// chat is that guide with a tab of each side.
type chat struct {
	*guide
	customer, support *tab
}

func TestPublishingFromBrowsersGuide(t *testing.T) {
	t.Parallel()
	c := &chat{guide: newGuide(t, "publishing-from-browsers.md")}
	c.start()
	c.customer, c.support = c.open("customer", c.site), c.open("support", c.site+"/?chat=1")
	c.customer.click(`#out [data-user="1"]`)
	c.support.click(`#out [data-user="support"]`)
	for _, tab := range []*tab{c.customer, c.support} {
		proctest.Poll(t, "the page to be loaded again", func() bool { return tab.eval(`document.querySelector("#out").hidden`) == "true" })
	}
	c.say(c.customer, "My parcel?")
	c.both("customer: My parcel?")
	c.say(c.support, "On its way")
	c.both("support: On its way")
	c.customer.picture("chat-customer")
	c.support.picture("chat-support")

	cookie := c.login("1")
	c.sendersCannotBeForged(cookie)
	c.throughOutages()
	c.refuses(cookie)
}

func (c *chat) say(tab *tab, text string) {
	c.t.Helper()
	tab.fill("#text", text)
	tab.click("#form button")
}

// both returns when both sides have a line, once.
func (c *chat) both(line string) {
	c.t.Helper()
	_, said, _ := strings.Cut(line, ": ")
	for _, tab := range []*tab{c.customer, c.support} {
		tab.await(`li:has-text("`+said+`")`, line)
	}
}

func (c *chat) sendersCannotBeForged(cookie string) {
	c.t.Helper()
	if got, want := strings.TrimSpace(c.run("curl -c jar")), strings.TrimSpace(c.block("text", "receivers")); got != want {
		c.t.Errorf("the commands print\n%s\nwant\n%s", got, want)
	}
	body := `{"id": "a", "text": "I am one", "side": "support"}`
	if status, _ := c.post("/chat/messages?chat=2", body, cookie, ssetest.WithHeader("X-Side", "support")); status != http.StatusOK {
		c.t.Errorf("a message of customer 1 is answered %d", status)
	}
	c.both("customer: I am one")
	late := c.open("customer", c.site+"/?late")
	late.await("#list li:last-child", "customer: I am one")
	if text := late.text("#list"); strings.Contains(text, ": Hi") {
		c.t.Errorf("what customer 2 sent is in chat 1:\n%s", text)
	}
}

func (c *chat) throughOutages() {
	c.t.Helper()
	for range 2 {
		c.redis.Publish("chat:1:support", `{"id": "b", "text": "Said twice"}`)
	}
	c.redis.Publish("chat:1:support", `{"id": "c", "text": "Said once"}`)
	c.both("support: Said once")
	c.both("support: Said twice")
	c.redis.Kill()
	c.say(c.customer, "Redis is away")
	c.customer.await("#status", "Sending ...")
	c.redis.Restart()
	c.both("customer: Redis is away")
	if text := c.customer.text("#list"); !strings.Contains(text, "(Something may be missing here)") {
		c.t.Errorf("the page does not tell of the gap:\n%s", text)
	}
	c.customer.await("#status", "")
	c.redis.Freeze()
	c.say(c.customer, "Redis stands still")
	c.customer.await("#status", "Sending ...")
	c.redis.Thaw()
	c.customer.await("#status", "")
	c.both("customer: Redis stands still")
}

// refuses asks for what the guide says is refused.
func (c *chat) refuses(cookie string) {
	c.t.Helper()
	if status, _ := c.post("/chat/messages", "x", "session=none"); status != http.StatusUnauthorized {
		c.t.Errorf("without a session a message is answered %d, want 401", status)
	}
	if status, _ := c.post("/chat/messages", strings.Repeat("x", 5000), cookie); status != http.StatusRequestEntityTooLarge {
		c.t.Errorf("a message of 5000 bytes is answered %d, want 413", status)
	}
	proctest.Poll(c.t, "the app to count too many messages", func() bool {
		status, _ := c.post("/chat/messages", `{"id": "d", "text": "again"}`, cookie)
		return status == http.StatusTooManyRequests
	})
}
