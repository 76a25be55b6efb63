package jsonpath

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

func TestFindsWhatAPathNames(t *testing.T) {
	for _, test := range []struct{ text, path, want string }{
		{`{"type":"start"}`, "type", "start"},
		{` { "type" : "start" } `, "type", "start"},
		{`{"a":{"b":[1,{"c":"x"}]}}`, "a.b.1.c", "x"},
		{`{"a":{"b":[1,{"c":"x"}]}}`, "a.b", `[1,{"c":"x"}]`},
		{`[["a"],["b"]]`, "1.0", "b"},
		{`{"a.b":1,"a":{"b":2}}`, "a.b", "1"},
		{`{"a":{"0":"zero"}}`, "a.0", "zero"},
		{`{"t":"first","t":"last"}`, "t", "last"},
		{`{"t":null}`, "t", "null"},
		{`{"t":true}`, "t", "true"},
		{`{"t":-1.5e3}`, "t", "-1.5e3"},
		{`{"t":"a\"b\\\u00e9\ud83d\ude00"}`, "t", "a\"b\\é😀"},
		{`{"\u0074":"escaped key"}`, "t", "escaped key"},
		{"{\"t\":\"\xff\"}", "t", "\uFFFD"},
		{`{"t":"{}","u":{"t":"inner"}}`, "u.t", "inner"},
	} {
		v, ok := Find(test.text, test.path)
		if !ok || v.Text() != test.want {
			t.Errorf("%q in %s: %q, %v, want %q", test.path, test.text, v.Text(), ok, test.want)
		}
		if got := test.text[v.Start:v.End]; got != v.raw {
			t.Errorf("%q in %s: stands at %q, is %q", test.path, test.text, got, v.raw)
		}
	}
}

func TestFindsNothingElse(t *testing.T) {
	for _, test := range []struct{ text, path string }{
		{`{"type":"start"}`, "Type"},
		{`{"a":[1]}`, "a.1"},
		{`{"a":[1]}`, "a.00"},
		{`{"a":[1]}`, "a.+0"},
		{`{"a":[1]}`, "a.x"},
		{`{"a":"text"}`, "a.b"},
		{`{"a":"text"}`, "a.b.c"},
		{`"text"`, "a"},
		{`1`, "0"},
		{`{}`, "a"},
		{`{"a*":1}`, "a?"},
		{`{"a":[{"b":1}]}`, "a.#.b"},
	} {
		if v, ok := Find(test.text, test.path); ok {
			t.Errorf("%q in %s: found %q", test.path, test.text, v.raw)
		}
	}
}

func TestCheckRefusesEmptyParts(t *testing.T) {
	for _, path := range []string{"", ".", "a.", ".a", "a..b"} {
		if Check(path) == nil {
			t.Errorf("%q is taken", path)
		}
	}
	for _, path := range []string{"a", "a.0.b", "a b"} {
		if err := Check(path); err != nil {
			t.Error(err)
		}
	}
}

func TestADeepTextIsNoJSON(t *testing.T) {
	if Valid(strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20)) {
		t.Error("a text of a million levels is valid")
	}
}

// The oracle decodes what encoding/json does, level by level.
func FuzzFind(f *testing.F) {
	f.Add(`{"a":{"b":[1,"x"]}}`, "a.b.1")
	f.Add(`{"a.b":"\u00e9"}`, "a.b")
	f.Add(`[null,{"":2}]`, "1")
	f.Add(`{"t":"\ud800"}`, "t")
	f.Fuzz(func(t *testing.T, text, path string) {
		if !Valid(text) || Check(path) != nil {
			return
		}
		want, wanted := oracle(text, path)
		v, ok := Find(text, path)
		if ok != wanted || ok && v.Text() != want {
			t.Fatalf("%q in %q: %q, %v, want %q, %v", path, text, v.Text(), ok, want, wanted)
		}
		if ok && text[v.Start:v.End] != v.raw {
			t.Fatalf("%q in %q: at %d to %d stands no %q", path, text, v.Start, v.End, v.raw)
		}
	})
}

func oracle(text, path string) (string, bool) {
	at, ok := oracleMember(json.RawMessage(text), path)
	if !ok && strings.Contains(path, ".") {
		at, ok = json.RawMessage(text), true
		for part := range strings.SplitSeq(path, ".") {
			if at, ok = oracleMember(at, part); !ok {
				break
			}
		}
	}
	if !ok {
		return "", false
	}
	var s string
	if strings.HasPrefix(string(at), `"`) && json.Unmarshal(at, &s) == nil {
		return s, true
	}
	return string(at), true
}

func oracleMember(text json.RawMessage, key string) (json.RawMessage, bool) {
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) == nil {
		v, ok := object[key]
		return v, ok
	}
	var array []json.RawMessage
	if json.Unmarshal(text, &array) != nil {
		return nil, false
	}
	n, err := strconv.Atoi(key)
	if err != nil || n < 0 || n >= len(array) || strconv.Itoa(n) != key {
		return nil, false
	}
	return array[n], true
}

func BenchmarkFind(b *testing.B) {
	const chunk = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}`
	b.ReportAllocs()
	for b.Loop() {
		if !Valid(chunk) {
			b.Fatal("not valid")
		}
		if _, ok := Find(chunk, "choices.0.delta.content"); !ok {
			b.Fatal("not found")
		}
	}
}
