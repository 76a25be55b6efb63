// Package clientstest runs the README: each block under "Publish" and "Listen" as it stands, with the real interpreter and the
// real libraries, against a real Caddy in front of a real Redis; and it measures what the table there says of each client.
//
//	make test-clients
//
// The tests stand behind the build tag clients, since they need programs that other tests do not.
package clientstest
