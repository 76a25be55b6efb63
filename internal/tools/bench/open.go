//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"time"
)

// openWait bounds the opening of one stream.
const openWait = 30 * time.Second

// openHTTP1 opens a stream on a connection of its own and has p read it.
func openHTTP1(ctx context.Context, addr, path string, p *poller, r *reader) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close() // the socket below is another name for it
	body, begin, err := requestHTTP1(conn, addr, path)
	if err != nil {
		return err
	}
	socket, err := conn.File()
	if err != nil {
		return fmt.Errorf("taking a socket: %w", err)
	}
	s := &polled{socket: socket, fd: int32(socket.Fd()), reader: r, body: body}
	if err := p.add(s, begin); err != nil {
		socket.Close()
		return err
	}
	return nil
}

// dial returns a connection that has openWait for what comes next. It is reset
// when it is closed: thousands that wait for their end take up port numbers.
func dial(ctx context.Context, addr string) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: openWait}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	if err := tcp.SetLinger(0); err != nil {
		conn.Close()
		return nil, err
	}
	return tcp, tcp.SetDeadline(time.Now().Add(openWait))
}

// requestHTTP1 returns how the response's body is coded, and what has been
// read of it.
func requestHTTP1(conn net.Conn, addr, path string) (body chunked, begin []byte, err error) {
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", path, addr); err != nil {
		return body, nil, err
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return body, nil, fmt.Errorf("reading the response: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return body, nil, fmt.Errorf("opening %s: status %s", path, response.Status)
	}
	if len(response.TransferEncoding) == 0 { // up to the connection's end
		body = chunked{at: chunkData, size: math.MaxInt}
	}
	begin, err = in.Peek(in.Buffered())
	return body, begin, err
}
