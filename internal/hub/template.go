package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// template is what the data of a gap's event is made from, for clients whose protocol has words of
// its own for that something is missing:
//
//	{gap}          the gap's JSON
//	{gap.reason}   its reason
//
// Nothing else is a placeholder: templates are mostly braces.
type template string

// gapNone is the template of formats whose gaps are comments.
const gapNone template = "none"

// maxTemplate bounds templates, in bytes: more is no message of a protocol.
const maxTemplate = 16 << 10

// The placeholders.
const (
	placeholderGap    = "{gap}"
	placeholderReason = "{gap.reason}"
)

func parseTemplate(text string) (template, error) {
	switch rest := strings.NewReplacer(placeholderGap, "", placeholderReason, "").Replace(text); {
	case strings.TrimSpace(text) == "":
		return "", errors.New("it is empty")
	case len(text) > maxTemplate:
		return "", fmt.Errorf("it has %d bytes, at most %d may be", len(text), maxTemplate)
	case strings.Contains(rest, "{gap"):
		return "", fmt.Errorf("of what begins with {gap there are only %s and %s", placeholderGap, placeholderReason)
	}
	return template(text), nil
}

// data fills the template in.
func (t template) data(g gap) string {
	return strings.NewReplacer(placeholderGap, string(g.json()), placeholderReason, string(g.Reason)).Replace(string(t))
}

// json is one line: JSON escapes line ends and replaces bytes that are not UTF-8.
func (g gap) json() []byte {
	data, err := json.Marshal(g)
	if err != nil {
		panic(err) // strings and integers always marshal
	}
	return data
}
