package ssetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestEventSourceComesBackAsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &line{}
		s := StartEventSource(t, net.client(), "http://x.test/", WithLastEventID("0"))
		s.AwaitOpened()
		net.send("id: 1\ndata: a\n\n")
		net.end(nil)
		time.Sleep(time.Minute)
		net.send("retry: 7000\nid: 2\ndata: b\n\nid: 3\n\nid: 4\ndata: lost")
		net.end(io.ErrUnexpectedEOF)
		time.Sleep(time.Minute)
		net.send("retry: 0\nid\ndata: c\n\n")
		net.end(nil)
		synctest.Wait()
		net.send("data: d\n\n")
		synctest.Wait()
		want := []string{
			"asked 0", "opened", "received 1 a", "ended <nil>",
			"3s", "asked 1", "opened", "57s", "received 2 b", "ended unexpected EOF",
			"7s", "asked 3", "opened", "53s", "received  c", "ended <nil>",
			"asked ", "opened", "received  d",
		}
		mustRead(t, s.Log(), want)
		s.Close()
		s.Close()
		mustRead(t, s.Log(), append(want, "ended context canceled"))
		if want := [][]string{{"0"}, {"1"}, {"3"}, nil}; !reflect.DeepEqual(net.ids, want) {
			t.Errorf("came with the ids %q, want %q", net.ids, want)
		}
	})
}

func TestEventSourceKeepsTheIDOfAStreamWithoutEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &line{}
		s := StartEventSource(t, net.client(), "http://x.test/")
		net.send("id: 1\ndata: a\n\n")
		net.end(nil)
		time.Sleep(4 * time.Second)
		net.end(nil)
		time.Sleep(4 * time.Second)
		mustRead(t, s.Log(), []string{
			"asked ", "opened", "received 1 a", "ended <nil>", "3s", "asked 1", "opened", "1s", "ended <nil>", "3s", "asked 1", "opened",
		})
	})
}

func TestEventSourceTakesBytesInAnyPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &line{}
		s := StartEventSource(t, net.client(), "http://x.test/")
		for _, c := range []byte("id: 1\ndata: é\r\n\r\ndata: b\n\ndata: c\n") {
			net.send(string([]byte{c}))
		}
		s.Leave(0)
		time.Sleep(time.Second)
		mustRead(t, s.Log(), []string{
			"asked ", "opened", "received 1 é", "received 1 b", "ended context canceled", "asked 1", "opened",
		})
	})
}

func TestEventSourceComesBackToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &line{}
		net.answer = func() (*http.Response, error) { return nil, errors.New("nobody there") }
		s := StartEventSource(t, net.client(), "http://x.test/")
		time.Sleep(4 * time.Second)
		net.set(nil)
		time.Sleep(4 * time.Second)
		const failed = `ended Get "http://x.test/": nobody there`
		mustRead(t, s.Log(), []string{"asked ", failed, "3s", "asked ", failed, "3s", "asked ", "opened"})
	})
}

func TestEventSourceStopsForEver(t *testing.T) {
	for _, test := range []struct {
		status      int
		contentType string
	}{
		{204, "text/event-stream"}, {503, "text/event-stream"}, {429, "text/plain"}, {200, "text/plain"}, {200, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			net := &line{}
			s := StartEventSource(t, net.client(), "http://x.test/")
			s.AwaitOpened()
			net.set(func() (*http.Response, error) {
				return answer(test.status, test.contentType, strings.NewReader("why")), nil
			})
			net.end(nil)
			time.Sleep(time.Hour)
			s.Leave(0)
			mustRead(t, s.Log(), []string{"asked ", "opened", "ended <nil>", "3s", "asked ", fmt.Sprint("stopped ", test.status)})
			if err := s.Log()[4].Err; err == nil || !strings.Contains(err.Error(), "why") {
				t.Errorf("stopped with %v, without the body", err)
			}
		})
	}
}

func TestAwaitOpenedOfARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &line{answer: func() (*http.Response, error) { return answer(503, "text/plain", strings.NewReader("full")), nil }}
		begun := time.Now()
		message := fatal(t, func(tb testing.TB) { StartEventSource(tb, net.client(), "http://x.test/").AwaitOpened() })
		if !strings.Contains(message, "503") || !strings.Contains(message, "full") || time.Since(begun) != 0 {
			t.Errorf("after %v: %q", time.Since(begun), message)
		}
		net.set(func() (*http.Response, error) { return nil, errors.New("nobody there") })
		message = fatal(t, func(tb testing.TB) { StartEventSource(tb, net.client(), "http://x.test/").AwaitOpened() })
		if !strings.Contains(message, "nobody there") || time.Since(begun) != deadline {
			t.Errorf("after %v: %q", time.Since(begun), message)
		}
	})
}

func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &line{}
		s := StartEventSource(t, net.client(), "http://x.test/")
		synctest.Wait()
		s.Leave(10 * time.Second) // an open connection
		time.Sleep(8 * time.Second)
		s.Leave(time.Second) // shorter than the rest of the pause
		time.Sleep(time.Second)
		s.Leave(5 * time.Second)
		time.Sleep(6 * time.Second)
		net.end(nil) // once only: now the retry counts again
		time.Sleep(2 * time.Second)
		net.hang(true)
		time.Sleep(2 * time.Second)
		s.Leave(time.Second) // a request without an answer
		time.Sleep(500 * time.Millisecond)
		net.hang(false)
		time.Sleep(time.Second)
		mustRead(t, s.Log(), []string{
			"asked ", "opened", "ended context canceled", "14s", "asked ", "opened",
			"1s", "ended <nil>", "3s", "asked ", "1s", `ended Get "http://x.test/": context canceled`, "1s", "asked ", "opened",
		})
	})
}

func TestLeaveBeforeTheFirstRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &line{}
		s := StartEventSource(t, net.client(), "http://x.test/")
		s.Leave(0) // whether it has asked or not
		s.AwaitOpened()
	})
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &line{}
		s := StartEventSource(t, net.client(), "http://x.test/")
		s.AwaitOpened()
		synctest.Wait() // it reads
		s.Hold(true)
		s.Hold(true)
		net.send("id: 1\ndata: a\n\n") // to the read that had begun
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			net.send("id: 2\ndata: b\n\n")
		}()
		time.Sleep(time.Second)
		if isClosed(sent) {
			t.Error("a client on hold reads")
		}
		s.Hold(false)
		s.Hold(false)
		time.Sleep(time.Second)
		s.Hold(true)
		net.send("id: 3\ndata: c\n\n")
		s.Leave(time.Second)
		time.Sleep(2 * time.Second)
		s.Hold(false)
		net.send("id: 4\ndata: d\n\n")
		synctest.Wait()
		s.Hold(true) // Close does not wait for it
		mustRead(t, s.Log(), []string{
			"asked ", "opened", "1s", "received 1 a", "received 2 b", "1s", "received 3 c", "ended context canceled",
			"1s", "asked 3", "opened", "1s", "received 4 d",
		})
	})
}

func TestLogFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &line{}
		s := StartEventSource(t, net.client(), "http://x.test/")
		synctest.Wait()
		first := s.LogFrom(1)
		mustRead(t, first, []string{"opened"})
		if more := s.LogFrom(7); len(more) != 0 {
			t.Errorf("%+v after the end", more)
		}
		_ = append(first, Record{What: Stopped}) // into nobody's log
		net.send("data: a\n\n")
		synctest.Wait()
		mustRead(t, s.LogFrom(2), []string{"received  a"})
		mustRead(t, first, []string{"opened"})
	})
}

func TestEventSourceOfAServer(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		id := r.Header.Get("Last-Event-ID")
		fmt.Fprintf(w, "retry: 1\nid: %sx\ndata: %q %q\n\n", id, r.Header.Values("X-A"), r.Header.Values("Accept"))
		if id == "xxx" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	})
	s := StartEventSource(t, http.DefaultClient, url, WithHeader("X-A", "b"))
	s.AwaitOpened()
	var log []string
	for end := time.Now().Add(deadline); len(log) < 4 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		log = nil
		for _, r := range s.Log() {
			if r.What == Received {
				log = append(log, r.Event.ID+" "+r.Event.Data)
			}
		}
	}
	const data = ` ["b"] ["text/event-stream"]`
	if want := []string{"x" + data, "xx" + data, "xxx" + data, "xxxx" + data}; !reflect.DeepEqual(log, want) {
		t.Errorf("got %q, want %q", log, want)
	}
}

func TestEventSourceEndsWithTheTest(t *testing.T) {
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	defer server.Close()
	t.Run("inner", func(t *testing.T) { StartEventSource(t, server.Client(), server.URL).AwaitOpened() })
	<-gone
}

func TestEventSourceOfNoURL(t *testing.T) {
	if message := fatal(t, func(tb testing.TB) { StartEventSource(tb, http.DefaultClient, ":") }); !strings.Contains(message, `":"`) {
		t.Errorf("message %q", message)
	}
}

// line takes the place of the network, where a synctest bubble must have none.
type line struct {
	mu      sync.Mutex
	answer  func() (*http.Response, error) // nil: an event stream
	hanging bool
	body    *io.PipeWriter // of the last event stream
	ids     [][]string     // that requests came with
}

func (l *line) client() *http.Client { return &http.Client{Transport: l} }

func (l *line) set(answer func() (*http.Response, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

// hang has requests wait for their answer for ever, or not.
func (l *line) hang(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hanging = on
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, r.Header["Last-Event-Id"])
	if l.hanging {
		l.mu.Unlock()
		<-r.Context().Done()
		l.mu.Lock()
		return nil, r.Context().Err()
	}
	if l.answer != nil {
		return l.answer()
	}
	reader, writer := io.Pipe()
	l.body = writer
	context.AfterFunc(r.Context(), func() { _ = writer.CloseWithError(r.Context().Err()) })
	return answer(200, "text/event-stream", reader), nil
}

// send returns when the client has read s, of the stream that opens next if there is none.
func (l *line) send(s string) {
	_, _ = io.WriteString(l.stream(), s)
}

// end ends the stream: properly, or as by err.
func (l *line) end(err error) { _ = l.stream().CloseWithError(err) }

func (l *line) stream() *io.PipeWriter {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.body
}

func answer(status int, contentType string, body io.Reader) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(body),
	}
}

// mustRead compares a log with what it should read as: what happened, and the time between if there is any.
func mustRead(t *testing.T, log []Record, want []string) {
	t.Helper()
	var got []string
	for i, r := range log {
		if i > 0 && r.At != log[i-1].At {
			got = append(got, r.At.Sub(log[i-1].At).String())
		}
		switch r.What {
		case Asked:
			got = append(got, "asked "+r.LastEventID)
		case Opened:
			got = append(got, "opened")
		case Received:
			got = append(got, "received "+r.Event.ID+" "+r.Event.Data)
		case Ended:
			got = append(got, fmt.Sprint("ended ", r.Err))
		case Stopped:
			got = append(got, fmt.Sprint("stopped ", r.Status))
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
