package browsertest

import (
	"encoding/json"
	"fmt"
	"slices"
)

// event is one line of what a page reports of its EventSource. The types hello (the page runs), open and error are the page's,
// the others are the stream's.
type event struct {
	Seq   int    `json:"seq"`
	Type  string `json:"type"`
	Data  string `json:"data"`
	ID    string `json:"id"`    // of a stream's event: lastEventId
	State int    `json:"state"` // readyState
}

// audit judges what a page got against what was published: each message once, in order, or a gap in its place. It returns the
// reasons of the gaps. Only where repeats are allowed may a message come again.
func audit(events []event, published []string, repeats bool) (gaps []string, err error) {
	next := 0        // what has to come now
	excused := false // whether a gap stands before it
	for i, e := range events {
		if e.Seq != i {
			return gaps, fmt.Errorf("report %d has the number %d", i, e.Seq)
		}
		switch e.Type {
		case "gap":
			reason, err := gapReason(e.Data)
			if err != nil {
				return gaps, err
			}
			gaps = append(gaps, reason)
			excused = true
		case "message":
			at := slices.Index(published, e.Data)
			switch {
			case at < 0:
				return gaps, fmt.Errorf("%q was never published", e.Data)
			case at < next && !repeats:
				return gaps, fmt.Errorf("%q came again, or late: %q was next", e.Data, want(published, next))
			case at < next:
				continue
			case at > next && !excused:
				return gaps, fmt.Errorf("%q came, but %q is missing without a gap", e.Data, want(published, next))
			}
			next, excused = at+1, false
		}
	}
	if next < len(published) {
		return gaps, fmt.Errorf("%q and what follows it did not come", published[next])
	}
	return gaps, nil
}

func want(published []string, next int) string {
	if next == len(published) {
		return "nothing more"
	}
	return published[next]
}

func gapReason(data string) (string, error) {
	var gap struct{ Reason string }
	if err := json.Unmarshal([]byte(data), &gap); err != nil {
		return "", fmt.Errorf("decoding the gap %q: %w", data, err)
	}
	return gap.Reason, nil
}

// cameBack judges how a page resumed, by the ids that its requests for the stream carried: each the last one that the page had,
// the first none.
func cameBack(events []event, sent []string) error {
	var ids []string // what the page had when its stream opened
	last := ""
	for _, e := range events {
		switch e.Type {
		case "open":
			ids = append(ids, last)
		case "cursor", "message", "gap":
			if e.ID == "" {
				return fmt.Errorf("report %d, a %s, left the page without an id", e.Seq, e.Type)
			}
			last = e.ID
		}
	}
	if len(ids) != len(sent) {
		return fmt.Errorf("%d streams opened, %d were asked for", len(ids), len(sent))
	}
	for i, id := range sent {
		if id != ids[i] {
			return fmt.Errorf("request %d came with %q, the page's last id was %q", i+1, id, ids[i])
		}
	}
	return nil
}
