package faults

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

func concat(parts ...[]int) (all []int) {
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
		want Tally
	}{
		"all":                          {deliveries(0, 9), Tally{Delivered: 9}},
		"all but the unknown one":      {concat(deliveries(0, 4), deliveries(6, 9)), Tally{Delivered: 9}},
		"the unknown one late":         {concat(deliveries(0, 4), deliveries(6, 9), []int{5}), Tally{Delivered: 9}},
		"the unknown one early":        {concat([]int{5}, deliveries(0, 4), deliveries(6, 9)), Tally{Delivered: 9}},
		"the unknown one twice":        {concat(deliveries(0, 9), []int{5}), Tally{Delivered: 9, Doubled: 1}},
		"one dropped":                  {concat(deliveries(0, 2), deliveries(4, 9)), Tally{Delivered: 8, Silent: 1}},
		"the first dropped":            {deliveries(1, 9), Tally{Delivered: 8, Silent: 1}},
		"the last dropped":             {deliveries(0, 8), Tally{Delivered: 8, Silent: 1}},
		"all dropped":                  {nil, Tally{Silent: 9}},
		"all dropped, but declared":    {gap, Tally{Declared: 9, Gaps: 1}},
		"one doubled":                  {concat(deliveries(0, 3), deliveries(3, 9)), Tally{Delivered: 9, Doubled: 1}},
		"replayed":                     {concat(deliveries(0, 9), deliveries(7, 9)), Tally{Delivered: 9, Doubled: 3}},
		"two swapped":                  {concat(deliveries(0, 1), []int{3, 2}, deliveries(4, 9)), Tally{Delivered: 9, Disordered: 1}},
		"dropped, declared":            {concat(deliveries(0, 1), gap, deliveries(4, 9)), Tally{Delivered: 7, Declared: 2, Gaps: 1}},
		"dropped, the gap stripped":    {concat(deliveries(0, 1), deliveries(4, 9)), Tally{Delivered: 7, Silent: 2}},
		"the gap came too early":       {concat(deliveries(0, 0), gap, deliveries(1, 1), deliveries(4, 9)), Tally{Delivered: 7, Silent: 2, Gaps: 1}},
		"the gap came too late":        {concat(deliveries(0, 1), deliveries(4, 9), gap), Tally{Delivered: 7, Silent: 2, Gaps: 1}},
		"the end dropped, declared":    {concat(deliveries(0, 6), gap), Tally{Delivered: 6, Declared: 3, Gaps: 1}},
		"a gap for nothing":            {concat(deliveries(0, 6), gap, deliveries(7, 9)), Tally{Delivered: 9, Gaps: 1}},
		"one gap for one of two holes": {concat(deliveries(0, 0), gap, deliveries(2, 6), deliveries(8, 9)), Tally{Delivered: 7, Silent: 1, Declared: 1, Gaps: 1}},
		"after the unknown, stripped":  {concat(deliveries(0, 3), gap, []int{4, 5}, deliveries(8, 9)), Tally{Delivered: 7, Silent: 2, Gaps: 1}},
		"swapped behind a gap":         {concat(deliveries(0, 1), gap, []int{3, 2}, deliveries(4, 9)), Tally{Delivered: 9, Disordered: 1, Gaps: 1}},
		"foreign":                      {concat(deliveries(0, 9), []int{10}), Tally{Delivered: 9, Disordered: 1}},
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
			want Tally
		}{
			"dropped":  {concat(deliveries(0, n-1), deliveries(n+1, messages-1)), Tally{Delivered: messages - 1, Silent: 1}},
			"declared": {concat(deliveries(0, n-1), []int{Gap}, deliveries(n+1, messages-1)), Tally{Delivered: messages - 1, Declared: 1, Gaps: 1}},
			"doubled":  {concat(deliveries(0, n), deliveries(n, messages-1)), Tally{Delivered: messages, Doubled: 1}},
		} {
			change.want.Clients, change.want.Published = 1, messages
			if got := Count(taken, change.got); got != change.want {
				t.Errorf("%s", fmt.Sprintf("%d %s: got %+v, want %+v", n, name, got, change.want))
			}
		}
	}
}
