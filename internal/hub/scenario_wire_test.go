package hub

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// What a client is sent, in a few words. Everything is taken from the bytes on
// the wire.

// sceneFormat has each event name its channel.
var sceneFormat = func() *Format {
	f, err := ParseFormat(Wire{Event: "channel"})
	if err != nil {
		panic(err)
	}
	return &f
}()

// sceneIDs makes ids short: seqs count from the beginning of the hub's life,
// times in milliseconds from the beginning of the transcript, a hub's life has
// a letter, and anchors are numbered.
type sceneIDs struct {
	began   time.Time
	full    bool // show all of an id, else its seq
	lives   []sceneLife
	anchors []uint32
}

type sceneLife struct {
	name  string
	epoch uint64
	first int64
}

func newSceneIDs() sceneIDs { return sceneIDs{began: time.Now()} }

// born notes where a hub's life begins: at the cursor of a stream of nothing.
func (ids *sceneIDs) born(name string, h *Hub) {
	s, err := h.Open(0, nil, nil, NewWaiter())
	if err != nil {
		panic(err)
	}
	s.Begin(Start{}, h.Clock.Now())
	id, ok := ssetest.PlaceOf(sceneEvents(s.AppendCursor(nil, sceneFormat))[0].id)
	if !ok {
		panic("the first cursor of a stream has no id")
	}
	ids.lives = append(ids.lives, sceneLife{name, id.Epoch, int64(id.Seq)})
}

// short makes an id short.
func (ids *sceneIDs) short(id string) string {
	place, ok := ssetest.PlaceOf(id)
	for _, life := range ids.lives {
		if !ok || place.Epoch != life.epoch {
			continue
		}
		seq := int64(place.Seq) - life.first
		if !ids.full {
			return fmt.Sprint(seq)
		}
		return fmt.Sprintf("%s-%d-%s-%s", ids.time(place.MS), seq, life.name, ids.anchor(place.Anchor))
	}
	return id
}

// time tells a time; one that is not known is "?".
func (ids *sceneIDs) time(ms int64) string {
	if ms == 0 {
		return "?"
	}
	return fmt.Sprint(ms - ids.began.UnixMilli())
}

func (ids *sceneIDs) anchor(anchor uint32) string {
	if anchor == 0 {
		return "0"
	}
	for i, known := range ids.anchors {
		if known == anchor {
			return fmt.Sprintf("x%d", i+1)
		}
	}
	ids.anchors = append(ids.anchors, anchor)
	return fmt.Sprintf("x%d", len(ids.anchors))
}

var sceneID = regexp.MustCompile(`^(\?|-?\d+)-(-?\d+)-([A-Z]\d*)-(?:0|x(\d+))$`)

// long makes an id of one that is short, but in full.
func (ids *sceneIDs) long(text string) (string, error) {
	m := sceneID.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s is no id such as 0-1-A-0, and no stream", text)
	}
	ms, _ := strconv.ParseInt(m[1], 10, 64)
	if m[1] != "?" {
		ms += ids.began.UnixMilli()
	}
	seq, _ := strconv.ParseInt(m[2], 10, 64)
	anchor := uint32(0)
	if n, _ := strconv.Atoi(m[4]); n > 0 && n <= len(ids.anchors) {
		anchor = ids.anchors[n-1]
	}
	for _, life := range ids.lives {
		if life.name == m[3] {
			return ssetest.Place{MS: ms, Seq: uint64(seq + life.first), Epoch: life.epoch, Anchor: anchor}.ID(), nil
		}
	}
	return "", fmt.Errorf("%s is of no hub that there was", text)
}

// sceneEvent is an event as a client has it.
type sceneEvent struct{ id, name, data string }

// sceneEvents takes an event stream apart.
func sceneEvents(wire []byte) (events []sceneEvent) {
	for frame := range strings.SplitSeq(strings.TrimSuffix(string(wire), "\n\n"), "\n\n") {
		var e sceneEvent
		var data []string
		for line := range strings.SplitSeq(frame, "\n") {
			switch field, value, _ := strings.Cut(line, ": "); field {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				data = append(data, value)
			}
		}
		e.data = strings.Join(data, "\n")
		events = append(events, e)
	}
	return events
}

// tell tells an event in a few words.
func (ids *sceneIDs) tell(e sceneEvent) string {
	switch e.name {
	case "cursor":
		return "cursor " + ids.short(e.id)
	case "gap":
		return ids.tellGap(e)
	}
	return fmt.Sprintf("message %s %s id=%s", e.name, tellPayload(e.data), ids.short(e.id))
}

func tellPayload(payload string) string {
	if len(payload) > 40 {
		return fmt.Sprintf("<%d bytes>", len(payload))
	}
	return strconv.Quote(payload)
}

func (ids *sceneIDs) tellGap(e sceneEvent) string {
	var g struct {
		Channel, Pattern, Reason string
		After                    *string
		Missed                   *uint64
	}
	if err := json.Unmarshal([]byte(e.data), &g); err != nil {
		return fmt.Sprintf("gap %s: %v", e.data, err)
	}
	after, missed := "null", "?"
	if g.After != nil {
		after = ids.short(*g.After)
	}
	if g.Missed != nil {
		missed = fmt.Sprint(*g.Missed)
	}
	return fmt.Sprintf("gap %s%s %s after=%s missed=%s id=%s", g.Channel, g.Pattern, g.Reason, after, missed, ids.short(e.id))
}
