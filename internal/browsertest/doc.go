// Package browsertest holds the tests that need real browsers: Debian's Chromium and Firefox open streams of a real Caddy in
// front of a real Redis, lose them or are refused, and must come back to what they missed; pages of other origins read and
// publish as cors_origins says; the README's Caddyfiles, its page and what it has somebody publish fit together.
//
//	make test-browser
//
// They stand behind the build tag browser, since they need programs that other tests do not. What judges them, oracle.go, is
// tested with all else.
package browsertest
