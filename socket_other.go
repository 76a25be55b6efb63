//go:build !linux

package redissse

import (
	"errors"
	"net"
)

func newSocket(net.Conn, connHold) (clientSocket, error) {
	return nil, errors.New("this system has no outlets")
}
