package redissse

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// Each line that is wrong says why, in words that are ours.
func TestWhatIsWrongWithARedisURL(t *testing.T) {
	for text, want := range map[string]error{
		"127.0.0.1:6379":              errURLNoScheme,
		"localhost":                   errURLNoScheme,
		"redis:hunter2":               errURLNoScheme,
		"host:6379 hunter2":           errURLNoScheme,
		"://127.0.0.1":                errURLScheme,
		"http://127.0.0.1":            errURLScheme,
		"REDIS://127.0.0.1":           errURLScheme,
		"redis://127.0.0.1\r:6379":    errURLControl,
		"redis://h1:6379,h2:6379":     errURLHosts,
		"redis://h1,h2":               errURLHosts,
		"redis://h:99999":             errURLPort,
		"redis://h:0":                 errURLPort,
		"redis://h:-1":                errURLPort,
		"redis://:hunter2":            errURLPort,
		"redis://user:hunter2":        errURLPort,
		"redis://:12345":              errURLNoHost,
		"redis://h:6379:hunter2":      errURLColons,
		"redis://::1":                 errURLColons,
		"redis://[::1]6379":           errURLHost,
		"redis://[h]:6379":            errURLHost,
		"redis://[1.2.3.4]":           errURLHost,
		"redis://[::1":                errURLColons,
		"redis://h:6379 hunter2":      errURLPort,
		"redis://h hunter2":           errURLHost,
		"redis://h/hunter2":           errURLDatabase,
		"redis://h/0/hunter2":         errURLDatabase,
		"redis://:hunter2%@h":         errURLReserved,
		"redis://:hunter2/2@h":        errURLReserved,
		"redis://:hunter2?2@h":        errURLReserved,
		"redis://:hunter2#2@h":        errURLReserved,
		"redis://h/0?hunter2=1":       errURLOptions,
		"redis://h/0?a=1;hunter2":     errURLOptions,
		"unix://run/redis.sock":       errURLSocket,
		"unix://":                     errURLSocket,
		"unix:///%zz":                 errURLSocket,
		"unix://:hunter2/2@/run/sock": errURLReserved,
	} {
		if _, err := readRedisURL(text); !errors.Is(err, want) {
			t.Errorf("%q: %v, want: %v", text, err, want)
		}
	}
	if _, err := readRedisURL("redis://h/0?nonsense=1&dial_timeout=soon"); err == nil || !strings.Contains(err.Error(), `"dial_timeout"`) {
		t.Errorf("an option without a valid value: %v", err)
	}
}

func TestRedisURLsThatAreRight(t *testing.T) {
	for text, want := range map[string][4]string{ // network, address, user, password
		"":                                {"tcp", "127.0.0.1:6379", "", ""},
		"redis://":                        {"tcp", "localhost:6379", "", ""},
		" redis://h ":                     {"tcp", "h:6379", "", ""},
		"redis://h_1.example-2:1/0":       {"tcp", "h_1.example-2:1", "", ""},
		"redis://@h/":                     {"tcp", "h:6379", "", ""},
		"redis://[::1]:1":                 {"tcp", "[::1]:1", "", ""},
		"redis://[fe80::1%25eth0]":        {"tcp", "[fe80::1%eth0]:6379", "", ""},
		"rediss://u:p%2F@h/15?db=3":       {"tcp", "h:6379", "u", "p/"},
		"redis://u:a@b@h":                 {"tcp", "h:6379", "u", "a@b"},
		"redis://default@h":               {"tcp", "h:6379", "default", ""},
		"redis://alice@h":                 {"tcp", "h:6379", "alice", anyPassword},
		"redis://alice:@h":                {"tcp", "h:6379", "alice", anyPassword},
		"unix:///run/redis@main/r.sock":   {"unix", "/run/redis@main/r.sock", "", ""},
		"unix:///run/redis%40m/r%20%231":  {"unix", "/run/redis@m/r #1", "", ""},
		"unix://u:p@/run/a@b.sock?db=1":   {"unix", "/run/a@b.sock", "u", "p"},
		"redis://h?dial_timeout=1s&db=12": {"tcp", "h:6379", "", ""},
	} {
		at, err := readRedisURL(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		o := at.options
		if got := [4]string{o.Network, o.Addr, o.Username, o.Password}; got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// A secret's file has a line end and holds the password as it is. A URL's file holds a URL.
func TestPasswordsFromFilesAreTakenAsTheyAre(t *testing.T) {
	const password = `a/b@c:d%2F?#{e} f\"` + "\té"
	file := filepath.Join(t.TempDir(), "secret")
	for text, content := range map[string]string{
		"redis://:{file.%s}@h":                                        password + "\n",
		"redis://u:{file.%s}@h":                                       password + "\r\n",
		"redis://{env.URL_HOST}:{file.%s}@h":                          password,
		"{env.URL_SCHEME}://:{file.%s}@{env.URL_HOST}:1/{env.URL_DB}": password,
	} {
		t.Setenv("URL_HOST", "h")
		t.Setenv("URL_DB", "3")
		t.Setenv("URL_SCHEME", "redis")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		at, err := readRedisURL(fmt.Sprintf(text, file))
		if err != nil || at.options.Password != password || at.literal {
			t.Errorf("%q: %+v, %v", text, at, err)
		}
	}
	if err := os.WriteFile(file, []byte("redis://u:a%2Fb@h\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if at, err := readRedisURL("{file." + file + "}"); err != nil || at.options.Password != "a/b" || at.literal {
		t.Errorf("a URL's file: %+v, %v", at, err)
	}
	t.Setenv("URL_CREDENTIALS", "u:a%2Fb")
	if at, err := readRedisURL("redis://{env.URL_CREDENTIALS}@h"); err != nil || at.options.Username != "u" || at.options.Password != "a/b" {
		t.Errorf("user and password in one: %+v, %v", at, err)
	}
}

func TestRedisURLErrorsKeepThePassword(t *testing.T) {
	for name, text := range map[string]string{
		"another scheme":             "http://user:hunter2@127.0.0.1",
		"no scheme":                  "user:hunter2@127.0.0.1:6379",
		"no scheme, no user":         ":hunter2@127.0.0.1:6379",
		"database is a word":         "redis://user:hunter2@127.0.0.1/zero",
		"path of several parts":      "redis://user:hunter2@127.0.0.1/0/1",
		"unknown option":             "redis://user:hunter2@127.0.0.1/?nonsense=1",
		"bad option":                 "redis://user:hunter2@127.0.0.1/?dial_timeout=soon",
		"bad port":                   "redis://user:hunter2@127.0.0.1:port",
		"bad escape in the host":     "redis://user:hunter2@%zz",
		"bad escape in the password": "redis://user:hunter2%zz@127.0.0.1",
		"only a bad escape":          "redis://user:%hu@127.0.0.1",
		"space":                      "redis://user:hunter2 @127.0.0.1",
		"control character":          "redis://user:hunter2\n@127.0.0.1",
		"two at signs":               "redis://user:x@hunter2@127.0.0.1/zero",
		"slash in the password":      "redis://:hunter2/x@127.0.0.1",
		"hash in the password":       "redis://:hunter2#x@127.0.0.1",
		"question mark":              "redis://:hunter2?x@127.0.0.1",
		"at sign and slash":          "redis://:x@y/hunter2@127.0.0.1",
		"one slash":                  "redis:/user:hunter2@127.0.0.1",
		"three slashes":              "redis:///user:hunter2@127.0.0.1",
		"unix without a path":        "unix://user:hunter2@",
		"password as an option":      "redis://127.0.0.1/?password=hunter2",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readRedisURL(text)
			if err == nil {
				t.Fatalf("%q is accepted", text)
			}
			for _, secret := range []string{"hunter2", "%hu"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error for %q tells the password: %v", text, err)
				}
			}
		})
	}
}

func TestRedisURLPlaceholders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REQ_REDIS_HOST", "redis.example:6380")
	t.Setenv("REQ_REDIS_EMPTY", "")
	t.Setenv("REQ_REDIS_BAD", "http://user:hunter2@127.0.0.1")

	at, err := readRedisURL("redis://app:{file." + file + "}@{env.REQ_REDIS_HOST}/2")
	o := at.options
	if err != nil || o.Addr != "redis.example:6380" || o.Username != "app" || o.Password != "hunter2" {
		t.Errorf("options = %+v, %v", o, err)
	}
	for text, want := range map[string]string{
		"{env.REQ_REDIS_UNSET}":                                  "env.REQ_REDIS_UNSET",
		"{env.REQ_REDIS_EMPTY}":                                  "env.REQ_REDIS_EMPTY",
		"redis://app:hunter2@{env.REQ_REDIS_UNSET}":              "env.REQ_REDIS_UNSET",
		"redis://app:{env.REQ_REDIS_UNSET}@127.0.0.1":            "env.REQ_REDIS_UNSET",
		"redis://app:hunter2@127.0.0.1/{file." + file + ".none}": file + ".none",
		"redis://app:{hunter2}@127.0.0.1":                        "brace",
		"redis://app:hunter2}@127.0.0.1":                         "brace",
		"{env.REQ_REDIS_BAD}":                                    "{env.REQ_REDIS_BAD}: the scheme",
	} {
		t.Run(text, func(t *testing.T) {
			_, err := readRedisURL(text)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error = %v, want one that names %s and not the password", err, want)
			}
		})
	}
}

// urlSecret is a password that stands where it should not.
const urlSecret = "s3cr3t"

// brokenURLs are what people write, each with the secret at each of its places.
var brokenURLs = []string{
	"", "redis", "redis:", "redis:/", "redis://", "redis://:", "redis://h:6379", "redis://h:6379:", "h:6379 ", ":@h", "redis://u:@h", "redis://:@h:6379/0?db=1",
	"rediss://u:p@h1,h2:6379", "http://u:p@h/0", "unix://", "unix:///run/r.sock?db=x", "redis://[::1]:6379", "redis://u:%zz@h", "redis://u:p#@h", "redis://u:p/@h",
	"redis://u:p?a=b@h", "redis://h?dial_timeout=x&y=z", "redis://{x}@h", "redis://:{@h", "redis://:}@h", "redis://h:99999", "redis://h\r:1", "redis://h/0/1",
}

// anyURL calls use with each broken URL, the secret at each of its places.
func anyURL(use func(text string)) {
	for _, text := range brokenURLs {
		for i := range len(text) + 1 {
			use(text[:i] + urlSecret + text[i:])
		}
	}
}

func TestNoErrorAboutARedisURLTellsASecret(t *testing.T) {
	wrong := 0
	tells := func(where, text string, err error) {
		if err == nil {
			return
		}
		wrong++
		if strings.Contains(err.Error(), urlSecret) {
			t.Errorf("%s with %q: %v", where, text, err)
		}
	}
	anyURL(func(text string) {
		_, err := readRedisURL(text)
		tells("reading", text, err)
		t.Setenv("URL_SECRET", text)
		_, err = readRedisURL("{env.URL_SECRET}")
		tells("reading what is in the environment", text, err)
		if !strings.ContainsAny(text, "{}#") { // these are the Caddyfile's own
			_, err = adapt("{\nredis_sse {\nredis " + text + "\n}\n}\n")
			tells("adapting", text, err)
			_, err = adapt(":80 {\nredis_sse news {\nredis " + text + "\n}\n}\n")
			tells("adapting", text, err)
			_, err = adapt("{\nredis_sse " + text + " {\n}\n}\n")
			tells("adapting it as a name", text, urlInIt(text, err))
		}
	})
	if wrong < 1000 {
		t.Errorf("only %d errors", wrong)
	}
	for _, text := range []string{"redis redis://:" + urlSecret + " " + urlSecret, "redis", "redis redis://:\n" + urlSecret + "@h", "redis `redis://:\n" + urlSecret + "@h`"} {
		_, err := adapt("{\nredis_sse {\n" + text + "\n}\n}\n")
		tells("adapting", text, err)
		_, err = adapt(":80 {\nredis_sse_publish news {\n" + text + "\n}\n}\n")
		tells("adapting", text, err)
	}
}

// urlInIt is an error about a name that is a URL: a name may be told.
func urlInIt(text string, err error) error {
	if strings.Contains(text, "://") || strings.Contains(text, " ") {
		return err
	}
	return nil
}

// What Caddy says and logs as it loads a configuration, at the level debug, has no secret in it.
func TestNoLogOfLoadingTellsASecret(t *testing.T) {
	gatewayLogs.reset()
	quoted := func(text string) string {
		b, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	validate := func(redis string) error {
		config := new(caddy.Config)
		news := `{"handler":"redis_sse","channels":["news"]}`
		text := `{"logging":{"logs":{"default":{"level":"DEBUG","writer":{"output":"gateway_test"}}}},"admin":{"disabled":true,"config":{"persist":false}},` +
			string(validateServer(news, `{"hubs":{"default":{"redis":`+quoted(redis)+`}}}`))[1:]
		if err := caddy.StrictUnmarshalJSON([]byte(text), config); err != nil {
			t.Fatal(err)
		}
		return caddy.Validate(config)
	}
	anyURL(func(text string) {
		at, err := readRedisURL(text)
		if err == nil && !strings.Contains(at.options.Password, urlSecret) {
			return // it is no secret there
		}
		if err = validate(text); err != nil && strings.Contains(err.Error(), urlSecret) {
			t.Errorf("loading with %q: %v", text, err)
		}
	})
	if log := gatewayLogs.text(); strings.Contains(log, urlSecret) {
		t.Errorf("a secret is in the log:\n%s", log)
	}
	gatewayLogs.reset()
	t.Setenv("URL_SECRET", urlSecret)
	for text, warns := range map[string]bool{
		"redis://u:" + urlSecret + "@127.0.0.1:1": true,
		"redis://u:x{env.URL_SECRET}@127.0.0.1:1": true,
		"redis://u:{env.URL_SECRET}@127.0.0.1:1":  false,
		"redis://u:@127.0.0.1:1":                  false,
		"redis://127.0.0.1:1":                     false,
		"{env.URL_WHOLE}":                         false,
	} {
		t.Setenv("URL_WHOLE", "redis://u:"+urlSecret+"@127.0.0.1:1")
		gatewayLogs.reset()
		if err := validate(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		log := gatewayLogs.text()
		if warned := strings.Contains(log, "a redis password stands in the configuration"); warned != warns {
			t.Errorf("%s: warned %v, want %v", text, warned, warns)
		}
		if strings.Contains(log, urlSecret) {
			t.Errorf("%s: a secret is in the log:\n%s", text, log)
		}
	}
}

// The option trace of a server's logs has Caddy log each handler with all its fields.
func TestATraceOfAHandlerHasNoURL(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	const url = "redis://:" + urlSecret + "@127.0.0.1:1"
	for _, handler := range []any{&Handler{Redis: url, Channels: []string{"news"}}, &PublishHandler{Redis: url, Channel: "news"}} {
		zap.New(core).Debug("trace", zap.Any("module", handler))
	}
	for _, entry := range logs.All() {
		if fields := fmt.Sprint(entry.ContextMap()); strings.Contains(fields, urlSecret) || !strings.Contains(fields, "route") {
			t.Errorf("logged as %s", fields)
		}
	}
}

// A server that does not know AUTH repeats its arguments.
func TestARefusalThatRepeatsThePasswordIsNotRepeated(t *testing.T) {
	fake := startFakeRedis(t)
	fake.set(func() {
		fake.says = map[string]string{}
		for _, name := range []string{"HELLO", "AUTH"} {
			fake.says[name] = "-ERR unknown command '" + name + "', with args beginning with: '" + urlSecret + "'\r\n"
		}
	})
	routes := "route /publish {\nredis_sse_publish news\n}\n" + outageRoutes
	g := newGateway(t)
	g.loadConfig("debug\n"+hubAt("redis://:"+urlSecret+"@"+fake.ln.Addr().String(), quickHub), routes)
	g.waitLog("no redis connection")
	answer := ssetest.Do(t, g.client, g.URL("/publish"), ssetest.WithMethod("POST"))
	if body, err := io.ReadAll(answer.Body); err != nil || strings.Contains(string(body), urlSecret) {
		t.Errorf("answered %s, %v", body, err)
	}
	g.stop()
	log := gatewayLogs.text()
	if !strings.Contains(log, "xxxxx") {
		t.Errorf("nothing is logged:\n%s", log)
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, urlSecret) {
			t.Errorf("the password is in the log: %s", line)
		}
	}
}

// A user without a password is who connects, not the user default.
func TestAUserWithoutAPasswordIsWhoConnects(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "alice", "on", "nopass", "~*", "&*", "+@all")
	server.Do("ACL", "SETUSER", "bob", "on", ">his password", "~*", "&*", "+@all")
	server.Do("ACL", "SETUSER", "default", "-subscribe")
	for _, user := range []string{"alice@", "alice:@"} {
		g := startGateway(t, "redis://"+user+server.Addr(), quickHub, outageRoutes)
		s := g.opened("/a")
		server.Publish("a", "hello")
		resumeMessages(t, s, "hello")
		if clients := server.Do("CLIENT", "LIST", "TYPE", "pubsub").(string); !strings.Contains(clients, "user=alice") {
			t.Errorf("%s: who listens is %s", user, clients)
		}
		g.stop()
	}
	g := startGateway(t, "redis://bob@"+server.Addr(), quickHub, outageRoutes)
	g.waitLog("WRONGPASS") // not as somebody else
}
