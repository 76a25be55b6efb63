package commands

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

func TestNoTextDrivesATerminal(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":"b\n"} c`:                `{"a":"b\n"} c`,
		"Grüße, 世界 🎉":                  "Grüße, 世界 🎉",
		"\x1b]0;title\x07\r\n\t\x00":   `\x1b]0;title\a\r\n\t\x00`,
		"a\u009b31mb":                  `a\u009b31mb`,
		"abc\u202edcb\u2066":           `abc\u202edcb\u2066`,
		"\xff\xfe\x9b1m":               `\xff\xfe\x9b1m`,
		"\ufffd\x7f":                   `\ufffd\x7f`,
		"\U000e0001":                   `\U000e0001`,
		"zero\u200bwidth nbsp\u00a0 .": `zero\u200bwidth nbsp\u00a0 .`,
	} {
		if got := escaped(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestEscapedJSONIsTheSameJSON(t *testing.T) {
	text := "\u009b\u202e\u007f\U000e0001 \" \\ ü 🎉 \x1b"
	body, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	line := jsonEscaped(string(body))
	if strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		t.Errorf("%q could drive a terminal", line)
	}
	var got string
	if err := json.Unmarshal([]byte(line), &got); err != nil || got != text {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	if got := paletteFor(new(strings.Builder)).in(red, "gap"); got != "gap" {
		t.Errorf("a file gets %q", got)
	}
	if got := palette(true).in(red, "gap"); got != red+"gap"+reset {
		t.Errorf("a terminal gets %q", got)
	}
}
