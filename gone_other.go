//go:build !linux

package redissse

import "context"

// departures tells nothing on this system: such clients count until a write
// fails.
type departures struct{}

func (*departures) open() error { return nil }

func (*departures) run(context.Context) error { return nil }

func (*departures) await(controlled, func()) *awaited { return nil }

// awaited is nothing on this system.
type awaited struct{}

func (*awaited) forget() {}

func (*awaited) awaitRoom(func()) {}
