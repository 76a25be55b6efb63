package redissse

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/resp"
)

// toldHealth is an answer of redis_sse_health, as docs/reference.md has it.
type toldHealth struct {
	code   int
	header http.Header
	Status string `json:"status"`
	Hubs   []struct {
		Name      string     `json:"name"`
		Connected bool       `json:"connected"`
		Since     *time.Time `json:"since"`
		Proved    bool       `json:"proved"`
		Ready     bool       `json:"ready"`
	} `json:"hubs"`
}

func (h toldHealth) String() string { return fmt.Sprintf("%d %s", h.code, h.Status) }

func readHealth(t *testing.T, code int, header http.Header, body []byte) (told toldHealth) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&told); err != nil {
		t.Fatalf("status %d, %v in %q", code, err, body)
	}
	told.code, told.header = code, header
	return told
}

// health asks a path of the gateway.
func (g *gateway) health(path string) toldHealth {
	g.t.Helper()
	response, err := g.client.Get(g.URL(path))
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return readHealth(g.t, response.StatusCode, response.Header, body)
}

// awaitHealth returns when the answer is this one.
func (g *gateway) awaitHealth(path, want string) {
	g.t.Helper()
	g.wait(path+" to be "+want, func() bool { return g.health(path).String() == want })
}

const healthRoutes = `
	redis_sse_health /ready {
		start_grace 10m
	}
	redis_sse_health /strict {
		mode strict
	}
`

// patientHub tries Redis often, and is slow to find it dead: nothing here takes it for dead by mistake.
const patientHub = "reconnect_min 10ms\nreconnect_max 100ms\n"

// A balancer sends clients from the first confirmation on, and no outage makes it send them away again.
func TestReadyIsFromTheFirstConfirmationOnAndStrictWhileDeliveryIsProved(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	g := startGateway(t, server.URL(), patientHub+"keep job:*", healthRoutes)
	for path, want := range map[string]string{"/ready": "503 starting", "/strict": "503 unproved"} {
		if is := g.health(path); is.String() != want || len(is.Hubs) != 1 || is.Hubs[0].Connected || is.Hubs[0].Ready {
			t.Errorf("before Redis is there, %s is %v, %+v", path, is, is.Hubs)
		}
	}
	server.Restart()
	g.awaitHealth("/ready", "200 ready")
	g.awaitHealth("/strict", "200 proved")
	since := g.health("/ready").Hubs[0].Since
	server.Kill()
	g.awaitHealth("/strict", "503 unproved")
	is := g.health("/ready")
	if is.String() != "200 ready" || is.Hubs[0].Connected || is.Hubs[0].Proved || is.Hubs[0].Since == nil || is.Hubs[0].Since.Before(*since) {
		t.Errorf("in an outage, it is %v, %+v, and was connected since %v", is, is.Hubs, since)
	}
	server.Restart()
	g.awaitHealth("/strict", "200 proved")
}

// What a hub has been told outlives the configuration. One that a reload brings begins anew.
func TestAReloadKeepsWhatIsReadyAndWaitsForWhatIsNew(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), patientHub, healthRoutes)
	g.awaitHealth("/ready", "200 ready")
	server.Kill()
	g.wait("the outage", func() bool { return !g.health("/ready").Hubs[0].Connected })
	g.load(server.URL(), patientHub+"keep job:*", "header X-Generation 2"+healthRoutes)
	g.awaitGeneration("2")
	if is := g.health("/ready"); is.String() != "200 ready" {
		t.Errorf("after a reload in an outage it is %v", is)
	}
	other := redistest.Start(t)
	other.Kill()
	g.loadConfig(hubAt(server.URL(), patientHub)+"\nredis_sse other {\nredis "+other.URL()+"\n"+patientHub+"}", "header X-Generation 3"+healthRoutes+`
		redis_sse_health /default default
		redis_sse_health /other other {
			hub other
			start_grace 10m
		}
	`)
	g.awaitGeneration("3")
	for path, want := range map[string]string{"/ready": "503 starting", "/default": "200 ready", "/other": "503 starting"} {
		is := g.health(path)
		if hubs := map[string]int{"/ready": 2}[path]; is.String() != want || len(is.Hubs) != max(1, hubs) {
			t.Errorf("with a new hub, %s is %v, %+v", path, is, is.Hubs)
		}
	}
	other.Restart()
	g.awaitHealth("/other", "200 ready")
}

// awaitGeneration returns once the configuration with that header answers: a connection of before may still get to
// the one that it has replaced.
func (g *gateway) awaitGeneration(n string) {
	g.t.Helper()
	g.wait("generation "+n, func() bool {
		g.client.CloseIdleConnections()
		return g.health("/ready").header.Get("X-Generation") == n
	})
}

func TestAHubIsReadyOnceItsKeptPatternsAreConfirmedOrDenied(t *testing.T) {
	r := redistest.Start(t)
	r.Do("ACL", "SETUSER", "limited", "on", ">pw", "resetchannels", "&job:*", "&__redis_sse:*", "+@all")
	g := startGateway(t, strings.Replace(r.URL(), "//", "//limited:pw@", 1), patientHub+"keep job:* forbidden:*", healthRoutes)
	g.awaitHealth("/ready", "200 ready")
	g.waitLog("redis refused a subscription")
}

// The order of Redis's answers, one at a time.
func TestNothingLessThanAllFirstAnswersMakesAHubReady(t *testing.T) {
	for name, denied := range map[string]bool{"confirmed": false, "denied": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ready := func() bool { return w.hub.subscriber.readiness.reached(time.Hour) }
			w.hub.memory.Configure(roomy, []string{"*"})
			judge := func(after string, want bool) {
				if t.Helper(); ready() != want {
					t.Errorf("after %s ready is %t", after, !want)
				}
			}
			judge("nothing", false)
			w.pong()
			judge("the PONG", false)
			w.gen.replies.Probe(w.hub.subscriber.prober.channel)
			if denied {
				if err := w.gen.errorReply(noPermission{}); err != nil {
					t.Fatal(err)
				}
			} else if err := w.gen.confirmed(resp.Reply{Kind: "subscribe", Channel: w.hub.subscriber.prober.channel}); err != nil {
				t.Fatal(err)
			}
			judge("the answer for the probe channel", false)
			kind, names := w.gen.replies.Next()
			if denied {
				if err := w.gen.errorReply(noPermission{}); err != nil {
					t.Fatal(err)
				}
			} else if err := w.gen.confirmed(resp.Reply{Kind: kind, Channel: names[0]}); err != nil {
				t.Fatal(err)
			}
			judge("the answer for the kept pattern", true)
			w.hub.memory.Lost(w.hub.memory.Complete())
			judge("an outage", true)
		})
	}
}

type noPermission struct{}

func (noPermission) Error() string { return "NOPERM this user has no permissions" }
func (noPermission) RedisError()   {}

func TestAHubWhoseRedisIsDownIsReadyAfterTheStartGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r readiness
		if time.Sleep(time.Hour); r.reached(time.Second) {
			t.Error("it is ready before it has started")
		}
		r.start()
		time.Sleep(defaultStartGrace - time.Nanosecond)
		if r.reached(defaultStartGrace) {
			t.Error("it is ready before its grace is over")
		}
		if time.Sleep(time.Nanosecond); !r.reached(defaultStartGrace) {
			t.Error("it is not ready when its grace is over")
		}
		if r.reached(2 * defaultStartGrace) {
			t.Error("it is ready before a longer grace is over")
		}
	})
}

func TestSinceIsWhenTheConnectionChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c contact
		if !c.since().IsZero() || c.Load() {
			t.Error("Redis was not tried, and there is an answer")
		}
		for _, answers := range []bool{false, true, false} {
			c.Store(answers)
			at := time.Now()
			time.Sleep(time.Second)
			if c.Store(answers); c.since() != at || c.Load() != answers {
				t.Errorf("%t since %v, want %v", c.Load(), c.since(), at)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestHealthIsTheWorstOfItsHubs(t *testing.T) {
	good, unproved, unready := hubHealth{Ready: true, Proved: true}, hubHealth{Ready: true}, hubHealth{Proved: true}
	for _, test := range []struct {
		hubs          []hubHealth
		exits         bool
		ready, strict healthStatus
	}{
		{nil, false, statusReady, statusProved},
		{[]hubHealth{good, good}, false, statusReady, statusProved},
		{[]hubHealth{good, unproved}, false, statusReady, statusUnproved},
		{[]hubHealth{unready, good}, false, statusStarting, statusProved},
		{[]hubHealth{good}, true, statusShuttingDown, statusShuttingDown},
		{nil, true, statusShuttingDown, statusShuttingDown},
	} {
		for mode, want := range map[healthMode]healthStatus{healthReady: test.ready, healthStrict: test.strict} {
			judged := judgeHealth(mode, test.exits, test.hubs)
			if judged.Status != want {
				t.Errorf("%v, exits %t, mode %s: %s, want %s", test.hubs, test.exits, mode, judged.Status, want)
			}
			w := httptest.NewRecorder()
			if err := judged.answer(w); err != nil {
				t.Fatal(err)
			}
			if ok := want == statusReady || want == statusProved; (w.Code == http.StatusOK) != ok || (w.Code == http.StatusServiceUnavailable) == ok {
				t.Errorf("%s is %d", want, w.Code)
			}
		}
	}
}

func TestHealthAnswersGETAndHEADAndKeepsNothingSecret(t *testing.T) {
	server := redistest.Start(t)
	secret := strings.Replace(server.URL(), "//", "//:hunter2@", 1)
	server.Do("CONFIG", "SET", "requirepass", "hunter2")
	g := startGateway(t, secret, patientHub, healthRoutes+"redis_sse /own news {\nredis "+secret+"\n}")
	g.awaitHealth("/ready", "200 ready")
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		request, err := http.NewRequest(method, g.URL("/ready"), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := g.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if method == http.MethodPost {
			if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("POST is %d, Allow %q", response.StatusCode, response.Header.Get("Allow"))
			}
			continue
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "Content-Type": "application/json", "X-Content-Type-Options": "nosniff",
		} {
			if response.StatusCode != http.StatusOK || response.Header.Get(name) != want {
				t.Errorf("%s is %d, %s %q", method, response.StatusCode, name, response.Header.Get(name))
			}
		}
		if (len(body) == 0) != (method == http.MethodHead) {
			t.Errorf("%s has the body %q", method, body)
		}
		if strings.Contains(string(body), "hunter2") || strings.Contains(string(body), server.Addr()) {
			t.Errorf("the body tells %q", body)
		}
	}
	// A hub without a name is there, without its address.
	if is := g.health("/ready"); len(is.Hubs) != 2 || is.Hubs[0].Name+is.Hubs[1].Name != defaultHub {
		t.Errorf("the hubs are %+v", is.Hubs)
	}
}

func TestHealthOfAHubThatIsNotDefinedFailsToLoad(t *testing.T) {
	g := newGateway(t)
	for _, test := range []struct{ routes, want string }{
		{"redis_sse_health /ready default nowhere", `hub "nowhere" is not defined`},
		{"redis_sse_health /ready default {\nhub nowhere\n}", `hub "nowhere" is not defined`},
		{"redis_sse_health /ready redis://127.0.0.1:1", errHubNameURL.Error()},
	} {
		if err := g.tryLoad(adaptDead, "", test.routes); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.routes, err)
		}
	}
}

// askAdmin asks the admin API's routes as Caddy would.
func askAdmin(t *testing.T, method, target string) (*httptest.ResponseRecorder, error) {
	t.Helper()
	request := httptest.NewRequest(method, target, nil)
	routes := Admin{}.Routes()
	i := slices.IndexFunc(routes, func(r caddy.AdminRoute) bool { return r.Pattern == request.URL.Path })
	if i < 0 {
		t.Fatalf("no route %s", request.URL.Path)
	}
	w := httptest.NewRecorder()
	return w, routes[i].Handler.ServeHTTP(w, request)
}

func adminHealthIs(t *testing.T, query string) toldHealth {
	t.Helper()
	w, err := askAdmin(t, http.MethodGet, "/redis_sse/health"+query)
	if err != nil {
		t.Fatal(err)
	}
	return readHealth(t, w.Code, w.Header(), w.Body.Bytes())
}

func TestTheAdminAPITellsTheHealthOfAllHubs(t *testing.T) {
	server := redistest.Start(t)
	g := newGateway(t)
	if is := adminHealthIs(t, ""); is.String() != "503 starting" || is.Hubs == nil {
		t.Errorf("before there is a configuration it is %v", is)
	}
	g.load(server.URL(), patientHub, "redis_sse news {\nredis "+server.URL()+"\ndrain 0s 0s\n}")
	g.wait("health", func() bool { return adminHealthIs(t, "?mode=strict").String() == "200 proved" })
	is := adminHealthIs(t, "")
	if is.String() != "200 ready" || len(is.Hubs) != 2 || is.Hubs[0].Name != server.Addr() || is.Hubs[1].Name != defaultHub {
		t.Errorf("it is %v, %+v", is, is.Hubs)
	}
	// A hub that only a stream of an earlier configuration holds is no configuration's any more.
	s, err := claimHub(hubKey{name: "left behind"}, &settings{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.release()
	if is := adminHealthIs(t, ""); len(is.Hubs) != 2 {
		t.Errorf("with a hub that nothing holds, the hubs are %+v", is.Hubs)
	}
	for _, test := range []struct {
		method, query string
		want          int
	}{{http.MethodPost, "", http.StatusMethodNotAllowed}, {http.MethodGet, "?mode=strictly", http.StatusBadRequest}} {
		_, err := askAdmin(t, test.method, "/redis_sse/health"+test.query)
		if is, ok := err.(caddy.APIError); !ok || is.HTTPStatus != test.want {
			t.Errorf("%s %s: %v, want %d", test.method, test.query, err, test.want)
		}
	}
}
