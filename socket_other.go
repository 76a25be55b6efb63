//go:build !linux

package redissse

import "errors"

var errNoOutlets = errors.New("this system has no outlets")

// serverSocket and ownSocket are nothing on this system.
type (
	serverSocket struct{ clientSocket }
	ownSocket    struct{ clientSocket }
)

func newServerSocket(*connHold) (*serverSocket, error) { return nil, errNoOutlets }

func newOwnSocket(*connHold) (*ownSocket, error) { return nil, errNoOutlets }

func (*ownSocket) drop() {}

func (*ownSocket) take(*connHold, *departures, func()) {}
