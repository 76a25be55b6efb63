// Package clientstest runs the README and docs/clients.md: each fenced block of theirs as it stands, with the real interpreter and
// the real libraries, against a real Caddy in front of a real Redis; and it measures what the table there says of each client, and
// types the README's steps to a first stream. A block that nothing runs, or that is not where the tests have it, fails them. It
// follows the guides, too (docs/guides): makes their files, types their commands, and looks at their pages in Chromium. Only
// addresses are others, and what a test says. And it holds client/ to its size, its types and the HTML standard.
//
//	make test-clients
//
// The tests stand behind the build tag clients, since they need programs that other tests do not.
package clientstest
