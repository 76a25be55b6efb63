package redissse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// The reference is read by its headings and tables; what it must say comes from the code.
const referenceFile = "docs/reference.md"

// The scopes of options: where in a Caddyfile they stand.
const (
	hubScope       = "hub"
	bufferScope    = "buffer"
	publisherScope = "publisher"
	handlerScope   = "handler"
	publishScope   = "publish"
	healthScope    = "health"
)

var referenceScopes = []string{hubScope, bufferScope, publisherScope, handlerScope, publishScope, healthScope}

var referenceHeadings = map[string]string{
	hubScope:       "## Global option `redis_sse`",
	bufferScope:    "### `buffer`",
	publisherScope: "### `publisher`",
	handlerScope:   "## Directive `redis_sse`",
	publishScope:   "## Directive `redis_sse_publish`",
	healthScope:    "## Directive `redis_sse_health`",
}

// markdownSection returns the lines of a file from a heading to the next one.
func markdownSection(t *testing.T, file, heading string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no heading %q", file, heading)
	}
	if end := strings.Index(section, "\n#"); end >= 0 {
		section = section[:end]
	}
	return strings.Split(section, "\n")
}

// referenceRow is a row of a table: its cells by the header's.
type referenceRow map[string]string

// referenceRows returns the rows of the tables under a heading whose first column is called first.
func referenceRows(t *testing.T, heading, first string) []referenceRow {
	t.Helper()
	var rows []referenceRow
	var header []string
	for _, line := range markdownSection(t, referenceFile, heading) {
		if !strings.HasPrefix(line, "|") {
			header = nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case header == nil:
			header = cells
		case len(cells) != len(header):
			t.Fatalf("%s: %d cells under a header of %d: %s", heading, len(cells), len(header), line)
		case header[0] == first && strings.Trim(line, "|- ") != "":
			row := referenceRow{}
			for i, cell := range cells {
				row[header[i]] = cell
			}
			rows = append(rows, row)
		}
	}
	if rows == nil {
		t.Fatalf("%s: no table %q", heading, first)
	}
	return rows
}

// code returns the texts between backticks.
func code(cell string) []string {
	var texts []string
	for i, part := range strings.Split(cell, "`") {
		if i%2 == 1 {
			texts = append(texts, part)
		}
	}
	return texts
}

// referenceOption is a documented option.
type referenceOption struct {
	scope, name string
	args        []string // the last is the one that default and limits are about
	json        string
	standard    string // the default; empty: none
	limits      string
	isValue     bool // not an option, but a row of the table of one option's values
}

func (o *referenceOption) String() string {
	return strings.Join(append([]string{o.scope + ":", o.name}, o.args...), " ")
}

func referenceOptions(t *testing.T) []*referenceOption {
	t.Helper()
	var options []*referenceOption
	for _, scope := range referenceScopes {
		for _, row := range referenceRows(t, referenceHeadings[scope], "option") {
			words := strings.Fields(strings.Trim(row["option"], "`"))
			standard := strings.Trim(row["default"], "`")
			if row["default"] == "none" || row["default"] == "off" || strings.HasPrefix(row["default"], "see ") { // `none` is a value
				standard = ""
			}
			options = append(options, &referenceOption{
				scope: scope, name: words[0], args: words[1:], json: strings.Trim(row["JSON"], "`"),
				standard: standard, limits: row["limits"],
			})
		}
	}
	return options
}

// sameWords compares what is documented with what there is, both ways.
func sameWords(t *testing.T, what string, documented, real []string) {
	t.Helper()
	for _, word := range real {
		if !slices.Contains(documented, word) {
			t.Errorf("%s %q is not in %s", what, word, referenceFile)
		}
	}
	for _, word := range documented {
		if !slices.Contains(real, word) {
			t.Errorf("%s %q is in %s and does not exist", what, word, referenceFile)
		}
	}
}

func TestTheReferenceHasTheOptionsOfTheGrammarAndNoOther(t *testing.T) {
	documented := map[string][]string{}
	for _, o := range referenceOptions(t) {
		documented[o.scope] = append(documented[o.scope], o.name)
	}
	sameWords(t, "hub option", documented[hubScope], new(Hub).block().names())
	sameWords(t, "buffer option", documented[bufferScope], new(Buffer).block().names())
	sameWords(t, "publisher option", documented[publisherScope], new(Publisher).block().names())
	sameWords(t, "handler option", documented[handlerScope], new(Handler).block().names())
	sameWords(t, "publish option", documented[publishScope], new(PublishHandler).block().names())
	sameWords(t, "health option", documented[healthScope], new(HealthHandler).block().names())
}

// jsonFields returns the paths of the JSON fields of a struct type: of the values, and of the objects they are in.
func jsonFields(t reflect.Type, prefix string) (values, objects []string) {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonFields(t.Elem(), prefix)
	case reflect.Map:
		return jsonFields(t.Elem(), prefix+".<hub>")
	case reflect.Struct:
	default:
		return []string{prefix}, nil
	}
	objects = []string{prefix}
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			continue
		}
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		v, o := jsonFields(t.Field(i).Type, prefix+"."+name)
		values, objects = append(values, v...), append(objects, o...)
	}
	return values, objects
}

// jsonPrefix is where the reference says that a scope's fields are.
func jsonPrefix(t *testing.T, scope string) string {
	t.Helper()
	if scope == bufferScope || scope == publisherScope {
		scope = hubScope
	}
	for _, line := range markdownSection(t, referenceFile, referenceHeadings[scope]) {
		if place, ok := strings.CutPrefix(line, "In JSON: "); ok {
			return strings.Trim(place, "`")
		}
	}
	t.Fatalf("%s does not say where the %s is in JSON", referenceFile, scope)
	return ""
}

func TestTheReferenceHasTheFieldsOfTheJSONAndNoOther(t *testing.T) {
	values, objects := jsonFields(reflect.TypeFor[App](), "apps."+string(App{}.CaddyModule().ID))
	for _, h := range []caddy.Module{Handler{}, PublishHandler{}, HealthHandler{}} {
		v, o := jsonFields(reflect.TypeOf(h), `{"handler": "`+h.CaddyModule().ID.Name()+`", ...}`)
		values, objects = append(values, v...), append(objects, o...)
	}
	var documented []string
	for _, option := range referenceOptions(t) {
		if field := jsonPrefix(t, option.scope) + "." + option.json; !slices.Contains(objects, field) {
			documented = append(documented, field)
		}
	}
	sameWords(t, "JSON field", documented, values)
}

// adapted is a configuration with one hub and one handler, as generic JSON and as the module reads it.
type adapted struct {
	generic map[string]map[string]any // by scope
	hub     *Hub
	handler *Handler
	publish *PublishHandler
	health  *HealthHandler
}

// adaptOption adapts a Caddyfile in which line stands in the scope.
func adaptOption(t *testing.T, scope, line string) (*adapted, error) {
	t.Helper()
	at := map[string]string{scope: line}
	if scope == bufferScope || scope == publisherScope {
		at[hubScope] = scope + " {\n" + line + "\n}"
	}
	channel := map[string]string{handlerScope: "news", publishScope: "news"}
	if strings.HasPrefix(line, "channel ") {
		channel[scope] = ""
	}
	const caddyfile = "{\nredis_sse {\n%s\n}\n}\n:8080 {\nroute {\nredis_sse %s {\n%s\n}\nredis_sse_publish %s {\n%s\n}\nredis_sse_health {\n%s\n}\n}\n}\n"
	config, err := adapt(fmt.Sprintf(caddyfile, at[hubScope], channel[handlerScope], at[handlerScope], channel[publishScope], at[publishScope], at[healthScope]))
	if err != nil {
		return nil, err
	}
	var parts struct {
		Apps struct {
			SSE struct {
				Hubs map[string]json.RawMessage `json:"hubs"`
			} `json:"redis_sse"`
			HTTP struct {
				Servers map[string]struct {
					Routes []struct {
						Handle []struct { // the directive "route"
							Routes []struct {
								Handle []json.RawMessage `json:"handle"`
							} `json:"routes"`
						} `json:"handle"`
					} `json:"routes"`
				} `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	a := &adapted{generic: map[string]map[string]any{}, hub: new(Hub), handler: new(Handler), publish: new(PublishHandler), health: new(HealthHandler)}
	unmarshal := func(text []byte, into ...any) {
		for _, v := range into {
			if err := json.Unmarshal(text, v); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
		}
	}
	unmarshal(config, &parts)
	var hub, handler, publish, health map[string]any
	unmarshal(parts.Apps.SSE.Hubs[defaultHub], &hub, a.hub)
	handlers := parts.Apps.HTTP.Servers["srv0"].Routes[0].Handle[0].Routes[0].Handle
	unmarshal(handlers[0], &handler, a.handler)
	unmarshal(handlers[1], &publish, a.publish)
	unmarshal(handlers[2], &health, a.health)
	a.generic[hubScope], a.generic[bufferScope], a.generic[publisherScope] = hub, hub, hub
	a.generic[handlerScope], a.generic[publishScope], a.generic[healthScope] = handler, publish, health
	return a, nil
}

// field digs a dotted path out of generic JSON; nil if it is not there.
func (a *adapted) field(scope, path string) any {
	var v any = a.generic[scope]
	for name := range strings.SplitSeq(path, ".") {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

// resolved prints what the code makes of the configuration.
func (a *adapted) resolved(t *testing.T) string {
	t.Helper()
	s, err := a.hub.resolve()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.handler.resolve(); err != nil {
		t.Fatal(err)
	}
	if err := a.publish.resolve(); err != nil {
		t.Fatal(err)
	}
	if err := a.health.resolve(); err != nil {
		t.Fatal(err)
	}
	redis := fmt.Sprint(s.redis.Network, s.redis.Addr, s.redis.Username, s.redis.Password)
	hub := *s
	hub.redis = nil
	var handler bytes.Buffer
	h := reflect.ValueOf(a.handler).Elem()
	for i := range h.NumField() {
		if field := h.Type().Field(i); !field.IsExported() && field.Type.Kind() != reflect.Pointer {
			fmt.Fprintf(&handler, " %s:%v", field.Name, h.Field(i))
		}
	}
	return fmt.Sprintf("%s %+v%s drain:%v/%v max_size:%d health:%v/%v", redis, hub, handler.String(),
		a.handler.drain.reload, a.handler.drain.exit, a.publish.maxSize, a.health.mode, a.health.grace)
}
