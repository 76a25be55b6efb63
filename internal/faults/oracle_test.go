package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// second is a time of a made-up run: message n of a channel is published at second n, and arrives 100 ms later.
func second(n float64) time.Time { return began.Add(time.Duration(n * float64(time.Second))) }

// published makes the log of a channel, of which Redis took all.
func published(messages int) (log []Message) {
	for n := range messages {
		log = append(log, Message{N: n, Sent: second(float64(n)), Answered: second(float64(n) + 0.05), Outcome: Taken, Receivers: 1})
	}
	return log
}

func opened(at float64) ssetest.Record { return ssetest.Record{At: second(at), What: ssetest.Opened} }

func received(at float64, seq int, kind, data string) ssetest.Record {
	return ssetest.Record{At: second(at), What: ssetest.Received,
		Event: ssetest.Event{ID: idOf(1000+int64(seq), seq), Type: kind, Data: data}}
}

func idOf(ms int64, seq int) string { return ssetest.Place{MS: ms, Seq: uint64(seq), Epoch: 14}.ID() }

func message(channel string, n int) ssetest.Record {
	return received(float64(n)+0.1, n, "message", fmt.Sprintf(`{"C":%q,"N":%d}`, channel, n))
}

func gapOf(before int, data string) ssetest.Record {
	return received(float64(before), before-1, "gap", data)
}

// afterTime is a gap that says that all was complete at a second of the run, at message 1.
func afterTime(before int, at float64) ssetest.Record {
	return afterID(before, idOf(second(at).UnixMilli(), 1))
}

func afterID(before int, id string) ssetest.Record {
	return gapOf(before, fmt.Sprintf(`{"channel":"a","reason":"redis_disconnected","after":%q}`, id))
}

// afterSeq is a gap that says that all was complete at a message.
func afterSeq(before, seq int) ssetest.Record {
	return afterID(before, idOf(second(1.5).UnixMilli(), seq))
}

func backInTime(seq int) ssetest.Record {
	r := received(float64(seq), seq, "cursor", "{}")
	r.Event.ID = idOf(500, seq)
	return r
}

// got makes a log: an opening, the cursor, and the messages of channel a, with what stands for a negative number n in extra[-n-1].
func got(numbers []int, extra ...ssetest.Record) []ssetest.Record {
	log := []ssetest.Record{opened(-0.5), received(-0.4, 0, "cursor", "{}")}
	for _, n := range numbers {
		if n < 0 {
			log = append(log, extra[-n-1])
			continue
		}
		log = append(log, message("a", n))
	}
	return log
}

const disconnected = `{"channel":"a","reason":"redis_disconnected","after":null,"missed":null}`

func TestJudge(t *testing.T) {
	gapAt := func(n int) ssetest.Record { return gapOf(n, disconnected) }
	outage := Allowance{Gaps: map[string]int{"redis_disconnected": 1}}
	for name, test := range map[string]struct {
		log     []ssetest.Record
		allowed Allowance
		change  func(*History)
		want    string // a problem, none if it is empty
	}{
		"all":                      {log: got([]int{0, 1, 2, 3, 4, 5})},
		"one lost":                 {log: got([]int{0, 1, 3, 4, 5}), want: "lost 1 of 6"},
		"one lost and told":        {log: got([]int{0, 1, -1, 3, 4, 5}, gapAt(3)), allowed: outage},
		"told by another channel":  {log: got([]int{0, 1, -1, 3, 4, 5}, gapOf(3, strings.Replace(disconnected, "a", "b", 1))), allowed: outage, want: "lost 1 of 6"},
		"told by a pattern":        {log: got([]int{0, 1, -1, 3, 4, 5}, gapOf(3, `{"pattern":"[ab]","reason":"redis_disconnected","missed":null}`)), allowed: outage},
		"told by another pattern":  {log: got([]int{0, 1, -1, 3, 4, 5}, gapOf(3, `{"pattern":"b*","reason":"redis_disconnected","missed":null}`)), allowed: outage, want: "lost 1 of 6"},
		"a gap without a cause":    {log: got([]int{0, 1, -1, 2, 3, 4, 5}, gapAt(2)), want: "without a cause"},
		"a gap of another reason":  {log: got([]int{0, 1, -1, 2, 3, 4, 5}, gapAt(2)), allowed: Allowance{Gaps: map[string]int{"evicted": 9}}, want: "without a cause"},
		"a gap too many":           {log: got([]int{0, 1, -1, 2, -1, 3, 4, 5}, gapAt(2)), allowed: outage, want: "without a cause"},
		"a gap twice to a leaver":  {log: got([]int{0, 1, -1, -1, 2, 3, 4, 5}, gapAt(2)), allowed: outage, change: func(h *History) { h.Clients[0].Leaves = true }},
		"one twice":                {log: got([]int{0, 1, 1, 2, 3, 4, 5}), want: "1 messages of a twice"},
		"one twice after a start":  {log: got([]int{0, 1, 1, 2, 3, 4, 5}), allowed: Allowance{Repeats: true}},
		"two swapped":              {log: got([]int{0, 2, 1, 3, 4, 5}), want: "out of order"},
		"never published":          {log: got([]int{0, 1, 2, 3, 4, 5, 6}), want: "a 6, which is not for it"},
		"of another channel":       {log: append(got([]int{0, 1, 2, 3, 4, 5}), message("b", 5)), want: "b 5, which is not for it"},
		"no message of ours":       {log: append(got([]int{0, 1, 2, 3, 4, 5}), received(6, 6, "message", "hello")), want: `"hello"`},
		"an unknown event":         {log: append(got([]int{0, 1, 2, 3, 4, 5}), received(6, 6, "news", "{}")), want: `"news"`},
		"no id":                    {log: append(got([]int{0, 1, 2, 3, 4, 5}), ssetest.Record{What: ssetest.Received}), want: `the id "", which is none`},
		"an id that goes back":     {log: append(got([]int{0, 1, 2, 3, 4, 5}), received(6, 2, "cursor", "{}")), want: "got the id 1002-2-e-0 after 1005-5-e-0"},
		"stopped":                  {log: append(got([]int{0, 1, 2, 3, 4, 5}), ssetest.Record{What: ssetest.Stopped, Status: 503}), want: "status 503"},
		"published before it came": {log: append([]ssetest.Record{opened(2.5)}, message("a", 3), message("a", 4), message("a", 5))},
		"the first after it came":  {log: append([]ssetest.Record{opened(2.5)}, message("a", 4), message("a", 5)), want: "lost 1 of 3"},
		"never opened":             {log: nil, want: "never"},
		"the last lost":            {log: got([]int{0, 1, 2, 3, 4}), want: "lost 1 of 6"},
		"nothing after the fault":  {log: got([]int{0, 1, 2, -1}, gapAt(3)), allowed: outage, want: "never got a message of a"},
		"that was to be so":        {log: got([]int{0, 1, 2, -1}, gapAt(3)), allowed: Allowance{Gaps: outage.Gaps, Never: []string{"a"}}},
		"late": {log: got([]int{0, 1, 2, -1, -2}, gapAt(3), received(2.5+31, 5, "message", `{"C":"a","N":5}`)),
			allowed: outage, want: "for 31s after the fault"},
		"unknown, and not there": {log: got([]int{0, 1, 3, 4, 5}), change: func(h *History) { h.Messages["a"][2].Outcome = Unknown }},
		"unknown, and late":      {log: got([]int{0, 1, 3, 4, 5, -1}, received(6, 6, "message", `{"C":"a","N":2}`)), change: func(h *History) { h.Messages["a"][2].Outcome = Unknown }},
		"unknown, and twice":     {log: got([]int{0, 1, 2, 2, 3, 4, 5}), change: func(h *History) { h.Messages["a"][2].Outcome = Unknown }, want: "twice"},
		"refused, and not there": {log: got([]int{0, 1, 3, 4, 5}), change: func(h *History) { h.Messages["a"][2].Outcome = Refused }},
		"refused, and there":     {log: got([]int{0, 1, 2, 3, 4, 5}), change: func(h *History) { h.Messages["a"][2].Outcome = Refused }, want: "a 2, which was refused"},
		"after, rightly":         {log: got([]int{0, 1, -1, 4, 5}, afterTime(4, 1.5)), allowed: outage},
		"after, wrongly":         {log: got([]int{0, 1, -1, 4, 5}, afterTime(4, 3)), allowed: outage, want: "number 2 of a is missing, which was published before"},
		"after, no id":           {log: got([]int{0, 1, -1, 4, 5}, afterID(4, "x")), allowed: outage, want: `the id "x", which is none`},
		"behind":                 {log: got([]int{0, 1, 3, 4, -1, 5}, afterTime(5, 1.5)), allowed: outage, want: "lost 1 of 6"},
		"behind, reaching back":  {log: got([]int{0, 1, 3, 4, -1, 5}, afterTime(5, 1.5)), allowed: Allowance{Gaps: outage.Gaps, Behind: true}},
		"behind, too short":      {log: got([]int{0, 1, 3, 4, -1, 5}, afterSeq(5, 4)), allowed: Allowance{Gaps: outage.Gaps, Behind: true}, want: "lost 1 of 6"},
		"a time that goes back":  {log: append(got([]int{0, 1, 2, 3, 4, 5}), backInTime(6)), want: "after 1005-5-e-0"},
		"that may go back":       {log: append(got([]int{0, 1, 2, 3, 4, 5}), backInTime(6)), allowed: Allowance{BackInTime: true}},
		"missed, rightly":        {log: got([]int{0, 1, -1, 4, 5}, gapOf(4, `{"channel":"a","reason":"evicted","missed":2}`)), allowed: Allowance{Gaps: map[string]int{"evicted": 1}}},
		"missed, wrongly": {log: got([]int{0, 1, -1, 4, 5}, gapOf(4, `{"channel":"a","reason":"evicted","missed":1}`)),
			allowed: Allowance{Gaps: map[string]int{"evicted": 1}}, want: "told that 1 of a were missing"},
	} {
		t.Run(name, func(t *testing.T) {
			h := History{
				Messages: map[string][]Message{"a": published(6), "b": published(6)},
				Clients:  []Client{{Name: "it", Channels: []string{"a"}, Log: test.log}},
			}
			if test.change != nil {
				test.change(&h)
			}
			v := Judge(h, []time.Time{second(2.5)}, test.allowed)
			problems := strings.Join(v.Problems, "\n")
			if test.want == "" && problems != "" || !strings.Contains(problems, test.want) {
				t.Errorf("got %q, want %q", problems, test.want)
			}
		})
	}
}

func TestJudgeMeasuresTheSlowestRecovery(t *testing.T) {
	h := History{
		Messages: map[string][]Message{"a": published(9), "b": published(9)},
		Clients: []Client{
			{Name: "one", Channels: []string{"a"}, Log: got([]int{0, 1, 2, 3, 4, 5, 6, 7, 8})},
			{Name: "other", Channels: []string{"a"}, Log: got([]int{0, 1, 2, -1, 6, 7, 8}, gapOf(6, disconnected))},
		},
	}
	v := Judge(h, []time.Time{second(2.5), second(6.5)}, Allowance{Gaps: map[string]int{"redis_disconnected": 1}})
	if len(v.Problems) > 0 || fmt.Sprint(v.Back) != "[3.6s 600ms]" {
		t.Errorf("got %v, problems %q", v.Back, v.Problems)
	}
	if v.Published != 18 || v.Delivered != 15 || v.Declared != 3 || v.Silent != 0 || v.Gaps != 1 {
		t.Errorf("got %+v", v.Tally)
	}
}

// Control is there to see that a judge is not blind; so it has to see that itself.
func TestControl(t *testing.T) {
	h := History{
		Messages: map[string][]Message{"a": published(9)},
		Clients: []Client{
			{Name: "one", Channels: []string{"a"}, Log: got([]int{0, 1, 2, 3, 4, 5, 6, 7, 8})},
			{Name: "other", Channels: []string{"a"}, Log: got([]int{0, 1, 2, -1, 6, 7, 8}, gapOf(6, disconnected))},
			{Name: "short", Channels: []string{"a"}, Log: got([]int{0, 1})[:2]},
		},
	}
	over := []time.Time{second(6.5)}
	allowed := Allowance{Gaps: map[string]int{"redis_disconnected": 1}, Never: []string{"a"}}
	h.Clients[2].Log = nil
	told, err := Control(h, over, allowed)
	if err != nil || told != 1+2*len(controls) {
		t.Errorf("got %d, %v", told, err)
	}
	for i, c := range h.Clients[:2] {
		if v := Judge(h, over, allowed); len(v.Problems) > 0 {
			t.Fatalf("a control has changed the history of %s: %q", h.Clients[i].Name, v.Problems)
		}
		if len(c.Log) == 0 {
			t.Error("a control has emptied a log")
		}
	}
	defer func(all []control) { controls = all }(controls)
	controls = []control{{"nothing", func(*Client, triple) {}, controls[0].seen}}
	if _, err := Control(h, over, allowed); err == nil {
		t.Error("a lie that is none was seen")
	}
}
