//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// http2Streams are streams on one connection, the i-th with the id 2i+1.
//
// The frames are written and read here: net/http's client answers with window
// updates all the time, and the load process is not to be what limits the rate.
type http2Streams struct {
	framer  *http2.Framer
	headers *hpack.Decoder
	streams []http2Stream
	begun   int // how many have been answered
}

type http2Stream struct {
	reader *reader
	lines  lines
}

// openHTTP2 opens streams on a connection of their own, over TLS.
func openHTTP2(ctx context.Context, addr string, readers []*reader, path func(*reader) string) (net.Conn, *http2Streams, error) {
	plain, err := dial(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	conn := tls.Client(plain, &tls.Config{
		InsecureSkipVerify: true, // a certificate made on the spot, on loopback
		ServerName:         "localhost", NextProtos: []string{"h2"},
	})
	streams, err := requestHTTP2(conn, addr, readers, path)
	if err != nil {
		plain.Close()
		return nil, nil, err
	}
	return plain, streams, plain.SetDeadline(time.Time{})
}

// requestHTTP2 returns when all streams have begun.
func requestHTTP2(conn *tls.Conn, addr string, readers []*reader, path func(*reader) string) (*http2Streams, error) {
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	s := &http2Streams{headers: hpack.NewDecoder(4096, nil)}
	var paths []string
	for _, r := range readers {
		s.streams = append(s.streams, http2Stream{reader: r})
		paths = append(paths, path(r))
	}
	if err := writeRequests(conn, addr, paths); err != nil {
		return nil, err
	}
	s.framer = http2.NewFramer(conn, bufio.NewReaderSize(conn, readSize))
	s.framer.SetReuseFrames()
	for s.begun < len(readers) {
		if err := s.step(); err != nil {
			return nil, fmt.Errorf("reading the response: %w", err)
		}
	}
	return s, nil
}

// writeRequests begins a connection, with windows that no run fills, so that
// none has to be updated.
func writeRequests(conn net.Conn, addr string, paths []string) error {
	const window = math.MaxInt32
	var out, block bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}); err != nil {
		return err
	}
	if err := f.WriteWindowUpdate(0, window-65535); err != nil {
		return err
	}
	encoder := hpack.NewEncoder(&block)
	for i, path := range paths {
		block.Reset()
		encodeRequest(encoder, addr, path)
		headers := http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}
		if err := f.WriteHeaders(headers); err != nil {
			return err
		}
	}
	_, err := conn.Write(out.Bytes())
	return err
}

func encodeRequest(e *hpack.Encoder, addr, path string) {
	for _, h := range [][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", addr}, {":path", path}, {"accept", "text/event-stream"},
	} {
		if err := e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			panic(err) // a bytes.Buffer takes everything
		}
	}
}

// run reads until the connection or one of its streams ends.
func (s *http2Streams) run() error {
	for {
		if err := s.step(); err != nil {
			return err
		}
	}
}

// step reads one frame and does what it asks for.
func (s *http2Streams) step() error {
	frame, err := s.framer.ReadFrame()
	if err != nil {
		return err
	}
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		return s.begin(f)
	case *http2.DataFrame:
		stream := &s.streams[f.StreamID/2]
		if err := stream.lines.cut(f.Data(), stream.reader.line); err != nil {
			return err
		}
		if f.StreamEnded() {
			return io.ErrUnexpectedEOF
		}
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return s.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return s.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame, *http2.RSTStreamFrame:
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (s *http2Streams) begin(f *http2.HeadersFrame) error {
	fields, err := s.headers.DecodeFull(f.HeaderBlockFragment())
	if err != nil {
		return fmt.Errorf("reading the response's headers: %w", err)
	}
	if fields[0].Name != ":status" || fields[0].Value != "200" {
		return fmt.Errorf("opening a stream: %s", fields[0])
	}
	s.begun++
	return nil
}
