//go:build browser && linux

package browsertest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/browsers"
	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// joint is a Caddyfile of the README, and the streams that it has.
type joint struct {
	heading string              // of its section
	streams map[string][]string // the channels that a path is of
	site    string              // all of the Caddyfile where the block is not: %s is the block
}

const (
	globalOptions = "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n\t"
	globalRedis   = globalOptions + "redis_sse {\n\t\tredis {env.REDIS_URL}\n\t}\n}\n"
	password      = "secret"
	passwordHash  = "$2a$14$B4fAmSWyDZVX/nb6JgHz1eNmb2soSIf7GSaip2BHqIL6gKJbcFwWK" // as in examples/publish
)

var joints = []joint{
	{"Your first stream", map[string][]string{"/events": {"news"}}, globalRedis + "%s"},
	{"Use it", map[string][]string{"/events": {"news"}, "/me/events": {"user:42", "notice:all"}}, "%s"},
	{"Publish over HTTP", map[string][]string{"/events": {"news"}},
		globalRedis + "http://localhost:8088 {\nredis_sse /events news\n%s}\n"},
}

// fencedBlock is one of the README: its heading, language and code.
var fencedBlock = regexp.MustCompile("(?ms)^#+ ([^\n]*)$|^```(\\w+)\n(.*?)^```$")

// readme returns the text, and its blocks in a language by heading.
func readme(t *testing.T, lang string) (text string, blocks map[string]string) {
	t.Helper()
	return document(t, "README.md", lang)
}

// listeners are the blocks that a page may listen by: the README's, and the one that does without its client.
func listeners(t *testing.T) map[string]string {
	t.Helper()
	_, short := readme(t, "js")
	_, long := document(t, "docs/clients.md", "js")
	return map[string]string{"client": short["Listen"], "EventSource": long["EventSource"]}
}

// document is readme for any document.
func document(t *testing.T, file, lang string) (text string, blocks map[string]string) {
	t.Helper()
	all, err := os.ReadFile(filepath.Join("../..", file))
	if err != nil {
		t.Fatal(err)
	}
	heading, blocks := "", map[string]string{}
	for _, found := range fencedBlock.FindAllStringSubmatch(string(all), -1) {
		switch {
		case found[1] != "":
			heading = found[1]
		case found[2] == lang && blocks[heading] != "":
			t.Fatalf("there are two blocks in %s under %q", lang, heading)
		case found[2] == lang:
			blocks[heading] = found[3]
		}
	}
	return string(all), blocks
}

// typedPublish is a line that the README has somebody type.
var typedPublish = regexp.MustCompile(`(?m)^ *(redis-cli PUBLISH (\S+) (?:'(.*)'|(\S+)))$`)

// Each Caddyfile of the README goes with its page: what the README has somebody publish is on it, as it is.
func TestTheBlocksOfTheReadmeFitTogether(t *testing.T) {
	_, blocks := readme(t, "caddyfile")
	for heading := range blocks {
		if !slices.ContainsFunc(joints, func(j joint) bool { return j.heading == heading }) {
			t.Errorf("nothing joins the Caddyfile under %q with a page", heading)
		}
	}
	inBoth(t, func(t *testing.T, b browser) {
		for _, j := range joints {
			t.Run(j.heading, func(t *testing.T) {
				t.Parallel()
				s := newReadmeSite(t, b, j)
				pages, want := map[string][]*page{}, map[string][]string{}
				for path, channels := range j.streams {
					for by := range s.listeners {
						p := s.open(path, by)
						p.awaitType("refetch", 1) // it is open
						pages[path] = append(pages[path], p)
					}
					s.awaitSubscribed(channels)
				}
				for _, typed := range s.publishAll() {
					for path, channels := range j.streams {
						if slices.Contains(channels, typed.channel) {
							want[path] = append(want[path], typed.payload)
						}
					}
				}
				for path, all := range pages {
					for _, p := range all {
						p.applies(want[path])
					}
				}
			})
		}
	})
}

// Who is no longer signed in is sent to do so: what is answered with such a status, or led to a page, cannot come back.
func TestThePageOfTheReadmeGivesUpWhereItIsDenied(t *testing.T) {
	inBoth(t, func(t *testing.T, b browser) {
		s := newReadmeSite(t, b, joints[1])
		for by := range s.listeners {
			for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusFound} {
				s.denies.Store(0)
				p := s.open("/me/events", by)
				p.awaitType("refetch", 1) // it is open
				s.denies.Store(int32(status))
				s.proxy.Reset()
				p.awaitType("signIn", 1)
				p.close()
			}
		}
	})
}

// inBoth runs a subtest in each browser.
func inBoth(t *testing.T, test func(t *testing.T, b browser)) {
	t.Parallel()
	for name, start := range map[string]func() (browser, error){
		(*chromium)(nil).Name(): func() (browser, error) { return browsers.OneChromium() },
		(*firefox)(nil).Name():  func() (browser, error) { return browsers.OneFirefox() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := start()
			if err != nil {
				t.Fatal(err)
			}
			test(t, b)
		})
	}
}

// readmeSite is a Caddyfile of the README that runs, before an app that has the README's page and knows one user, by a cookie.
type readmeSite struct {
	t         *testing.T
	browser   browser
	redis     *redistest.Server
	addr      string
	proxy     *redistest.Proxy // what browsers connect to
	collector *collector
	listeners map[string]string // the blocks for a page
	denies    atomic.Int32      // what the app answers when it is asked who somebody is; 0 if it knows
}

func newReadmeSite(t *testing.T, b browser, j joint) *readmeSite {
	t.Helper()
	s := &readmeSite{t: t, browser: b, redis: redistest.Start(t), addr: proctest.FreeAddr(t), collector: newCollector(t)}
	app := httptest.NewServer(http.HandlerFunc(s.app))
	t.Cleanup(app.Close)
	s.listeners = listeners(t)
	dir := t.TempDir()
	text := j.caddyfile(t, "http://"+s.addr, strings.TrimPrefix(app.URL, "http://"))
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(proctest.Caddy(t), "run")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir,
		"REDIS_URL="+s.redis.URL(), "PUBLISH_HASH="+passwordHash)
	proctest.Start(t, cmd).AwaitListening(t, s.addr)
	s.proxy = redistest.NewProxy(t, s.addr)
	return s
}

// caddyfile is all of it, for another site and app.
func (j joint) caddyfile(t *testing.T, site, app string) string {
	t.Helper()
	_, blocks := readme(t, "caddyfile")
	text := fmt.Sprintf(j.site, blocks[j.heading])
	if !strings.Contains(text, "admin off") { // it has global options of its own
		text = strings.Replace(text, "{\n", globalOptions, 1)
	}
	text = strings.NewReplacer("http://localhost:8088", site, "example.com", site, "127.0.0.1:8000", app).Replace(text)
	if end := strings.LastIndex(text, "}\n"); !strings.Contains(text, "reverse_proxy") { // the page has to come from somewhere
		text = text[:end] + "reverse_proxy " + app + "\n}\n"
	}
	return text
}

func (s *readmeSite) app(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/auth":
		s.answer(w, r)
	case "/report.js":
		http.ServeFile(w, r, "page/report.js")
	case clientPath:
		http.ServeFile(w, r, filepath.Join(clientDir, clientPath))
	case "/login":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprint(w, "<!doctype html><title>Sign in</title>")
	default:
		s.page(w, r.URL.Query().Get("path"), r.URL.Query().Get("by"))
	}
}

// answer says who somebody is.
func (s *readmeSite) answer(w http.ResponseWriter, r *http.Request) {
	status := int(s.denies.Load())
	switch {
	case status == http.StatusFound:
		w.Header().Set("Location", "/login")
	case status == 0 && !strings.Contains(r.Header.Get("Cookie"), "login=yes"):
		status = http.StatusUnauthorized
	case status == 0:
		w.Header().Set("X-User-Id", "42")
		status = http.StatusNoContent
	}
	w.WriteHeader(status)
}

// page is one with one of the blocks, for a stream, and with what the block leaves to the page.
func (s *readmeSite) page(w http.ResponseWriter, path, by string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Set-Cookie", "login=yes; Path=/")
	_, _ = fmt.Fprintf(w, `<!doctype html><script src="/report.js"></script><script>
addEventListener('error', (e) => report({ type: 'failed', data: e.message }));
const apply = (text) => report({ type: 'apply', data: text });
const refetch = (gap) => report({ type: 'refetch', data: JSON.stringify(gap) });
const signIn = () => report({ type: 'signIn' });
</script><script type="module">
%s</script>`, strings.Replace(s.listeners[by], `"/events"`, strconv.Quote(path), 1))
}

// open opens the page of a stream in a tab, which listens by one of the blocks.
func (s *readmeSite) open(path, by string) *page {
	s.t.Helper()
	g := &gateway{t: s.t, collector: s.collector}
	return g.tab(s.browser, "http://"+s.proxy.Addr()+"/", url.Values{"path": {path}, "by": {by}})
}

// awaitSubscribed returns when what is published on the channels reaches the gateway.
func (s *readmeSite) awaitSubscribed(channels []string) {
	s.t.Helper()
	for _, channel := range channels {
		proctest.Poll(s.t, channel+" to be subscribed", func() bool { return s.redis.NumSub(channel) > 0 })
	}
}

// typed is what was published.
type typed struct{ channel, payload string }

// publishAll types all that the README has, and posts where it has who may publish so.
func (s *readmeSite) publishAll() (all []typed) {
	s.t.Helper()
	text, _ := readme(s.t, "caddyfile")
	path := s.redis.CLI()
	for _, found := range typedPublish.FindAllStringSubmatch(text, -1) {
		cmd := exec.Command("sh", "-c", found[1])
		cmd.Env = append(os.Environ(), path)
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("%s: %v\n%s", found[1], err, out)
		}
		all = append(all, typed{found[2], found[3] + found[4]})
	}
	if text := "by HTTP"; s.posts(text) {
		all = append(all, typed{"news", text})
	}
	return all
}

// posts tells whether the site publishes what is posted to it, and not the app's page.
func (s *readmeSite) posts(text string) bool {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodPost, "http://"+s.addr+"/publish/news", strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	request.SetBasicAuth("app", password)
	s.t.Cleanup(http.DefaultClient.CloseIdleConnections)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.Header.Get("Content-Type") == "application/json"
}

// applies wants the page to apply these texts, and nothing to fail on it.
func (p *page) applies(want []string) {
	p.t.Helper()
	var got []string
	p.await(fmt.Sprintf("%d messages to be applied", len(want)), func(events []event) bool {
		got = nil
		for _, e := range events {
			if e.Type == "apply" {
				got = append(got, e.Data)
			}
		}
		return len(got) >= len(want) || count(events, "failed") > 0
	})
	if !slices.Equal(got, want) || len(want) == 0 {
		p.t.Errorf("the page applied %q, want %q\n%s", got, want, told(p.events(), p.visits()))
	}
}
