package commands

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// firstStatus is what the admin API answers, and secondStatus 2 s later. A hub is as others have named it: with control characters.
const (
	firstStatus = `{"version":"v1.2.3","caddy_version":"v2.11.9","now":"2026-11-27T10:11:12Z","uptime_seconds":11520,"admin_page":false,"top":10,
"by":"streams","hubs":[
{"name":"analytics","redis":"redis://10.0.0.7:6379","draining":true,"connected":false,"since":"2026-11-27T10:10:00Z",
 "last_error":{"text":"EOF \u001b[2J","at":"2026-11-27T10:10:00Z"},"role":"unknown","proved":false,
 "breaker":{"state":"open","until":"2026-11-27T10:11:42Z"},"subscriptions":3,"channels":2,"refused":1,"streams":0,
 "buffer":{"messages":0,"bytes":0,"bytes_limit":268435456,"channels_limit":2},
 "received_messages":0,"received_bytes":0,"sent_events":0,"gaps":4,"routes":[],"busiest":[]},
{"name":"default","redis":"redis://127.0.0.1:6379","draining":false,"connected":true,"since":"2026-11-27T07:11:12Z","role":"master","proved":true,
 "breaker":{"state":"closed"},"subscriptions":3,"channels":2,"refused":0,"streams":14,
 "buffer":{"messages":12,"bytes":134217728,"bytes_limit":268435456,"channels_limit":100000},
 "received_messages":1000,"received_bytes":9,"sent_events":5000,"gaps":0,
 "routes":[{"route":"jobs","streams":14,"behind":2}],
 "busiest":[{"name":"jobs\u009b2J","pattern":false,"streams":14,"state":"live","lingers":false,"messages":12,"outages":0,"bytes":4096,"rate":12.34,
   "newest_id":"A4","newest_at":"2026-11-27T10:11:10Z"},
  {"name":"j*","pattern":true,"streams":0,"state":"unconfirmed","lingers":true,"messages":0,"outages":0,"bytes":0,"rate":0}]}]}`
)

var secondStatus = strings.NewReplacer("10:11:12Z", "10:11:14Z", `_messages":1000`, `_messages":1500`, `events":5000`, `events":5003`).Replace(firstStatus)

// startAdmin is an admin API with a status.
func startAdmin(t *testing.T, status http.HandlerFunc) (address string) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /redis_sse/status", status)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func answering(status string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, status) }
}

const firstTable = `caddy-redis-sse v1.2.3 in Caddy v2.11.9 at ADDRESS, up 3h12m, 2026-11-27 10:11:12 UTC

HUB        REDIS                   STATE       ROLE     PROVED  BREAKER  STREAMS  CHANNELS  BUFFER          RECEIVED  SENT  GAPS
analytics  redis://10.0.0.7:6379   DOWN 1m12s  unknown  NO      open     0        2         0 B (0 %)       0         0     4
default    redis://127.0.0.1:6379  up 3h0m     master   yes     closed   14       2         128 MiB (50 %)  1000      5000  0
  analytics: the last error, 1m12s ago: EOF \x1b[2J
  analytics: publishing is tried again in 30s
  analytics: Redis denies 1 channel or pattern
  analytics: there is no room for another channel: max_channels is 2
  analytics: only streams of a configuration that has gone hold it

HUB      ROUTE  STREAMS  BEHIND
default  jobs   14       2

Busiest by streams:
HUB      CHANNEL       STREAMS  RATE    MESSAGES  BYTES    NEWEST  STATE
default  jobs\u009b2J  14       12.3/s  12        4.0 KiB  2s ago  live
default  pattern j*    0        0/s     0         0 B      -       unconfirmed, lingers
`

func TestStatusShowsHubsRoutesAndBusiestChannels(t *testing.T) {
	var asked *http.Request
	address := startAdmin(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r
		answering(firstStatus)(w, r)
	})
	stdout, stderr, err := run(t.Context(), "status", "--address", address, "--top", "3", "--by", "rate")
	if err != nil {
		t.Fatal(err, stderr)
	}
	if got := strings.Replace(stdout, address, "ADDRESS", 1); got != firstTable {
		t.Errorf("got:\n%s\nwant:\n%s", got, firstTable)
	}
	if asked.URL.RawQuery != "by=rate&top=3" || asked.Host != address || asked.Header.Get("Origin") != "http://"+address {
		t.Errorf("asked %s of %s from %s", asked.URL, asked.Host, asked.Header.Get("Origin"))
	}
}

func TestStatusOfNoHub(t *testing.T) {
	address := startAdmin(t, answering(`{"hubs":[]}`))
	if stdout, _, err := run(t.Context(), "status", "--address", address); err != nil || !strings.Contains(stdout, "\nNo hub: ") {
		t.Errorf("%v: %s", err, stdout)
	}
}

func TestStatusAsJSONHasAllThatTheAdminAPISays(t *testing.T) {
	address := startAdmin(t, answering("{\n \"hubs\": [], \"new\":\"\u009b\"\n}\n"))
	if stdout, _, err := run(t.Context(), "status", "--address", address, "--json"); err != nil || stdout != `{"hubs":[],"new":"\u009b"}`+"\n" {
		t.Errorf("%v: %q", err, stdout)
	}
}

func TestStatusAsksOverAUnixSocketAndWhereTheConfigurationSays(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: ln, Config: &http.Server{Handler: answering(firstStatus)}}
	server.Start()
	defer server.Close()
	config := filepath.Join(t.TempDir(), "caddy.json")
	if err := os.WriteFile(config, []byte(`{"admin":{"listen":"unix/`+socket+`|0600"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--address", "unix/" + socket}, {"--address", "unix/" + socket + "|0222"}, {"--config", config}} {
		if stdout, stderr, err := run(t.Context(), append([]string{"status"}, args...)...); err != nil || !strings.Contains(stdout, "\ndefault ") {
			t.Errorf("%v: %v: %s%s", args, err, stdout, stderr)
		}
	}
}

func TestStatusSaysWhyThereIsNone(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for want, address := range map[string]string{
		"connection refused: does Caddy run, with its admin API there? --address or --config says where it is": gone.Listener.Addr().String(),
		"a Caddy without this module, or with an older version of it":                                          startAdmin(t, http.NotFound),
		"403 Forbidden: host not allowed": startAdmin(t, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"error":"host not allowed"}`, http.StatusForbidden)
		}),
		`500 Internal Server Error: \x1b[2J`: startAdmin(t, saying(500, "\x1b[2J\n")),
		"reading the status from ":           startAdmin(t, answering("<html>")),
		"EOF":                                startAdmin(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"asking the admin API at unix//no/such/socket: dial":   "unix//no/such/socket",
		"asking the admin API at unix//no/such/socket|0222: d": "unix//no/such/socket|0222",
	} {
		if stdout, stderr, err := run(t.Context(), "status", "--address", address); err == nil || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%v: %s, want %q", err, stderr, want)
		}
	}
}

// looks are answers one after the other; the last one ends the watch.
func looks(stop func(), answers ...any) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		answer := answers[0]
		answers = answers[1:]
		if len(answers) == 0 {
			stop()
		}
		if err, failed := answer.(error); failed {
			return nil, err
		}
		return []byte(answer.(string)), nil
	}
}

func watched(t *testing.T, s *screen, asJSON bool, answers ...any) error {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := &statusLook{ask: looks(cancel, append(answers, firstStatus)...), asJSON: asJSON}
	return l.watch(ctx, time.Millisecond, s)
}

// restarted is the status of a Caddy that has begun anew.
var restarted = strings.NewReplacer("10:11:12Z", "10:11:20Z", `"uptime_seconds":11520`, `"uptime_seconds":3`, `_messages":1000`, `_messages":9000`).
	Replace(firstStatus)

func TestWatchShowsRatesAndWaitsForACaddyThatRestarts(t *testing.T) {
	var out, errs strings.Builder
	err := watched(t, newScreen(&out, &errs, false), false, firstStatus, secondStatus, errors.New("no answer \x1b[2J"), restarted)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(out.String(), "\n\ncaddy-redis-sse ")
	if len(parts) != 3 || strings.Contains(parts[0], "/s)") || !strings.Contains(parts[1], "1500 (250/s)  5003 (1.5/s)  0") {
		t.Errorf("%d parts:\n%s", len(parts), out.String())
	}
	if !strings.HasSuffix(parts[1], `no answer \x1b[2J`) || strings.Contains(parts[2], "/s)") {
		t.Errorf("after the failure:\n%s", out.String())
	}
}

func TestWatchOfWhatNeverAnsweredIsAnError(t *testing.T) {
	var out strings.Builder
	broken := errors.New("broken")
	if err := watched(t, newScreen(&out, &out, false), false, broken); !errors.Is(err, broken) || out.Len() > 0 {
		t.Errorf("%v: %s", err, out.String())
	}
	if err := watched(t, newScreen(&limitedWriter{}, &out, false), false, firstStatus); err == nil || err.Error() != "writing: pipe is broken" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := run(ctx, "status", "--address", "127.0.0.1:1"); err != nil {
		t.Errorf("stopped by Ctrl-C: %v", err)
	}
}

func TestWatchAsJSONHasALineEachTime(t *testing.T) {
	var out, errs strings.Builder
	if err := watched(t, newScreen(&out, &errs, true), true, `{"hubs":[]}`, errors.New("no answer"), `{"hubs":[]}`); err != nil {
		t.Fatal(err)
	}
	if out.String() != "{\"hubs\":[]}\n{\"hubs\":[]}\n" || errs.String() != "no answer\n" {
		t.Errorf("got %q, %q", out.String(), errs.String())
	}
}

func TestATerminalIsWrittenInPlaceAsFarAsItHasRoom(t *testing.T) {
	var out strings.Builder
	height := 0
	s := &screen{out: &out, place: true, height: func() int { return height }}
	for _, h := range []int{0, 24, 4} {
		height = h
		if err := s.show("1\n2\n3\n4\n"); err != nil {
			t.Fatal(err)
		}
	}
	all := "\x1b[H1\x1b[K\n2\x1b[K\n3\x1b[K\n4\x1b[K\n\x1b[J"
	if want := all + all + "\x1b[H1\x1b[K\n2\x1b[K\n(2 more lines; the terminal has no room)\x1b[K\n\x1b[J"; out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

func TestLongNamesAreCut(t *testing.T) {
	if got := cut(strings.Repeat("ü", 49)); got != strings.Repeat("ü", 45)+"..." {
		t.Errorf("got %s", got)
	}
	if got := cut(strings.Repeat("ü", 48)); got != strings.Repeat("ü", 48) {
		t.Errorf("got %s", got)
	}
}
