package promises

import "testing"

func TestCountPosts(t *testing.T) {
	answers := map[string]int{"taken": 200, "none": 503, "unknown": 504, "perhaps": 504}
	for name, test := range map[string]struct {
		arrived map[string]int
		add     map[string]int // answers
		kept    bool
	}{
		"kept":                   {arrived: map[string]int{"taken": 1, "perhaps": 1}, kept: true},
		"taken and lost":         {arrived: map[string]int{"perhaps": 1}},
		"refused and published":  {arrived: map[string]int{"taken": 1, "none": 1}},
		"taken and doubled":      {arrived: map[string]int{"taken": 2}},
		"unknown and doubled":    {arrived: map[string]int{"taken": 1, "perhaps": 2}},
		"another answer":         {arrived: map[string]int{"taken": 1}, add: map[string]int{"other": 500}},
		"no answer":              {arrived: map[string]int{"taken": 1}, add: map[string]int{"other": 0}},
		"nothing was refused":    {arrived: map[string]int{"taken": 1}, add: map[string]int{"none": 504}},
		"nothing was unknown":    {arrived: map[string]int{"taken": 1}, add: map[string]int{"unknown": 503, "perhaps": 503}},
		"nothing was taken":      {arrived: map[string]int{"taken": 1}, add: map[string]int{"taken": 504}},
		"foreign does not count": {arrived: map[string]int{"taken": 1, "foreign": 2}, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]int{}
			for _, from := range []map[string]int{answers, test.add} {
				for message, status := range from {
					all[message] = status
				}
			}
			p := CountPosts(all, test.arrived)
			if err := p.check(); (err == nil) != test.kept {
				t.Errorf("%+v: got %v", p, err)
			}
		})
	}
}
