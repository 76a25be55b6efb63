package promises

import (
	"fmt"
	"testing"
)

// deliveries makes a client's log of messages from..to.
func deliveries(from, to int) (got []int) {
	for n := from; n <= to; n++ {
		got = append(got, n)
	}
	return got
}

func join(parts ...[]int) (all []int) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// Ten messages, of which Redis may have taken number 5, and what a client may have got of them.
func TestCount(t *testing.T) {
	gap := []int{Gap}
	for name, test := range map[string]struct {
		got  []int
		want Outcome
	}{
		"all":                          {deliveries(0, 9), Outcome{Delivered: 9}},
		"all but the unknown one":      {join(deliveries(0, 4), deliveries(6, 9)), Outcome{Delivered: 9}},
		"the unknown one late":         {join(deliveries(0, 4), deliveries(6, 9), []int{5}), Outcome{Delivered: 9}},
		"the unknown one early":        {join([]int{5}, deliveries(0, 4), deliveries(6, 9)), Outcome{Delivered: 9}},
		"the unknown one twice":        {join(deliveries(0, 9), []int{5}), Outcome{Delivered: 9, Doubled: 1}},
		"one dropped":                  {join(deliveries(0, 2), deliveries(4, 9)), Outcome{Delivered: 8, Silent: 1}},
		"the first dropped":            {deliveries(1, 9), Outcome{Delivered: 8, Silent: 1}},
		"the last dropped":             {deliveries(0, 8), Outcome{Delivered: 8, Silent: 1}},
		"all dropped":                  {nil, Outcome{Silent: 9}},
		"all dropped, but declared":    {gap, Outcome{Declared: 9, Gaps: 1}},
		"one doubled":                  {join(deliveries(0, 3), deliveries(3, 9)), Outcome{Delivered: 9, Doubled: 1}},
		"replayed":                     {join(deliveries(0, 9), deliveries(7, 9)), Outcome{Delivered: 9, Doubled: 3}},
		"two swapped":                  {join(deliveries(0, 1), []int{3, 2}, deliveries(4, 9)), Outcome{Delivered: 9, Disordered: 1}},
		"dropped, declared":            {join(deliveries(0, 1), gap, deliveries(4, 9)), Outcome{Delivered: 7, Declared: 2, Gaps: 1}},
		"dropped, the gap stripped":    {join(deliveries(0, 1), deliveries(4, 9)), Outcome{Delivered: 7, Silent: 2}},
		"the gap came too early":       {join(deliveries(0, 0), gap, deliveries(1, 1), deliveries(4, 9)), Outcome{Delivered: 7, Silent: 2, Gaps: 1}},
		"the gap came too late":        {join(deliveries(0, 1), deliveries(4, 9), gap), Outcome{Delivered: 7, Silent: 2, Gaps: 1}},
		"the end dropped, declared":    {join(deliveries(0, 6), gap), Outcome{Delivered: 6, Declared: 3, Gaps: 1}},
		"a gap for nothing":            {join(deliveries(0, 6), gap, deliveries(7, 9)), Outcome{Delivered: 9, Gaps: 1}},
		"one gap for one of two holes": {join(deliveries(0, 0), gap, deliveries(2, 6), deliveries(8, 9)), Outcome{Delivered: 7, Silent: 1, Declared: 1, Gaps: 1}},
		"after the unknown, stripped":  {join(deliveries(0, 3), gap, []int{4, 5}, deliveries(8, 9)), Outcome{Delivered: 7, Silent: 2, Gaps: 1}},
		"swapped behind a gap":         {join(deliveries(0, 1), gap, []int{3, 2}, deliveries(4, 9)), Outcome{Delivered: 9, Disordered: 1, Gaps: 1}},
		"foreign":                      {join(deliveries(0, 9), []int{10}), Outcome{Delivered: 9, Disordered: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			taken := make([]bool, 10)
			for n := range taken {
				taken[n] = n != 5
			}
			test.want.Clients, test.want.Published = 1, 9
			if got := Count(taken, test.got); got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// Whatever is taken out of a log, put twice or moved is counted, wherever it is.
func TestCountSeesAnyChange(t *testing.T) {
	const messages = 6
	taken := make([]bool, messages)
	for n := range taken {
		taken[n] = true
	}
	for n := range messages {
		for name, change := range map[string]struct {
			got  []int
			want Outcome
		}{
			"dropped":  {join(deliveries(0, n-1), deliveries(n+1, messages-1)), Outcome{Delivered: messages - 1, Silent: 1}},
			"declared": {join(deliveries(0, n-1), []int{Gap}, deliveries(n+1, messages-1)), Outcome{Delivered: messages - 1, Declared: 1, Gaps: 1}},
			"doubled":  {join(deliveries(0, n), deliveries(n, messages-1)), Outcome{Delivered: messages, Doubled: 1}},
		} {
			change.want.Clients, change.want.Published = 1, messages
			if got := Count(taken, change.got); got != change.want {
				t.Errorf("%s", fmt.Sprintf("%d %s: got %+v, want %+v", n, name, got, change.want))
			}
		}
	}
}
