// Package jsonpath finds a value in a JSON text by a path, and says where in the text it stands.
package jsonpath

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	// It says where in the text a value stands, which encoding/json does not, and makes no garbage.
	"github.com/tidwall/gjson"
)

// Check checks a path: keys and array indexes joined by dots, such as choices.0.delta.role.
// A path that is itself a key of the top level means that key; another key with a dot cannot
// be named.
func Check(path string) error {
	if path == "" {
		return errors.New("the path is empty")
	}
	for part := range strings.SplitSeq(path, ".") {
		if part == "" {
			return fmt.Errorf("path %q has an empty part: it is keys and array indexes joined by dots, such as choices.0.delta.role, and a key with a dot cannot be named", path)
		}
	}
	return nil
}

// Value is a value in a text.
type Value struct {
	Start, End int    // where in the text it stands
	raw        string // the text there
}

// Valid reports whether a text is one JSON value, as encoding/json has it.
func Valid(text string) bool { return json.Valid([]byte(text)) }

// Find returns the value at a path in a text, which must be valid. Of keys that stand twice in an object the
// last counts, as for JavaScript's JSON.parse.
func Find(text, path string) (Value, bool) {
	top := gjson.Parse(text)
	if found, ok := member(top, path); ok {
		return valueOf(found), true
	}
	if !strings.Contains(path, ".") {
		return Value{}, false
	}
	at := top
	for part := range strings.SplitSeq(path, ".") {
		next, ok := member(at, part)
		if !ok {
			return Value{}, false
		}
		at = next
	}
	return valueOf(at), true
}

func valueOf(r gjson.Result) Value { return Value{r.Index, r.Index + len(r.Raw), r.Raw} }

// member returns what stands under a key of an object, or at an index of an array.
func member(of gjson.Result, key string) (found gjson.Result, ok bool) {
	if of.IsArray() {
		return element(of, key)
	}
	if of.IsObject() {
		of.ForEach(func(k, v gjson.Result) bool {
			if k.Str == key {
				found, ok = v, true
			}
			return true
		})
	}
	return found, ok
}

func element(of gjson.Result, index string) (found gjson.Result, ok bool) {
	n, err := strconv.ParseUint(index, 10, 31) // takes no sign
	if err != nil || index != strconv.FormatUint(n, 10) {
		return found, false
	}
	i := uint64(0)
	of.ForEach(func(_, v gjson.Result) bool {
		found, ok = v, i == n
		i++
		return !ok
	})
	return found, ok
}

// IsString reports whether the value is a string.
func (v Value) IsString() bool { return strings.HasPrefix(v.raw, `"`) }

// Text returns the text of a string, the JSON of any other value.
func (v Value) Text() string {
	if !v.IsString() {
		return v.raw
	}
	inner := v.raw[1 : len(v.raw)-1]
	if strings.IndexByte(inner, '\\') < 0 && utf8.ValidString(inner) {
		return inner
	}
	var s string
	if err := json.Unmarshal([]byte(v.raw), &s); err != nil {
		return v.raw // no string of a valid text
	}
	return s
}

// IsScalar reports whether the value is a string, a number, true, false or null.
func (v Value) IsScalar() bool {
	return !strings.HasPrefix(v.raw, "{") && !strings.HasPrefix(v.raw, "[")
}
