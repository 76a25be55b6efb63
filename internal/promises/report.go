package promises

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redis-sse/caddy-redis-sse/internal/faults"
)

// A Run says what became of one test of [All].
type Run struct {
	Passed  bool
	Cases   int // subtests that passed and have none of their own; 1 if there are no subtests
	Skipped int // subtests
}

// A Report is what docs/PROMISES.md says.
type Report struct {
	Date    string
	Machine string
	Runs    map[string]Run // by the names of All
	Results
	Matrix map[string]faults.Row // by the keys of faults.List
}

const intro = `# Promises

What this project promises, the tests that hold each promise, and what was measured last: beside a plain endpoint, FastAPI with
redis-py ([before.py](../examples/fastapi/before.py)), in the same faults. ` + "`make promises`" + ` runs those tests, measures, and writes
this page. It does so only if all of the tests passed and the gateway kept its promises in the measurement, too. Do not edit it:
the promises are in [list.go](../internal/promises/list.go), the faults in [internal/faults](../internal/faults/doc.go), and those
of the comparison in [faults.go](../internal/promises/faults.go).
`

// Markdown is the page. compared are the faults of the comparison to tell of, and listed those of the matrix.
func (r *Report) Markdown(compared []Fault, listed []faults.Named) string {
	var b strings.Builder
	b.WriteString(intro)
	fmt.Fprintf(&b, "\n%s\n\n", wrap(fmt.Sprintf("Last run: %s, on %s; %s.", r.Date, r.Machine, strings.Join(r.Versions, ", ")), ""))
	r.overview(&b)
	for i, p := range All {
		fmt.Fprintf(&b, "\n## P%d: %s\n\n%s\n\n", i+1, p.Title, wrap(p.Text, ""))
		r.tests(&b, p)
	}
	r.matrix(&b, listed)
	r.comparison(&b, compared)
	fmt.Fprintf(&b, method, r.Clients, r.Rate, r.Rounds, r.Patience)
	return b.String()
}

func (r *Report) overview(b *strings.Builder) {
	b.WriteString("| | promise | tests | cases | measured |\n|---|---|---:|---:|---|\n")
	for i, p := range All {
		cases := 0
		for _, test := range p.Tests {
			cases += r.Runs[test].Cases
		}
		fmt.Fprintf(b, "| P%d | [%s](#%s) | %d | %d | %s |\n", i+1, p.Title, anchor(i), len(p.Tests), cases, r.figure(i+1))
	}
}

// anchor is what a link to the section of All[i] points at.
func anchor(i int) string {
	return fmt.Sprintf("p%d-%s", i+1, strings.ReplaceAll(strings.ToLower(All[i].Title), " ", "-"))
}

// tests are the tests of a promise, by package, with their numbers of cases.
func (r *Report) tests(b *strings.Builder, p Promise) {
	named := map[string][]string{}
	var dirs []string
	for _, test := range p.Tests {
		dir, name := Split(test)
		if named[dir] == nil {
			dirs = append(dirs, dir)
		}
		run := r.Runs[test]
		cases := fmt.Sprint(run.Cases)
		if run.Skipped > 0 {
			cases += fmt.Sprintf(", %d skipped", run.Skipped)
		}
		named[dir] = append(named[dir], fmt.Sprintf("`%s`\u00a0(%s)", name, cases))
	}
	for _, dir := range dirs {
		what := "Tests"
		if dir != "." {
			what = fmt.Sprintf("Tests in `%s`", dir)
		}
		fmt.Fprintf(b, "- %s\n", wrap(fmt.Sprintf("%s, with the cases that passed: %s.", what, strings.Join(named[dir], ", ")), "  "))
	}
}

// figure says in short what was measured of promise number n.
func (r *Report) figure(n int) string {
	all, plain := r.total(Gateway), r.total(Plain)
	back := func(key string) string { return seconds(median(r.Outcomes[key][Gateway].Back)) }
	late := func(server string) string { return seconds(r.Outcomes["stalled"][server].Late) }
	switch n {
	case 1:
		return fmt.Sprintf("%d of %d lost silently, %d told by a gap; plain: %d lost silently", all.Silent, all.Published, all.Declared,
			plain.Silent)
	case 2:
		g, p := r.Outcomes["opened"][Gateway], r.Outcomes["opened"][Plain]
		return fmt.Sprintf("%d of %d published at `onopen` arrived; plain: %d", g.Delivered, g.Published, p.Delivered)
	case 3:
		return fmt.Sprintf("messages again %s after Redis was back, %s after a freeze of 15 s, %s after a black hole", back("killed"),
			back("frozen-long"), back("forgotten"))
	case 4:
		return r.lostOrDoubled("away", "published to clients that were away meanwhile")
	case 5:
		return r.lostOrDoubled("reloaded", "published around a reload")
	case 6:
		return fmt.Sprintf("slowest delivery to the others while one reads nothing: %s; plain: %s", late(Gateway), late(Plain))
	case 7:
		p := r.Posts
		return fmt.Sprintf("%d answered 200, %d of them arrived; %d answered 503, %d arrived; %d answered 504, %d arrived; %d twice", p.Taken,
			p.TakenArrived, p.None, p.NoneArrived, p.Unknown, p.UnknownArrived, p.Twice)
	case 8:
		return fmt.Sprintf("%d with %d clients; plain: %d", r.Conns.Of[Gateway], r.Conns.Clients, r.Conns.Of[Plain])
	case 10:
		return fmt.Sprintf("%d of %d clients stopped for ever; plain: %d", all.Stopped, all.Clients, plain.Stopped)
	default:
		return "by the tests alone"
	}
}

func (r *Report) lostOrDoubled(key, what string) string {
	g, p := r.Outcomes[key][Gateway], r.Outcomes[key][Plain]
	return fmt.Sprintf("of %d %s: %d lost, %d doubled; plain: %d lost silently", g.Published, what, g.Silent+g.Declared, g.Doubled, p.Silent)
}

const comparisonHead = `
## Beside a plain endpoint

| fault | | published | delivered | lost silently | lost, told by a gap | doubled | messages again after (median, longest) |
|---|---|---:|---:|---:|---:|---:|---:|
`

func (r *Report) comparison(b *strings.Builder, faults []Fault) {
	b.WriteString(comparisonHead)
	for _, f := range faults {
		for _, server := range []string{Gateway, Plain} {
			title := ""
			if server == Gateway {
				title = f.Title
			}
			o := r.Outcomes[f.Key][server]
			fmt.Fprintf(b, "| %s | %s | %d | %d | %s | %d | %d | %s |\n", title, server, o.Published, o.Delivered, strong(o.Silent),
				o.Declared, o.Doubled, again(f, o))
		}
	}
	fmt.Fprintf(b, "\nRedis connections with %d clients on as many channels: gateway %d, plain %d.\n", r.Conns.Clients,
		r.Conns.Of[Gateway], r.Conns.Of[Plain])
}

// strong makes what should not be stand out.
func strong(n int) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("**%d**", n)
}

func again(f Fault, o Figures) string {
	switch {
	case f.Key == "opened":
		return "-"
	case o.Never == o.Clients:
		return "**never**"
	case len(o.Back) == 0:
		return ""
	}
	times := seconds(median(o.Back)) + ", " + seconds(slices.Max(o.Back))
	if o.Never > 0 {
		return fmt.Sprintf("%s, **never** at %d of %d", times, o.Never, o.Clients)
	}
	return times
}

// seconds keeps as many digits as a single run is worth.
func seconds(s float64) string {
	switch {
	case s < 0.0095:
		return fmt.Sprintf("%.0f ms", max(s*1000, 1))
	case s < 0.995:
		return fmt.Sprintf("%.0f0 ms", s*100)
	}
	return fmt.Sprintf("%.1f s", s)
}

const method = `
## Method

- Each fault has a Redis, a gateway (all defaults) and an endpoint (uvicorn, one worker) of its own, all on loopback on one
  machine. %[1]d clients of each have a stream of one channel, to which %[2]d messages a second are published, one after the other; in
  the last fault it is 50.
- Each fault happens %[3]d times, with everything started afresh. Numbers are sums over that, and over the clients: "published" counts
  each message once for each client.
- A client is what an ` + "`EventSource`" + ` is: it comes back after the ` + "`retry`" + ` that it was told, else after 3 s, with the last id it has,
  if any, and any answer but a 200 of the right type stops it for ever.
- What counts is what Redis took: a ` + "`PUBLISH`" + ` that was answered. One whose answer did not come may arrive or not, but once. A
  missing message is told by a gap if that stands between its neighbours.
- "Messages again after" is, at the client that waited longest, from the end of the fault to the first message that was published
  after it; for the reload, from the end of the client's stream. "Never" is not within %[4]d s.
- The first row opens streams one after the other and publishes a message when the headers of one have arrived. Only that message
  counts for that stream.
- In the black holes the publisher is on Redis's side.
- P7: %[2]d messages a second are posted to the gateway, each in a request of its own. For 4 s each Redis is frozen, the network to
  it a black hole, and new connections are refused. A subscriber on Redis's side tells which messages Redis took.

## Limits

- How much is lost in an outage is a matter of when the backoff tries again: it varies from run to run.
- Where Redis is frozen or the network a black hole for longer than ` + "`dead_after`" + ` (9 s) and connections survive it, the endpoint
  gets late what TCP and Redis have kept for it, while the gateway has given its connection up and tells of a gap. Nobody can know
  beforehand that a connection will come back: see the other black hole.
- The endpoint is the usual one. It can be given time-outs, pings, ids, a buffer and gaps; that is what the gateway is.
- Redis keeps up to 32 MB for an endpoint whose client reads nothing (8 MB for longer than a minute) before it cuts the
  subscription: it takes large messages, or long, to lose some.
- What is lost between a publisher and Redis, or in Redis's own replication, is not what is counted here.
`

// width is the longest line of a document here.
const width = 130

// wrap breaks text into lines; indent begins all but the first.
func wrap(text, indent string) string {
	var b strings.Builder
	line := 0
	for i, word := range strings.Split(text, " ") {
		n := len([]rune(word))
		switch {
		case i == 0:
		case line+1+n > width-2:
			b.WriteString("\n" + indent)
			line = len(indent)
		default:
			b.WriteByte(' ')
			line++
		}
		b.WriteString(word)
		line += n
	}
	return b.String()
}
