//go:build attack && linux

package attack

import (
	"bytes"
	"net"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// ask2 begins a connection of HTTP/2 without TLS, whose client takes so many bytes of each body, and sends the heads of n requests. If
// their own bodies are to come, they do not end with that.
func ask2(conn net.Conn, window uint32, n int, bodies bool, method, path string, header ...[2]string) error {
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}); err != nil {
		return err
	}
	fields := append([][2]string{
		{":method", method}, {":scheme", "http"}, {":authority", conn.RemoteAddr().String()}, {":path", path}, {"accept", "text/event-stream"},
	}, header...)
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for i := range n {
		for _, h := range fields {
			if err := e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
				return err
			}
		}
		head := http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: block.Bytes(), EndHeaders: true, EndStream: !bodies}
		if err := f.WriteHeaders(head); err != nil {
			return err
		}
		block.Reset()
	}
	_, err := conn.Write(out.Bytes())
	return err
}
