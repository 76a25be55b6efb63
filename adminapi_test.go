package redissse

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// adminAPI serves the admin API's routes as Caddy's admin endpoint does, for a gateway in this process.
type adminAPI struct {
	t      *testing.T
	server *httptest.Server
}

func newAdminAPI(t *testing.T) *adminAPI {
	t.Helper()
	return newAdminAPIWithin(t, 0)
}

// newAdminAPIWithin is one that gives a request that long to be read.
func newAdminAPIWithin(t *testing.T, timeout time.Duration) *adminAPI {
	t.Helper()
	mux := http.NewServeMux()
	for _, route := range (Admin{}).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) { handleAdmin(w, route.Handler.ServeHTTP(w, r)) })
	}
	a := &adminAPI{t, httptest.NewUnstartedServer(mux)}
	a.server.Config.ReadTimeout = timeout
	a.server.Start()
	t.Cleanup(a.server.Close)
	return a
}

func handleAdmin(w http.ResponseWriter, err error) {
	if err == nil {
		return
	}
	failed, ok := errors.AsType[caddy.APIError](err)
	if !ok {
		failed = caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err}
	}
	failed.Message = failed.Err.Error()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(failed.HTTPStatus)
	_ = json.NewEncoder(w).Encode(failed)
}

type adminAnswer struct {
	code   int
	header http.Header
	body   string
}

func (a adminAnswer) String() string { return fmt.Sprintf("%d %s", a.code, strings.TrimSpace(a.body)) }

func (a *adminAPI) ask(method, target string) adminAnswer { return a.send(method, target, "") }

func (a *adminAPI) send(method, target, body string) adminAnswer {
	a.t.Helper()
	request, err := http.NewRequest(method, a.server.URL+target, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	response, err := a.server.Client().Do(request)
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return adminAnswer{response.StatusCode, response.Header, string(text)}
}

// post is the body of a POST, which must be answered with 200.
func (a *adminAPI) post(target string) string {
	a.t.Helper()
	got := a.ask(http.MethodPost, target)
	if got.code != http.StatusOK {
		a.t.Errorf("POST %s: %v", target, got)
	}
	return strings.TrimSpace(got.body)
}

// read reads the answer to a GET, which must have exactly the fields of to.
func (a *adminAPI) read(target string, to any) {
	a.t.Helper()
	got := a.ask(http.MethodGet, target)
	decoder := json.NewDecoder(strings.NewReader(got.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(to); err != nil || got.code != http.StatusOK {
		a.t.Fatalf("GET %s: %v, %v", target, err, got)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Content-Type": "application/json", "X-Content-Type-Options": "nosniff",
	} {
		if is := got.header.Get(name); is != want {
			a.t.Errorf("GET %s has %s %q, want %q", target, name, is, want)
		}
	}
}
