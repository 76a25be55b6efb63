package redissse

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

func TestABodyIsPublishedByteForByte(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := startPublishing(t, &Hub{Redis: server.URL()}, &PublishHandler{MaxSize: 4 << 20})
	a := listen(t, server)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for name, payload := range map[string]string{
		"text":          "hello",
		"JSON":          `{"text":"grüße"}`,
		"empty":         "",
		"every byte":    string(all),
		"lines":         "a\r\nb\rc\n\n",
		"of max_size":   strings.Repeat("x", 4<<20),
		"like commands": "*1\r\n$4\r\nQUIT\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := p.post(payload)
			got.want(t, http.StatusOK, "", 1)
			if *got.Receivers != 1 || got.Channel != "news" {
				t.Errorf("%d receivers on %q, want 1 on news", *got.Receivers, got.Channel)
			}
			a.wantHeard(payload)
		})
	}
	t.Run("without Content-Length", func(t *testing.T) {
		p.request(t.Context(), http.MethodPost, struct{ io.Reader }{strings.NewReader("chunked")}, nil).want(t, http.StatusOK, "", 1)
		a.wantHeard("chunked")
	})
}

func TestNobodyHasToListen(t *testing.T) {
	t.Parallel()
	p := startPublishing(t, &Hub{Redis: redistest.Start(t).URL()}, &PublishHandler{})
	got := p.post("x")
	got.want(t, http.StatusOK, "", 1)
	if want := `{"channel":"news","receivers":0,"attempts":1}` + "\n"; got.text != want {
		t.Errorf("answer %s, want %s", got.text, want)
	}
}

func TestALargerBodyThanMaxSizeIsRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := startPublishing(t, &Hub{Redis: server.URL()}, &PublishHandler{MaxSize: 10})
	a := listen(t, server)
	before := metricValue(t, p.h.metrics.dropped[dropTooLarge])
	for why, body := range map[string]io.Reader{
		"the body has 11 bytes, at most 10 are allowed": strings.NewReader("eleven byte"),
		"the body has more than 10 bytes":               struct{ io.Reader }{strings.NewReader("eleven byte")}, // without its length
	} {
		got := p.request(t.Context(), http.MethodPost, body, nil)
		if got.status != http.StatusRequestEntityTooLarge || !strings.Contains(got.text, why) {
			t.Errorf("%d %s, want 413 that says %q", got.status, got.text, why)
		}
	}
	p.post("ten bytes.").want(t, http.StatusOK, "", 1)
	a.wantHeard("ten bytes.")
	if n := metricValue(t, p.h.metrics.dropped[dropTooLarge]) - before; n != 2 {
		t.Errorf("%v are counted as too large, want 2", n)
	}
}

// A client may send ten bytes of a hundred and never any more.
func TestABodyThatComesSlowlyIsPublishedWhole(t *testing.T) {
	t.Parallel()
	fake := startFakeRedis(t)
	p := startPublishing(t, &Hub{Redis: fake.url()}, &PublishHandler{})
	r, w := io.Pipe()
	answered := make(chan publishResult, 1)
	go func() {
		got, err := p.try(t.Context(), http.MethodPost, r, nil)
		if err != nil {
			t.Error(err)
		}
		answered <- got
	}()
	fmt.Fprint(w, "half ")
	// Others are served meanwhile, over all the connections there are.
	for range maxCommandConns + 1 {
		p.post("other").want(t, http.StatusOK, "", 1)
	}
	if n := fake.count("PUBLISH"); n != maxCommandConns+1 {
		t.Errorf("%d messages are published while one is half there, want %d", n, maxCommandConns+1)
	}
	fmt.Fprint(w, "and half")
	_ = w.Close()
	(<-answered).want(t, http.StatusOK, "", 1)
	if n := fake.count("PUBLISH"); n != maxCommandConns+2 {
		t.Errorf("%d messages are published, want %d", n, maxCommandConns+2)
	}
}

func TestHalfABodyIsNotPublished(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"shorter than announced":  "Content-Length: 100\r\n\r\nhalf",
		"without its last chunk":  "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"with a chunk of no size": "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nmany\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := startFakeRedis(t)
			p := startPublishing(t, &Hub{Redis: fake.url()}, &PublishHandler{})
			conn, err := net.Dial("tcp", p.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: localhost\r\n"+request)
			_ = conn.(*net.TCPConn).CloseWrite() // no more will come
			_ = conn.SetReadDeadline(time.Now().Add(gatewayWait))
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusBadRequest || fake.count("PUBLISH") != 0 {
				t.Errorf("%s after %d messages, want 400 and none", response.Status, fake.count("PUBLISH"))
			}
		})
	}
}

func TestOnlyPostPublishes(t *testing.T) {
	t.Parallel()
	p := startPublishing(t, &Hub{Redis: adaptDead}, &PublishHandler{})
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		got := p.request(t.Context(), method, nil, nil)
		if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != http.MethodPost {
			t.Errorf("%s: %d with Allow %q, want 405 with POST", method, got.status, got.header.Get("Allow"))
		}
	}
	if got := p.request(t.Context(), http.MethodOptions, nil, nil); got.status != http.StatusTeapot {
		t.Errorf("OPTIONS: %d, want the next handler's 418", got.status)
	}
}

func TestTheChannelOfAMessage(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for _, c := range []struct{ channel, header, want string }{
		{"user:{http.request.header.X-User}", "7", "user:7"},
		{"user:*[a]?", "", "user:*[a]?"}, // taken literally
		{"{http.request.header.X-User}", "", ""},
		{"{http.request.header.X-User}", "__redis_sse:probe:1", ""},
		{"{http.request.header.X-User}", "__sentinel__:hello", ""},
		{"{http.request.header.X-User}", strings.Repeat("x", maxChannel+1), ""},
	} {
		p := startPublishing(t, &Hub{Redis: server.URL()}, &PublishHandler{Channel: c.channel})
		got := p.request(t.Context(), http.MethodPost, strings.NewReader("x"), map[string]string{"X-User": c.header})
		switch {
		case c.want == "" && got.status != http.StatusBadRequest:
			t.Errorf("channel %q with %.30q: %d, want 400", c.channel, c.header, got.status)
		case c.want != "" && got.Channel != c.want:
			t.Errorf("channel %q with %q: %q, want %q", c.channel, c.header, got.Channel, c.want)
		}
	}
}

func TestAHeaderOfABackendsAnswerMayBeSpeltInAnyWay(t *testing.T) {
	h := &PublishHandler{Channel: "user:{http.reverse_proxy.header.x-USER}"}
	if err := h.resolve(); err != nil || h.channel != "user:{http.reverse_proxy.header.X-User}" {
		t.Errorf("the channel is %q, %v: Caddy has the header in its canonical form only", h.channel, err)
	}
}

func TestBrowsersOfOtherSitesCannotPublish(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := startPublishing(t, &Hub{Redis: server.URL()}, &PublishHandler{CORSOrigins: []string{"https://app.example.com"}})
	a := listen(t, server)
	for name, c := range map[string]struct {
		header map[string]string
		status int
	}{
		"no browser":             {nil, http.StatusOK},
		"the same origin":        {map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": p.server.URL}, http.StatusOK},
		"an old one's":           {map[string]string{"Origin": p.server.URL}, http.StatusOK},
		"an origin let in":       {map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example.com"}, http.StatusOK},
		"another site":           {map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, http.StatusForbidden},
		"another host of it":     {map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "https://www.example.com"}, http.StatusForbidden},
		"an old one's, another":  {map[string]string{"Origin": "https://evil.example"}, http.StatusForbidden},
		"a form of another site": {map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "null", "Content-Type": "text/plain"}, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			got := p.request(t.Context(), http.MethodPost, strings.NewReader(name), c.header)
			if got.status != c.status {
				t.Errorf("%d %s, want %d", got.status, got.text, c.status)
			}
			if c.status == http.StatusOK {
				a.wantHeard(name)
				return
			}
			a.wantHeard()
		})
	}
}

func TestAPageOfAnOriginThatIsLetInMayPublish(t *testing.T) {
	t.Parallel()
	p := startPublishing(t, &Hub{Redis: redistest.Start(t).URL()}, &PublishHandler{CORSOrigins: []string{"https://app.example.com"}})
	from := map[string]string{"Origin": "https://app.example.com", "Sec-Fetch-Site": "cross-site"}
	asked := p.request(t.Context(), http.MethodOptions, nil, from)
	if asked.status != http.StatusNoContent || asked.header.Get("Access-Control-Allow-Methods") != http.MethodPost {
		t.Errorf("preflight: %d with %q", asked.status, asked.header)
	}
	answered := p.request(t.Context(), http.MethodPost, strings.NewReader("x"), from)
	answered.want(t, http.StatusOK, "", 1)
	for _, got := range []publishResult{asked, answered} {
		if got.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || got.header.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("the page may not read %d with %q", got.status, got.header)
		}
	}
}

// What a client has sent before is no credit: it has ten seconds for its next bytes.
func TestABodyThatStopsComingIsGivenUp(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	p := startCaddy(t, "", "redis_sse_publish news {\nmax_size 8MiB\n}")
	t.Run("announced", func(t *testing.T) {
		t.Parallel()
		conn, err := net.Dial("tcp", p.plain)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("x", 500_000))
		_ = conn.SetReadDeadline(time.Now().Add(bodySilence + gatewayWait))
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%s, want 408", response.Status)
		}
	})
	overEachProtocol(t, func(t *testing.T, proto string) {
		t.Parallel()
		source, sink := io.Pipe()
		defer sink.Close()
		body := io.MultiReader(strings.NewReader(strings.Repeat("x", 30<<10)), source)
		r := ssetest.Do(t, p.client(proto), p.url(proto, "/"), ssetest.WithMethod(http.MethodPost), ssetest.WithBody(body))
		if r.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%s, want 408", r.Status)
		}
	})
}
