//go:build unix

package redissse

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// commandConfig is a Caddyfile as caddy fmt leaves it, but for its address and its Redis.
const commandConfig = `{
	admin off
	persist_config off
	auto_https off
	redis_sse {
		redis %s
	}
}

http://%s {
	redis_sse jobs {
		drain 30s %s
	}
}
`

func TestCaddyCommandsWorkWithoutRedis(t *testing.T) {
	text := fmt.Sprintf(commandConfig, "redis://127.0.0.1:1/0", "127.0.0.1:1", "5s")
	for command, want := range map[string]string{
		"validate --config Caddyfile":                     "Valid configuration",
		"adapt --config Caddyfile --validate":             `"redis_sse"`,
		"list-modules --skip-standard":                    "admin.api.redis_sse\nhttp.handlers.redis_sse\nhttp.handlers.redis_sse_health\nhttp.handlers.redis_sse_publish\nredis_sse\n",
		"fmt --diff Caddyfile":                            "",
		"validate --config Caddyfile --adapter caddyfile": "Valid configuration",
	} {
		stdout, stderr, err := runCaddy(t, text, strings.Fields(command)...)
		if err != nil || !strings.Contains(stdout, want) {
			t.Errorf("caddy %s: %v\n%s\n%s", command, err, stdout, stderr)
		}
	}
	if !bytes.Equal(caddyfile.Format([]byte(text)), []byte(text)) {
		t.Errorf("caddy fmt changes:\n%s", text)
	}
}

// What validate says of the routes it says to whom has asked, on the terminal.
func TestCaddyValidateTellsOfMistakesInTheRoutes(t *testing.T) {
	text := fmt.Sprintf(commandConfig, "redis://127.0.0.1:1/0", "127.0.0.1:1", "5s")
	text = strings.Replace(text, "\tredis_sse jobs {", "\trespond /jobs none\n\tredis_sse jobs {", 1)
	stdout, stderr, err := runCaddy(t, text, "validate", "--config", "Caddyfile")
	if err != nil || !strings.Contains(stdout, "Valid configuration") {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
	if strings.Count(stderr, "what stands behind it never runs") != 1 || !strings.Contains(stderr, `"instead":"redis_sse /events jobs"`) {
		t.Errorf("said:\n%s", stderr)
	}
}

func TestBadRedisURLsAreNamedWithoutTheirPassword(t *testing.T) {
	const password = "s3cr3t-word"
	t.Setenv("REDISSSE_TEST_URL", "http://user:"+password+"@127.0.0.1:1/0")
	for redis, want := range map[string]string{
		"{env.REDISSSE_TEST_UNSET}":                                "env.REDISSSE_TEST_UNSET",
		"redis://:" + password + "@{env.REDISSSE_TEST_UNSET}:6379": "env.REDISSSE_TEST_UNSET",
		"{env.REDISSSE_TEST_URL}":                                  "redis {env.REDISSSE_TEST_URL}: the scheme is none of",
		"http://user:" + password + "@127.0.0.1:1/0":               "the scheme is none of",
		"redis://user:" + password + "@127.0.0.1:port/0":           "the port is no number",
		"redis://:" + password + "%zz@127.0.0.1:1/0":               "percent-encoded",
		"redis://:" + password + "@127.0.0.1:1/database":           "the path is no number of a database",
		"redis://:" + password + "@127.0.0.1:1/0?no_such_option=1": "an option behind the ? is unknown",
		"redis://:" + password + "@127.0.0.1:1/0?pool_size=two":    "pool_size",
		password + "@127.0.0.1:1":                                  "the scheme is missing",
		"127.0.0.1:1 " + password:                                  "one URL, without spaces",
		"redis://127.0.0.1:1:" + password:                          "more than one colon",
		"redis:" + password:                                        "the scheme is missing",
	} {
		for _, command := range []string{"validate", "run"} {
			stdout, stderr, err := runCaddy(t, fmt.Sprintf(commandConfig, redis, "127.0.0.1:1", "5s"), command, "--config", "Caddyfile")
			var status *exec.ExitError
			if !errors.As(err, &status) {
				t.Errorf("caddy %s with redis %s: %v", command, redis, err)
			}
			said := stdout + stderr
			if !strings.Contains(said, want) {
				t.Errorf("caddy %s with redis %s does not name %q:\n%s", command, redis, want, said)
			}
			if strings.Contains(said, password) {
				t.Errorf("caddy %s with redis %s tells the password:\n%s", command, redis, said)
			}
		}
	}
}
