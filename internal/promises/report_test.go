package promises

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/faults"
)

// kept is what a run finds in which all is as promised.
func kept() Results {
	r := Results{Rate: 25, Clients: 5, Rounds: 3, Patience: 30, Outcomes: map[string]Result{}}
	for _, f := range Faults {
		r.Outcomes[f.Key] = Result{
			Gateway: {Tally: faults.Tally{Clients: 5, Published: 100, Delivered: 90, Declared: 10}, Back: []float64{0.5, 4, 0.25}},
			Plain:   {Tally: faults.Tally{Clients: 5, Published: 100, Delivered: 70, Silent: 30, Never: 1}, Back: []float64{2}},
		}
	}
	r.Conns = Conns{Clients: 100, Of: map[string]int{Gateway: 2, Plain: 101}}
	r.Posts = Publishing{Taken: 400, TakenArrived: 400, None: 30, Unknown: 20, UnknownArrived: 15}
	return r
}

func TestCheck(t *testing.T) {
	r := kept()
	if err := r.Check(Keys(Faults)); err != nil {
		t.Errorf("all is as promised, got %v", err)
	}
	gateway := func(key string, change func(*Figures)) func(*Results) {
		return func(r *Results) {
			o := r.Outcomes[key][Gateway]
			change(&o)
			r.Outcomes[key][Gateway] = o
		}
	}
	for name, test := range map[string]struct {
		change func(*Results)
		want   string // part of the error, empty for none
	}{
		"lost":             {gateway("killed", func(o *Figures) { o.Silent = 1 }), `"killed": gateway: 1 messages lost silently`},
		"doubled":          {gateway("reloaded", func(o *Figures) { o.Doubled = 2 }), `"reloaded": gateway: 2 messages delivered again`},
		"doubled, allowed": {gateway("restarted", func(o *Figures) { o.Doubled = 2 }), ""},
		"disordered":       {gateway("hole", func(o *Figures) { o.Disordered = 3 }), "3 messages out of order"},
		"stopped":          {gateway("away", func(o *Figures) { o.Stopped = 1 }), "1 clients stopped for ever"},
		"never back":       {gateway("frozen", func(o *Figures) { o.Never = 1 }), "1 clients that got nothing any more"},
		"nothing sent":     {gateway("opened", func(o *Figures) { o.Published = 0 }), "0 messages were published"},
		"not measured":     {func(r *Results) { delete(r.Outcomes, "kicked") }, `"kicked" has not been measured`},
		"a plain endpoint that does not run": {func(r *Results) {
			r.Outcomes["kicked"][Plain] = Figures{Tally: faults.Tally{Clients: 5, Published: 100, Silent: 100}}
		}, `"kicked": plain: 0 messages delivered`},
		"connections":    {func(r *Results) { r.Conns.Of[Gateway] = 6 }, "6 Redis connections"},
		"posts":          {func(r *Results) { r.Posts.NoneArrived = 1 }, "publishing: not as promised"},
		"no connections": {func(r *Results) { r.Conns.Of[Gateway] = 0 }, "0 Redis connections"},
	} {
		t.Run(name, func(t *testing.T) {
			r := kept()
			test.change(&r)
			err := r.Check(Keys(Faults))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if err := r.Check([]string{"flooded"}); err == nil {
		t.Error("a fault that there is not was measured")
	}
}

// page is a report of a run in which all is as promised.
func page() string {
	r := Report{Date: "2026-01-02", Machine: strings.Repeat("a machine ", 20), Runs: map[string]Run{}, Results: kept(), Matrix: map[string]faults.Row{}}
	for _, p := range All {
		for _, test := range p.Tests {
			r.Runs[test] = Run{Passed: true, Cases: 3}
		}
	}
	for _, f := range faults.List {
		r.Matrix[f.Key] = faults.Row{
			Key: f.Key, Runs: 5, Controls: 3, Tally: faults.Tally{Published: 1000, Delivered: 990, Declared: 10}, Back: []float64{0.25, 0.125, 12.34},
		}
	}
	return r.Markdown(Faults, faults.List)
}

func TestMarkdown(t *testing.T) {
	text := page()
	if err := judgeDocument(text); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"| P1 | [Nothing is lost silently](#p1-nothing-is-lost-silently) | ",
		"0 of 1100 lost silently, 110 told by a gap; plain: 330 lost silently",
		"\n| `CLIENT KILL TYPE pubsub` | gateway | 100 | 90 | 0 | 10 | 0 | 500 ms, 4.0 s |\n",
		"\n|  | plain | 100 | 70 | **30** | 0 | 0 | 2.0 s, 2.0 s, **never** at 1 of 5 |\n",
		"\n| Redis is frozen for 1.5 s | 3 | 1000 | 0 | 10 | 250 ms | 12.3 s | 12.3 s |\n",
		fmt.Sprintf("\n| all | %d | %d | 0 | ", 3*len(faults.List), 1000*len(faults.List)),
		fmt.Sprintf("It saw all %d.", 3*len(faults.List)),
		"`TestRandomHistories`\u00a0(3)",
		"400 answered 200, 400 of them arrived; 30 answered 503, 0 arrived; 20 answered 504, 15 arrived; 0 twice",
		"5 clients of each have", "to which 25 messages", "happens 3 times", "25 messages a second are posted",
		"gateway 2, plain 101.",
		"Never\" is not within 30 s.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if n := len([]rune(line)); n > width+1 && // its end
			!strings.HasPrefix(line, "|") {
			t.Errorf("a line of %d characters: %s", n, line)
		}
	}
}

func TestADocumentThatIsNotOfTheseListsIsNoticed(t *testing.T) {
	text := page()
	for name, change := range map[string][2]string{
		"a test renamed":      {"`TestRandomHistories`", "`TestOtherHistories`"},
		"a test left out":     {"`TestRandomHistories`\u00a0(3)", ""},
		"a promise reworded":  {"Every message that Redis", "Each message that Redis"},
		"a promise left out":  {"## P9: ", "## Also: "},
		"a promise renamed":   {"## P9: Clients", "## P9: They"},
		"a fault left out":    {"| `CLIENT KILL TYPE pubsub` | gateway |", "|"},
		"a fault reworded":    {"| Redis is frozen for 15 s |", "| Redis is frozen |"},
		"no comparison":       {comparisonHead, ""},
		"no matrix":           {matrixHead, ""},
		"another fault":       {"| Redis is killed, and starts again 20 s later | 3 |", "| Redis is killed | 3 |"},
		"nothing of all this": {text, ""},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(text, change[0], change[1], 1)
			if changed == text {
				t.Fatalf("%q is not in the document", change[0])
			}
			if judgeDocument(changed) == nil {
				t.Error("not noticed")
			}
		})
	}
}

func TestRoundsAddUp(t *testing.T) {
	r := Result{}
	r.Add(Result{Plain: {Tally: faults.Tally{Published: 3, Silent: 1, Never: 1}, Late: 2}, Gateway: {Back: []float64{1}}})
	r.Add(Result{Plain: {Tally: faults.Tally{Published: 4, Silent: 2}, Late: 1}, Gateway: {Back: []float64{3}}})
	r.Add(Result{Gateway: {Back: []float64{2}}})
	p := r[Plain]
	if p.Published != 7 || p.Silent != 3 || p.Never != 1 || p.Late != 2 || median(r[Gateway].Back) != 2 {
		t.Errorf("got %+v", r)
	}
}

func TestSeconds(t *testing.T) {
	for s, want := range map[float64]string{
		0.0001: "1 ms", 0.004: "4 ms", 0.0096: "10 ms", 0.123: "120 ms", 0.994: "990 ms", 0.996: "1.0 s", 12.34: "12.3 s",
	} {
		if got := seconds(s); got != want {
			t.Errorf("%g: got %q, want %q", s, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var values []float64
	for n := range 100 {
		values = append(values, float64(100-n))
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(values, q); got != want {
			t.Errorf("%g of 1 to 100: got %g, want %g", q, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 || quantile([]float64{7}, 0.5) != 7 || quantile([]float64{7, 8}, 0.5) != 7 {
		t.Error("of few values it is wrong")
	}
}

func TestCheckMatrix(t *testing.T) {
	list := []faults.Named{{Key: "a"}, {Key: "b"}}
	good := faults.Row{Runs: 5, Controls: 3, Tally: faults.Tally{Published: 1000}, Back: make([]float64, 5)}
	if err := CheckMatrix(map[string]faults.Row{"a": good, "b": good}, list, 5); err != nil {
		t.Errorf("all is as promised, got %v", err)
	}
	for name, change := range map[string]func(*faults.Row){
		"missing":         func(r *faults.Row) { *r = faults.Row{} },
		"not so often":    func(r *faults.Row) { r.Runs = 4 },
		"no messages":     func(r *faults.Row) { r.Published = 0 },
		"no controls":     func(r *faults.Row) { r.Controls = 0 },
		"no recovery":     func(r *faults.Row) { r.Back = r.Back[1:] },
		"lost":            func(r *faults.Row) { r.Silent = 1 },
		"out of order":    func(r *faults.Row) { r.Disordered = 1 },
		"stopped":         func(r *faults.Row) { r.Stopped = 1 },
		"never came back": func(r *faults.Row) { r.Never = 1 },
	} {
		bad := good
		change(&bad)
		if err := CheckMatrix(map[string]faults.Row{"a": good, "b": bad}, list, 5); err == nil || !strings.Contains(err.Error(), `fault "b"`) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
