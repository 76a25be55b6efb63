//go:build clients && linux

package fastapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// finishedPage is what the page shows of a job of 100 pages at its end, whatever it has missed.
const finishedPage = "finished All 100 pages converted 100 % 1"

const shownNow = `document.querySelector("main").dataset.state + " " +
	document.querySelector("#now").innerText.replace(/\s+/g, " ") + " " + document.querySelector("progress").value.toFixed()`

// The page in Chromium: a job that is started there, through a restart of Redis, to its end. The same job in a page that comes
// later.
func TestPage(t *testing.T) {
	t.Parallel()
	e := startExample(t, "JOB_PAGES=100", "JOB_PAUSE=0.2")
	c := startChromium(t)
	c.load(e.site)
	c.screenshots("before")
	c.eval(`document.querySelector("#start").click()`)
	lines := func(kind string) string { return fmt.Sprintf(`document.querySelectorAll("#log li%s").length`, kind) }
	proctest.Poll(t, "lines of the job", func() bool { return c.eval(lines("")+" > 4") == "true" })
	c.screenshots("running")

	e.redis.Restart()
	proctest.Poll(t, "the page to tell of the gap", func() bool { return c.eval(lines(".gap")) == "1" })
	proctest.Poll(t, "the job to go on after it", func() bool { return c.eval(`document.querySelector("#log li").className`) == "" })
	c.screenshots("gap")
	proctest.Poll(t, "the job to finish", func() bool { return c.eval(shownNow) == finishedPage })
	c.screenshots("finished")
	proctest.Poll(t, "the page to close its stream", func() bool { return c.eval(`source.readyState`) == "2" })

	later := startChromium(t)
	later.load(c.eval(`location.href`))
	proctest.Poll(t, "a later page to show the end", func() bool { return later.eval(shownNow) == finishedPage })
	proctest.Poll(t, "a later page to show what the other one has", func() bool {
		return later.eval(lines(":not(.gap)")) == c.eval(lines(":not(.gap)"))
	})
	proctest.Poll(t, "a later page to close its stream", func() bool { return later.eval(`source.readyState`) == "2" })

	later.load(e.startCaddy() + "/#" + c.eval("job"))
	proctest.Poll(t, "a page to show the end though nothing is buffered", func() bool {
		return later.eval(shownNow) == finishedPage
	})

	// The one gets a stream of nothing, the other not even that.
	for _, none := range []string{strings.Repeat("0", 32), "none"} {
		later.load("about:blank")
		later.load(e.site + "/#" + none)
		proctest.Poll(t, "a page of no job to say so", func() bool {
			return later.eval(`document.querySelector("main").dataset.state`) == "gone"
		})
	}
}
