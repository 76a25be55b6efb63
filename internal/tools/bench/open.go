//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
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

// openHTTP2 opens a stream on a connection of its own, over TLS.
//
// It writes the frames itself: net/http's client answers with window updates
// all the time, and the load process is not to be what limits the rate.
func openHTTP2(ctx context.Context, addr, path string) (net.Conn, io.Reader, error) {
	plain, err := dial(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	conn := tls.Client(plain, &tls.Config{
		InsecureSkipVerify: true, // a certificate made on the spot, on loopback
		ServerName:         "localhost", NextProtos: []string{"h2"},
	})
	body, err := requestHTTP2(conn, addr, path)
	if err != nil {
		plain.Close()
		return nil, nil, err
	}
	return plain, body, plain.SetDeadline(time.Time{})
}

func requestHTTP2(conn *tls.Conn, addr, path string) (io.Reader, error) {
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	var out strings.Builder
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, bufio.NewReaderSize(conn, readSize))
	f.SetReuseFrames()
	// Windows that no run fills, so that none has to be updated.
	const window = math.MaxInt32
	if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}); err != nil {
		return nil, err
	}
	if err := f.WriteWindowUpdate(0, window-65535); err != nil {
		return nil, err
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers(addr, path), EndStream: true, EndHeaders: true}); err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte(out.String())); err != nil {
		return nil, err
	}
	f = http2.NewFramer(conn, bufio.NewReaderSize(conn, readSize))
	f.SetReuseFrames()
	b := &http2Body{framer: f}
	return b, b.awaitHeaders()
}

func headers(addr, path string) []byte {
	var block strings.Builder
	e := hpack.NewEncoder(&block)
	for _, h := range [][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", addr}, {":path", path}, {"accept", "text/event-stream"},
	} {
		if err := e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			panic(err) // a strings.Builder takes everything
		}
	}
	return []byte(block.String())
}

// http2Body is the data of the one stream on a connection.
type http2Body struct {
	framer *http2.Framer
	rest   []byte
}

// awaitHeaders reads up to the response's status.
func (b *http2Body) awaitHeaders() error {
	for {
		frame, err := b.framer.ReadFrame()
		if err != nil {
			return fmt.Errorf("reading the response: %w", err)
		}
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			fields, err := hpack.NewDecoder(4096, nil).DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				return fmt.Errorf("reading the response's headers: %w", err)
			}
			if fields[0].Name != ":status" || fields[0].Value != "200" {
				return fmt.Errorf("opening a stream: %s", fields[0])
			}
			return nil
		default:
			if err := b.answer(f); err != nil {
				return err
			}
		}
	}
}

// answer does what a frame other than data and headers asks for.
func (b *http2Body) answer(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return b.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return b.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame, *http2.RSTStreamFrame:
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Read returns data as it comes.
func (b *http2Body) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		frame, err := b.framer.ReadFrame()
		if err != nil {
			return 0, err
		}
		data, ok := frame.(*http2.DataFrame)
		if !ok {
			if err := b.answer(frame); err != nil {
				return 0, err
			}
			continue
		}
		b.rest = data.Data()
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}
