// Package db has the one name of smallstep's that caddypki names. The demo's authority keeps nothing.
package db

// AuthDB is where smallstep's authority would keep what it has signed.
type AuthDB any
