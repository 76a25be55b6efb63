//go:build clients && linux

package fastapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/chromiumtest"
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
	c := chromiumtest.Start(t)
	c.Load(e.site)
	c.Screenshots("fastapi-before")
	c.Eval(`document.querySelector("#start").click()`)
	lines := func(kind string) string { return fmt.Sprintf(`document.querySelectorAll("#log li%s").length`, kind) }
	proctest.Poll(t, "lines of the job", func() bool { return c.Eval(lines("")+" > 4") == "true" })
	c.Screenshots("fastapi-running")

	e.redis.Restart()
	proctest.Poll(t, "the page to tell of the gap", func() bool { return c.Eval(lines(".gap")) == "1" })
	proctest.Poll(t, "the job to go on after it", func() bool { return c.Eval(`document.querySelector("#log li").className`) == "" })
	c.Screenshots("fastapi-gap")
	proctest.Poll(t, "the job to finish", func() bool { return c.Eval(shownNow) == finishedPage })
	c.Screenshots("fastapi-finished")
	proctest.Poll(t, "the page to close its stream", func() bool { return c.Eval(`source.readyState`) == "2" })

	later := chromiumtest.Start(t)
	later.Load(c.Eval(`location.href`))
	proctest.Poll(t, "a later page to show the end", func() bool { return later.Eval(shownNow) == finishedPage })
	proctest.Poll(t, "a later page to show what the other one has", func() bool {
		return later.Eval(lines(":not(.gap)")) == c.Eval(lines(":not(.gap)"))
	})
	proctest.Poll(t, "a later page to close its stream", func() bool { return later.Eval(`source.readyState`) == "2" })

	later.Load(e.startCaddy() + "/#" + c.Eval("job"))
	proctest.Poll(t, "a page to show the end though nothing is buffered", func() bool {
		return later.Eval(shownNow) == finishedPage
	})

	// The one gets a stream of nothing, the other not even that.
	for _, none := range []string{strings.Repeat("0", 32), "none"} {
		later.Load("about:blank")
		later.Load(e.site + "/#" + none)
		proctest.Poll(t, "a page of no job to say so", func() bool {
			return later.Eval(`document.querySelector("main").dataset.state`) == "gone"
		})
	}
}
