package redissse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// The golden files have the format of Caddy's own adapt tests: a Caddyfile, a
// line of ten dashes, and the JSON it becomes or a part of the error.
//
//	UPDATE_GOLDEN=1 go test -run TestAdaptGolden .
//
// writes what adapt says now; read the diff.
const (
	adaptFiles     = "testdata/adapt/*.caddyfiletest"
	adaptSeparator = "----------\n"
)

func adapt(input string) (config []byte, err error) {
	config, _, err = caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
	return config, err
}

// adaptGolden calls use with each golden file of adapt.
func adaptGolden(t *testing.T, use func(t *testing.T, file, input, want string)) {
	t.Helper()
	goldenFiles(t, adaptFiles, use)
}

// goldenFiles calls use with each of the files.
func goldenFiles(t *testing.T, pattern string, use func(t *testing.T, file, input, want string)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(text), adaptSeparator)
			if !ok {
				t.Fatalf("%s has no line of ten dashes", file)
			}
			use(t, file, input, strings.TrimSpace(want))
		})
	}
}

func adaptFails(want string) bool { return !strings.HasPrefix(want, "{") }

func TestAdaptGolden(t *testing.T) {
	adaptGolden(t, func(t *testing.T, file, input, want string) {
		config, err := adapt(input)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, config, "", "\t"); err != nil {
				t.Fatal(err)
			}
			got = pretty.String()
		}
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(file, []byte(input+adaptSeparator+got+"\n"), 0o666); err != nil {
				t.Fatal(err)
			}
			return
		}
		switch {
		case want == "":
			t.Fatalf("%s expects nothing; adapt gives:\n%s", file, got)
		case adaptFails(want) && err == nil:
			t.Errorf("%s adapts, want the error:\n%s\ngot:\n%s", file, want, got)
		case adaptFails(want) && !strings.Contains(got, want), !adaptFails(want) && got != want:
			t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
		}
	})
}

func TestAdaptErrorsNameLineKeyAndValue(t *testing.T) {
	inHandler := func(line string) (string, int) {
		return ":8080 {\n\tredis_sse news {\n\t\t" + line + "\n\t}\n}\n", 3
	}
	inHealth := func(line string) (string, int) {
		return ":8080 {\n\tredis_sse_health /ready {\n\t\t" + line + "\n\t}\n}\n", 3
	}
	inHub := func(line string) (string, int) {
		return "{\n\tredis_sse {\n\t\t" + line + "\n\t}\n}\n", 3
	}
	inBuffer := func(line string) (string, int) {
		return "{\n\tredis_sse {\n\t\tbuffer {\n\t\t\t" + line + "\n\t\t}\n\t}\n}\n", 4
	}
	type place = func(string) (string, int)
	for _, test := range []struct {
		where  string
		within place
		lines  []string
	}{
		// The error must carry every word of the line, but that last and since
		// name themselves.
		{"handler", inHandler, []string{
			"heartbeat soon", "heartbeat -1s", "heartbeat 0", "heartbeat 0s", "heartbeat 15", `heartbeat ""`,
			"retry soon", "retry -2s", "retry 0s",
			"open_timeout soon", "open_timeout -2s", "open_timeout 0",
			"stall_timeout soon", "stall_timeout -10s", "stall_timeout 0",
			"max_stream_age soon", "max_stream_age -1h", "max_stream_age 0",
			"drain soon", "drain 30s soon", "drain -1s", "drain 30s -1s",
			"from yesterday", "from last", "from last 0", "from last -1", "from last many", "from last 10000001", "from last 1 2",
			"from since", "from since 0s", "from since -1m", "from since noon", "from start live", "from live 1",
			"event name", "event field", "event none channel", "event channel 1",
			"gap_event open", "gap_event error", "gap_event message", "cursor_event open", "cursor_event error", "cursor_event message",
			"gap_event " + strings.Repeat("g", 65), "cursor_event " + strings.Repeat("c", 65),
			"gap_event cursor", "cursor_event gap",
			"channel __redis_sse:probe",
			"pattern", `pattern ""`, "pattern __redis_sse:*", "pattern job:{http.auth.user.id}:*",
			"max_streams_per {http.auth.user.id} many", "max_streams_per {http.auth.user.id} 0",
			"max_streams_per {http.auth.user.id} 5 64", "max_streams_per {http.auth.user.id} 5 /", "max_streams_per {http.auth.user.id} 5 /0",
			"max_streams_per {http.auth.user.id} 5 /-1", "max_streams_per {http.auth.user.id} 5 /much",
		}},
		{"health", inHealth, []string{
			"mode", "mode lax", "mode ready strict", "hub", "start_grace soon", "start_grace 0", "start_grace -1s", "start_grace", "grace",
		}},
		{"hub", inHub, []string{
			"linger soon", "linger -1s",
			"ping_interval soon", "ping_interval 0", "ping_interval -1s",
			"dead_after soon", "dead_after 0",
			"probe_interval soon", "probe_interval 0", "probe_interval -1s",
			"reconnect_min soon", "reconnect_min 0", "reconnect_max soon", "reconnect_max 0",
			"redis 127.0.0.1", "redis http://127.0.0.1",
			"keep", `keep ""`, "keep __redis_sse:*", "keep job:{env.APP}:*", "keep {http.auth.user.id}",
		}},
		{"buffer", inBuffer, []string{
			"messages many", "messages 0", "messages -1", "messages 1.5", "messages 10000001",
			"max_age soon", "max_age 0", "max_age -1s",
			"channel_size much", "channel_size 0", "channel_size -1", "channel_size 1XiB", "channel_size 99999999999999999999",
			"total_size much", "total_size 0", "total_size -1", "total_size 1XiB", "total_size 99999999999999999999",
			"max_message much", "max_message 0", "max_message -1", "max_message 1XiB", "max_message 99999999999999999999",
			"max_channels many", "max_channels 0", "max_channels -1", "max_channels 1.5", "max_channels 10000001",
		}},
	} {
		for _, line := range test.lines {
			t.Run(test.where+": "+line, func(t *testing.T) {
				input, number := test.within(line)
				config, err := adapt(input)
				if err == nil {
					t.Fatalf("it adapts: %s", config)
				}
				for word := range strings.FieldsSeq(strings.TrimPrefix(line, "from ")) {
					word = strings.Trim(word, `"`)
					isURL := strings.HasPrefix(line, "redis ") && word != "redis" // or a password
					if strings.Contains(err.Error(), word) == isURL {
						t.Errorf("the error does not name %q, or does as it is the value of redis: %v", word, err)
					}
				}
				adaptLine(t, err, number)
			})
		}
	}
}

// adaptLine wants an error at the line.
func adaptLine(t *testing.T, err error, number int) {
	t.Helper()
	var file string
	var line int
	i := strings.LastIndex(err.Error(), "at Caddyfile:")
	if i < 0 {
		t.Fatalf("the error has no line: %v", err)
	}
	if _, scanErr := fmt.Sscanf(err.Error()[i:], "at %9s:%d", &file, &line); scanErr != nil {
		t.Fatalf("the error has no line: %v", err)
	}
	if line != number {
		t.Errorf("the error is at line %d, want %d: %v", line, number, err)
	}
}

func TestAdaptValuesOutOfRange(t *testing.T) {
	for _, test := range []struct{ input, key, value string }{
		{"heartbeat 60s", "heartbeat", "1m"},
		{"heartbeat 1h", "heartbeat", "1h"},
		{"heartbeat 1us", "heartbeat", "1µs"},
		{"retry 1us", "retry", "1µs"},
		{"retry 601s", "retry", "10m1s"},
		{"open_timeout 61s", "open_timeout", "1m1s"},
		{"stall_timeout 99ms", "stall_timeout", "99ms"},
		{"stall_timeout 601s", "stall_timeout", "10m1s"},
		{"max_stream_age 999ms", "max_stream_age", "999ms"},
		{"max_stream_age 366d", "max_stream_age", "366d"},
		{"drain 3601s", "drain", "1h0m1s"},
		{"drain 1s 3601s", "drain", "1h0m1s"},
		{"hub: ping_interval 99ms", "ping_interval", "99ms"},
		{"hub: ping_interval 11s", "ping_interval", "11s"},
		{"hub: dead_after 1999ms", "dead_after", "1.999s"},
		{"hub: dead_after 61s", "dead_after", "1m1s"},
		{"hub: probe_interval 999ms", "probe_interval", "999ms"},
		{"hub: probe_interval 61s", "probe_interval", "1m1s"},
		{"hub: reconnect_min 9ms", "reconnect_min", "9ms"},
		{"hub: reconnect_min 61s", "reconnect_min", "1m1s"},
		{"hub: reconnect_max 999ms", "reconnect_max", "999ms"},
		{"hub: reconnect_max 601s", "reconnect_max", "10m1s"},
		{"hub: buffer {\nmax_age 999ms\n}", "max_age", "999ms"},
		{"hub: buffer {\nmax_age 8761h\n}", "max_age", "8761h"},
		{"hub: buffer {\nchannel_size 4095\n}", "channel_size", "4095"},
		{"hub: buffer {\nchannel_size 1025GiB\n}", "channel_size", "1100585369600"},
		{"hub: buffer {\ntotal_size 65535\n}", "total_size", "65535"},
		{"hub: buffer {\ntotal_size 1025GiB\n}", "total_size", "1100585369600"},
		{"hub: buffer {\nmax_message 536870913\n}", "max_message", "536870913"},
		{"hub: buffer {\nmax_channels 10000001\n}", "max_channels", "10000001"},
	} {
		t.Run(strings.ReplaceAll(test.input, "\n", " "), func(t *testing.T) {
			option, ofHub := strings.CutPrefix(test.input, "hub: ")
			input := ":8080 {\n\tredis_sse news {\n" + option + "\n}\n}\n"
			if ofHub {
				input = "{\n\tredis_sse queue {\n" + option + "\nlinger 1m\n}\n}\n"
			}
			_, err := adapt(input)
			if err == nil {
				t.Fatal("it adapts")
			}
			if part := test.key + " is " + test.value + ","; !strings.Contains(err.Error(), part) {
				t.Errorf("the error does not say %q: %v", part, err)
			}
			adaptLine(t, err, 3+strings.Count(option, "{"))
		})
	}
}

// Limits are inclusive, and a Caddyfile can say every value that JSON can.
func TestAdaptValuesAtTheLimits(t *testing.T) {
	for _, option := range []string{
		"heartbeat 1ms", "heartbeat 59999ms", "retry 1ms", "retry 10m", "open_timeout 1ms", "open_timeout 1m",
		"stall_timeout 100ms", "stall_timeout 10m", "max_stream_age 1s", "max_stream_age 365d", "drain 0", "drain 0 0", "drain 1h 1h", "from last 10000000",
		"channel /slash @at *star", "channel {http.request.uri.path.1}", "event field a b", "gap_event " + strings.Repeat("g", 64),
		"hub: linger 0", "hub: linger 1d", "hub: ping_interval 100ms", "hub: ping_interval 4s", "hub: dead_after 2s", "hub: dead_after 1m",
		"hub: probe_interval 1s", "hub: probe_interval 1m",
		"hub: reconnect_min 10ms", "hub: reconnect_min 1m", "hub: reconnect_max 1s", "hub: reconnect_max 10m",
		"hub: buffer {\nmessages 1\nmax_age 1s\nchannel_size 4KiB\n}", "hub: buffer {\nmessages 10000000\nmax_age 365d\nchannel_size 1TiB\n}",
		"hub: buffer {\ntotal_size 64KiB\nmax_message 1\nmax_channels 1\n}", "hub: buffer {\ntotal_size 1TiB\nmax_message 512MiB\nmax_channels 10000000\n}",
		"pattern *", "pattern " + strings.Repeat("p", maxChannel), "pattern {a} [{]a.b} []", "hub: keep *", "hub: keep " + strings.Repeat("p", maxChannel),
		"hub: buffer", "hub: redis unix:///run/redis.sock", "hub: redis rediss://user:secret@redis.example:6380/3",
	} {
		t.Run(strings.ReplaceAll(option, "\n", " "), func(t *testing.T) {
			input := ":8080 {\n\tredis_sse news {\n" + option + "\n}\n}\n"
			if hub, ok := strings.CutPrefix(option, "hub: "); ok {
				input = "{\n\tredis_sse {\n" + hub + "\n}\n}\n:8080 {\n\tredis_sse news\n}\n"
			}
			config, err := adapt(input)
			if err != nil {
				t.Fatal(err)
			}
			adaptValidate(t, config)
		})
	}
}

// adaptQuiet is the rest of a configuration for tests: no admin endpoint, no
// log, no certificate.
const adaptQuiet = `"admin":{"disabled":true},"logging":{"logs":{"default":{"writer":{"output":"discard"}}}}`

// adaptLoad turns JSON, as "adapt" or somebody writes it, into what Validate takes.
func adaptLoad(t *testing.T, config []byte) *caddy.Config {
	t.Helper()
	quiet := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON([]byte("{"+adaptQuiet+"}"), quiet); err != nil {
		t.Fatal(err)
	}
	loaded := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON(config, loaded); err != nil {
		t.Fatal(err)
	}
	loaded.Admin, loaded.Logging = quiet.Admin, quiet.Logging
	return loaded
}

// adaptValidate is "caddy validate".
func adaptValidate(t *testing.T, config []byte) {
	t.Helper()
	if err := caddy.Validate(adaptLoad(t, config)); err != nil {
		t.Errorf("it adapts, but does not provision: %v\n%s", err, config)
	}
}

// adaptDead is a Redis that is down: nothing listens on port 1 of loopback.
const adaptDead = "redis://127.0.0.1:1/0"

func TestWhatAdaptsAlsoProvisions(t *testing.T) {
	for _, name := range []string{"ANALYTICS_REDIS_URL", "REDIS_URL"} {
		t.Setenv(name, adaptDead)
	}
	adaptGolden(t, func(t *testing.T, _, input, want string) {
		if adaptFails(want) {
			t.Skip("does not adapt")
		}
		config, err := adapt(input)
		if err != nil {
			t.Fatal(err)
		}
		adaptValidate(t, config)
	})
}

// What a handler says about itself can be checked as it is adapted.
func TestWhatDoesNotProvisionDoesNotAdapt(t *testing.T) {
	for name, option := range map[string]string{
		"Redis URL of another scheme": "redis http://127.0.0.1:6379",
		"Redis URL without a scheme":  "redis 127.0.0.1:6379",
		"bad database":                "redis redis://127.0.0.1:6379/zero",
		"channel over 1 KiB":          "channel " + strings.Repeat("c", maxChannel+1),
		"empty channel":               `channel ""`,
		"reserved channel":            "channel __redis_sse:probe:1",
		"pattern over 1 KiB":          "pattern " + strings.Repeat("p", maxChannel+1),
		"empty pattern":               `pattern ""`,
		"reserved pattern":            "pattern __redis_sse:*",
		"placeholder in a pattern":    "pattern job:{http.auth.user.id}:*",
		"hub and redis":               "hub default\nredis " + adaptDead,
	} {
		t.Run(name, func(t *testing.T) {
			config, err := adapt(":8080 {\nredis_sse news {\n" + option + "\n}\n}\n")
			if err != nil {
				return
			}
			if err := caddy.Validate(adaptLoad(t, config)); err != nil {
				t.Errorf("it adapts, and provisioning fails: %v", err)
			} else {
				t.Errorf("it provisions: %s", config)
			}
		})
	}
}

// What docs/security.md says to set is a configuration.
func TestTheConfigurationOfTheSecurityPageIsValid(t *testing.T) {
	text, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```caddyfile\n")
	block, _, found := strings.Cut(block, "```")
	config, err := adapt(block)
	if !found || err != nil {
		t.Fatalf("%q: %v", block, err)
	}
	adaptValidate(t, config)
}
