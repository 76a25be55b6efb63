// Package glob tells which channels a Redis pattern covers.
package glob

import "strings"

// maxStars bounds the stars of a pattern that have more than stars behind them. Redis nests a call per star, and since
// the fix of CVE-2024-31228 lets patterns that go deeper than 1000 cover nothing; before, they had no bound.
const maxStars = 1000

// Match reports whether Redis's PSUBSCRIBE pattern covers channel, both taken as bytes.
//
// The truth is what Redis does: stringmatchlen in its util.c, case-sensitive. Redis's page on PSUBSCRIBE describes *, ?,
// classes and backslashes; the rest the tests ask a running server:
//   - only the empty pattern covers the empty channel, * does not;
//   - a class ends at the first ] that is neither escaped nor the end of a range, else with the pattern: [] covers no byte,
//     [^] and [^ any, and [a-] is the range from a to ];
//   - the bounds of a range may come in either order, and cannot be escaped;
//   - a backslash that ends the pattern stands for itself.
//
// In doubt a channel is not covered: a false "covers" loses messages silently, a false "does not cover" costs some work. So
// the answer is false where that of Redis depends on its version (maxStars) or on how it was compiled (inRange).
//
// The cost is at most proportional to len(pattern) times len(channel), whatever the pattern.
func Match(pattern, channel string) bool {
	if channel == "" {
		return pattern == ""
	}
	// What stands between two stars covers a fixed number of bytes. So if it fits early, a later place only leaves less to
	// what follows: no star but the last is ever worth going back to.
	var (
		stars       int
		after, from string // what follows the last star, and where in channel it is being tried
	)
	for c := channel; c != ""; {
		if strings.HasPrefix(pattern, "*") {
			if pattern = strings.TrimLeft(pattern, "*"); pattern == "" {
				return true
			}
			if stars++; stars > maxStars {
				return false
			}
			after, from = pattern, c
		}
		if n := element(pattern, c[0]); n > 0 {
			pattern, c = pattern[n:], c[1:]
			continue
		}
		if stars == 0 {
			return false
		}
		from = from[1:]
		pattern, c = after, from
	}
	return strings.TrimLeft(pattern, "*") == ""
}

// element returns how long the first element of pattern is, which is no star, if it covers b; 0 if it does not.
func element(pattern string, b byte) int {
	if pattern == "" {
		return 0
	}
	switch {
	case pattern[0] == '?':
		return 1
	case pattern[0] == '[':
		return class(pattern, b)
	case pattern[0] == '\\' && len(pattern) > 1:
		if pattern[1] == b {
			return 2
		}
	case pattern[0] == b:
		return 1
	}
	return 0
}

// class is element for a pattern that begins with a class.
func class(pattern string, b byte) int {
	rest, negated := strings.CutPrefix(pattern[1:], "^")
	in, doubt := false, false
	for rest != "" && rest[0] != ']' {
		switch {
		case rest[0] == '\\' && len(rest) > 1:
			in = in || rest[1] == b
			rest = rest[2:]
		case len(rest) > 2 && rest[1] == '-':
			always, sometimes := inRange(rest[0], rest[2], b)
			in, doubt = in || always, doubt || sometimes
			rest = rest[3:]
		default:
			in = in || rest[0] == b
			rest = rest[1:]
		}
	}
	if in == negated || doubt && !in {
		return 0
	}
	return min(len(pattern)-len(rest)+1, len(pattern)) // with the ], if there is one
}

// inRange reports whether the range from x to y has b in it in every Redis, and whether only in some. C leaves it to the
// platform whether a char has a sign (on amd64 it has, on arm64 under Linux it has not), and thereby whether bytes from 0x80 up
// come after ASCII or before.
func inRange(x, y, b byte) (always, sometimes bool) {
	const sign = 0x80
	unsigned := min(x, y) <= b && b <= max(x, y)
	x, y, b = x^sign, y^sign, b^sign
	signed := min(x, y) <= b && b <= max(x, y)
	return unsigned && signed, unsigned != signed
}
