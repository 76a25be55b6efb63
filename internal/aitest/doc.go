// Package aitest holds the tests that need the SDKs of AI products: those of docs/ai-clients.md read answers that a worker publishes
// to a real Redis through a real Caddy, in Node and, of the AI SDK, in Chromium and Firefox, while connections are cut, Redis is
// killed, and Caddy reloads. What each did in each case is the table there.
//
//	make test-ai
//	make test-ai UPDATE_GOLDEN=1 # writes the table anew
//
// They stand behind the build tag ai, since they need programs and packages that other tests do not.
package aitest
