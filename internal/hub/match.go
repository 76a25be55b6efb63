package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/redis-sse/caddy-redis-sse/internal/jsonpath"
)

// Match says which messages are meant. Exactly one of Data, Event and Field is set.
type Match struct {
	Data   []string // the payload is one of these texts
	Event  []string // the event's name is one of these
	Field  string   // the payload is JSON that has this path, see jsonpath.Check
	Values []string // with Field, unless empty: what stands there is, as text, one of these
}

// check checks the matches of an option for streams of format f.
func (f *Format) checkMatches(key string, all []Match) error {
	var errs []error
	for _, m := range all {
		errs = append(errs, f.checkMatch(key, m))
	}
	return errors.Join(errs...)
}

func (f *Format) checkMatch(key string, m Match) error {
	kinds := 0
	for _, is := range []bool{len(m.Data) > 0, len(m.Event) > 0, m.Field != ""} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return fmt.Errorf("%s wants exactly one of data, event and field", key)
	case m.Field == "" && len(m.Values) > 0:
		return fmt.Errorf("%s has values %q without a field", key, m.Values)
	case m.Field != "":
		if err := jsonpath.Check(m.Field); err != nil {
			return fmt.Errorf("%s field: %w", key, err)
		}
	case len(m.Event) > 0 && f.event == eventNone:
		return fmt.Errorf("%s event %q matches nothing: with event none no event has a name", key, m.Event)
	}
	for _, name := range m.Event {
		if !f.nameAllowed(name) {
			return fmt.Errorf("%s event %q matches nothing: no message's event has that name", key, name)
		}
	}
	return nil
}

// parsed is a payload while it is looked at: whether it is JSON is found out once, if at all.
type parsed struct {
	payload string
	looked  bool
	valid   bool
}

// find returns what stands at a path. It reports false if the payload is no JSON, or has nothing there.
func (p *parsed) find(path string) (v jsonpath.Value, ok bool) {
	if !p.looked {
		p.looked, p.valid = true, jsonpath.Valid(p.payload)
	}
	if !p.valid {
		return v, false
	}
	return jsonpath.Find(p.payload, path)
}

// matches reports whether one of the matches means the message with this payload, whose event has this name.
func matches(all []Match, p *parsed, name string) bool {
	return slices.ContainsFunc(all, func(m Match) bool {
		switch {
		case m.Field != "":
			v, ok := p.find(m.Field)
			return ok && (len(m.Values) == 0 || v.IsScalar() && slices.Contains(m.Values, v.Text()))
		case len(m.Event) > 0:
			return name != "" && slices.Contains(m.Event, name)
		}
		return slices.Contains(m.Data, p.payload)
	})
}

// rules are those of a format that look at messages.
type rules struct {
	end, begin []Match
	merge      []string // paths
}

// text is equal for equal rules only.
func (r *rules) text() string {
	text, err := json.Marshal([]any{r.end, r.begin, r.merge})
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(text)
}

// verdict is what the rules of a format say of one message.
type verdict struct {
	ends   bool // an answer ends with it
	begins bool // an answer begins with it
}

func (f *Format) verdict(p *parsed, name string) (v verdict) {
	if f.rules == nil {
		return v
	}
	return verdict{matches(f.rules.end, p, name), matches(f.rules.begin, p, name)}
}

// verdictOf is what the rules say of m: as a body of it that is kept has it, or else as m is looked at.
func (f *Format) verdictOf(m *message) verdict {
	if f.rules == nil {
		return verdict{}
	}
	if fr := m.cached(f); fr != nil {
		return fr.verdict
	}
	p := parsed{payload: m.payload}
	name, _ := f.eventName(m.home.name, &p)
	return f.verdict(&p, name)
}

// isPlain reports whether all that the format has of a message is its payload.
func (f *Format) isPlain() bool {
	return f.event == eventNone && f.data == "" && !f.HasEnd() && !f.HasBegin()
}

// HasEnd reports whether streams of the format end with a message.
func (f *Format) HasEnd() bool { return f.rules != nil && len(f.rules.end) > 0 }

// HasBegin reports whether the format says with which message an answer begins.
func (f *Format) HasBegin() bool { return f.rules != nil && len(f.rules.begin) > 0 }
