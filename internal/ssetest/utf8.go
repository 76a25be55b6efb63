package ssetest

import (
	"strings"
	"unicode/utf8"
)

// decodeUTF8 decodes as the Encoding standard does: U+FFFD takes the place of each maximal beginning of a sequence, where Go's
// own conversions put one for each byte.
func decodeUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var text strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			size = malformed(b)
		}
		text.WriteRune(r)
		b = b[size:]
	}
	return text.String()
}

// malformed is how many of the first bytes of b, which begins with an invalid sequence, make one U+FFFD.
func malformed(b []byte) int {
	lower, upper, trailing := byte(0x80), byte(0xBF), 0
	switch lead := b[0]; {
	case lead >= 0xC2 && lead <= 0xDF:
		trailing = 1
	case lead >= 0xE0 && lead <= 0xEF:
		trailing = 2
		if lead == 0xE0 {
			lower = 0xA0 // below are overlong forms
		}
		if lead == 0xED {
			upper = 0x9F // above are surrogates
		}
	case lead >= 0xF0 && lead <= 0xF4:
		trailing = 3
		if lead == 0xF0 {
			lower = 0x90 // below are overlong forms
		}
		if lead == 0xF4 {
			upper = 0x8F // above is no Unicode
		}
	}
	n := 1
	for n <= trailing && n < len(b) && b[n] >= lower && b[n] <= upper {
		n++
		lower, upper = 0x80, 0xBF
	}
	return n
}
