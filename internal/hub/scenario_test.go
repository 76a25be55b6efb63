package hub

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub/hubtest"
)

var rewrite = flag.Bool("rewrite", false, "write what the hub does into testdata/*.txt and the page that shows these files")

// TestScenarios plays the transcripts of testdata: comments, commands, and
// indented below each command what came of it. They are the specification for
// who reads; scenarioCommands says what there is to say in one.
//
//	go test ./internal/hub -run TestScenarios -rewrite
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d transcripts: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			lines, err := parseTranscript(file, string(text))
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) { newScene(t).play(lines) })
			if !*rewrite || t.Failed() {
				return
			}
			if err := os.WriteFile(file, []byte(writeTranscript(lines)), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("on the page", scenariosOnThePage) // last: the files are as they are now
}

// Each reason for a gap has a transcript, at least one.
func TestScenariosHaveAllGapReasons(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, reason := range GapReasons {
		if !strings.Contains(all.String(), " "+string(reason)+" after=") {
			t.Errorf("no transcript has a gap %s", reason)
		}
	}
}

// transcriptLine is a line of a transcript with what stands below it.
type transcriptLine struct {
	at      string // file:line
	text    string
	command string   // text without its comment; empty for a line that only is one
	below   []string // what came of it
}

// parseTranscript takes a transcript apart. What is indented came of the
// command above.
func parseTranscript(file, text string) (lines []transcriptLine, err error) {
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		at := fmt.Sprintf("%s:%d", file, i+1)
		if result := strings.TrimLeft(line, " \t"); result != line && result != "" {
			if len(lines) == 0 || lines[len(lines)-1].command == "" {
				return nil, fmt.Errorf("%s: an indented line without a command above it", at)
			}
			last := &lines[len(lines)-1]
			last.below = append(last.below, result)
			continue
		}
		command, _, _ := strings.Cut(line, "  #")
		if strings.HasPrefix(line, "#") {
			command = ""
		}
		lines = append(lines, transcriptLine{at: at, text: strings.TrimRight(line, " \t"), command: strings.TrimSpace(command)})
	}
	return lines, nil
}

func writeTranscript(lines []transcriptLine) string {
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintln(&b, line.text)
		for _, result := range line.below {
			fmt.Fprintln(&b, "    "+result)
		}
	}
	return b.String()
}

func TestBadTranscriptsAreToldWithTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		"# x\n    y\n":                    "bad.txt:2: an indented line without a command above it",
		"\npublisch a 1\n":                `bad.txt:2: there is no command "publisch a 1"`,
		"publish a\n":                     `bad.txt:1: "a": publish <channel> <payload>`,
		"open s1\n":                       `bad.txt:1: "s1": open ` + openUsage,
		"open s1 channels=a cursor=s2\n":  "bad.txt:1: s2 is no id such as 0-1-A-0, and no stream",
		"keep jobs:*\n":                   `bad.txt:1: pattern "jobs:*" is none of`,
		"read s1\n":                       `bad.txt:1: there is no stream s1`,
		"open s1 chanels=a\n":             `bad.txt:1: no option "chanels=a": `,
		"hub reads\n":                     `bad.txt:1: "step by step" comes first`,
		"node B: time passes 1s\n":        `bad.txt:1: "time passes" is of all nodes`,
		"limits messages=many\n":          `bad.txt:1: messages: `,
		"open s1 channels=a\nrestart x\n": `bad.txt:2: "x": restart`,
	} {
		synctest.Test(t, func(t *testing.T) {
			lines, err := parseTranscript("bad.txt", text)
			for i, s := 0, newScene(t); err == nil && i < len(lines); i++ {
				_, err = s.do(lines[i])
			}
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%q: %v, want %s", text, err, want)
			}
		})
	}
}

// scene is what a transcript plays on: nodes on one Redis, and clients.
type scene struct {
	t       *testing.T
	nodes   []*sceneNode
	clients map[string]*sceneClient
	waiting []*sceneClient // for Redis to confirm all
	ids     sceneIDs
	results []string // of the command at hand
}

// sceneNode is a hub and the Redis that it sees.
type sceneNode struct {
	*world
	scene    *scene
	name     string
	lives    int
	bounds   Bounds // as last configured
	kept     []string
	stepwise bool // the transcript says when the hub writes and reads
	sound    Mark // where Redis was last found to be well
}

// sceneClient is a client, which keeps the last id that it was sent.
type sceneClient struct {
	name               string
	node               *sceneNode
	channels, patterns []string
	stream             *Stream // nil while it is away
	wake               *Waiter
	at                 Start
	began              bool
	most               int   // events, after which it is cut
	timeout            int64 // when it begins although Redis has not confirmed all, monotonic milliseconds
	last               string
}

// scenePatterns are those that a transcript may subscribe to, in the order in
// which Redis sends copies. Redis does send "odd" messages of other channels,
// if the transcript says so.
var scenePatterns = []string{"job:*", "*", "job:[12]", "odd"}

// The defaults of the buffer option and linger.
var sceneBounds = Bounds{
	Limits: Limits{Messages: 10_000, Bytes: 4 << 20, Message: 1 << 20, MaxAge: (15 * time.Minute).Milliseconds()},
	Budget: Budget{Bytes: 256 << 20, Channels: 100_000},
	Linger: 5 * time.Minute,
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, clients: map[string]*sceneClient{}, ids: newSceneIDs()}
	s.node("A")
	return s
}

// node returns the node of that name, a new one if there is none.
func (s *scene) node(name string) *sceneNode {
	for _, n := range s.nodes {
		if n.name == name {
			return n
		}
	}
	n := &sceneNode{scene: s, name: name, bounds: sceneBounds}
	n.begin()
	s.nodes = append(s.nodes, n)
	return n
}

// begin begins a life of the node, in which it remembers nothing of the one
// before.
func (n *sceneNode) begin() {
	n.world = newWorld(n.scene.t, n.bounds.Limits)
	n.redis = hubtest.New(scenePatterns...)
	n.hub.Configure(n.bounds, n.kept)
	n.sound = n.hub.Complete()
	n.lives++
	name := n.name
	if n.lives > 1 {
		name += fmt.Sprint(n.lives)
	}
	n.scene.ids.born(name, n.hub)
	n.connected()
}

// connected does what a connection begins with.
func (n *sceneNode) connected() {
	if n.stepwise {
		return
	}
	n.ping()
	n.settle()
}

// play plays a transcript and compares what comes of it.
func (s *scene) play(lines []transcriptLine) {
	for i := range lines {
		line := &lines[i]
		got, err := s.do(*line)
		switch {
		case err != nil:
			s.t.Fatal(err)
		case *rewrite:
			line.below = got
		case !slices.Equal(got, line.below):
			s.t.Fatalf("%s: %s\ngives\n    %s\nwant\n    %s\n(-rewrite writes what it gives into the file)",
				line.at, line.command, strings.Join(got, "\n    "), strings.Join(line.below, "\n    "))
		}
	}
}

// do plays one line.
func (s *scene) do(line transcriptLine) (results []string, err error) {
	if line.command == "" {
		return nil, nil
	}
	s.results = nil
	if err := s.dispatch(line.command); err != nil {
		return nil, fmt.Errorf("%s: %w", line.at, err)
	}
	for _, n := range s.nodes {
		if !n.stepwise {
			n.settle()
		}
	}
	s.beginAll()
	return s.results, nil
}

func (s *scene) result(format string, args ...any) {
	s.results = append(s.results, fmt.Sprintf(format, args...))
}

// dispatch finds the command and who it is for.
func (s *scene) dispatch(text string) error {
	n, of := s.nodes[0], ""
	if rest, ok := strings.CutPrefix(text, "node "); ok {
		if of, text, ok = strings.Cut(rest, ": "); !ok || len(of) != 1 || of < "A" || of > "Z" {
			return fmt.Errorf("%q: node <A-Z>: <command>", rest)
		}
	}
	var best sceneCommand
	for _, c := range sceneCommands() {
		if rest, ok := strings.CutPrefix(text, c.name); ok && (rest == "" || rest[0] == ' ') && len(c.name) > len(best.name) {
			best = c
		}
	}
	if best.name == "" {
		return fmt.Errorf("there is no command %q", text)
	}
	if of != "" {
		if best.ofAll {
			return fmt.Errorf("%q is of all nodes", best.name)
		}
		n = s.node(of)
	}
	rest := strings.TrimSpace(strings.TrimPrefix(text, best.name))
	if best.usage == "" && rest != "" {
		return fmt.Errorf("%q: %s", rest, best.name)
	}
	err := best.run(n, rest)
	if err == errUsage {
		return fmt.Errorf("%q: %s %s", cmp.Or(rest, text), best.name, best.usage)
	}
	return err
}
