package hub

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sceneCommand is what a transcript can say.
type sceneCommand struct {
	name  string
	usage string // what comes after the name; empty for nothing
	ofAll bool   // of all nodes; the others are of node A, or after "node B: " of that one
	run   func(n *sceneNode, rest string) error
}

var (
	errUsage       = errors.New("not as it is used")
	errNotStepwise = errors.New(`"step by step" comes first`)
)

const openUsage = `<stream> [channels=a,b] [patterns=job:*] [from=live|start|last:<n>|since:<duration>] [since=<duration>]
	[cursor=<id>|<stream>|"<text>"] [cut=<n>]`

// sceneCommands are all that a transcript can say. Unless it goes "step by
// step", the hub writes and reads all there is after each command.
func sceneCommands() []sceneCommand {
	return []sceneCommand{
		// Clients. A stream opens once all is confirmed, or after 2 s, with a cursor and what there is. since= is a
		// client's own ?since=, a time counted from the beginning; cursor= the id that it brings, that of another
		// client, or any text; with cut= the client is cut after so many events.
		{"open", openUsage, false, (*sceneNode).open},
		{"resume", "<stream> [channels=a,b] [patterns=job:*] [cut=<n>]", false, (*sceneNode).resume}, // with the last id it had
		{"read", "<stream>", true, func(n *sceneNode, rest string) error { return n.reading(rest, false) }},
		{"heartbeat", "<stream>", true, func(n *sceneNode, rest string) error { return n.reading(rest, true) }},
		{"cut", "<stream> [after <n>]", true, (*sceneNode).cut}, // after n more events, or none

		// Publishers. 1..9 are nine messages, <9 bytes> is one of that size.
		{"publish", "<channel> <payload>", true, (*sceneNode).publishing},

		// Redis and what it sends.
		{"redis goes away", "", false, func(n *sceneNode, _ string) error { n.down(); return nil }},
		{"redis is back", "", false, func(n *sceneNode, _ string) error { n.redis.Up = true; n.connected(); return nil }},
		{"redis is found well", "", false, func(n *sceneNode, _ string) error { n.sound = n.hub.Complete(); return nil }},
		{"redis turns out not to be the master", "", false, (*sceneNode).demoted}, // since it was found well, perhaps; it goes away
		{"redis sends", "<channel> <payload> [of <pattern>]", false, (*sceneNode).sends},
		{"deny", "<channel or pattern>...", false, func(n *sceneNode, rest string) error { return n.deny(rest, true) }},
		{"allow", "<channel or pattern>...", false, func(n *sceneNode, rest string) error { return n.deny(rest, false) }},

		// The connection, step by step.
		{"step by step", "", false, func(n *sceneNode, _ string) error { n.stepwise = true; return nil }},
		{"at once", "", false, func(n *sceneNode, _ string) error { n.stepwise = false; return nil }},
		{"hub writes", "", false, (*sceneNode).writes},
		{"hub pings", "", false, func(n *sceneNode, _ string) error { n.ping(); return nil }},
		{"hub reads", "[<n>]", false, (*sceneNode).reads},

		// The configuration, the process, the clock.
		{"limits", "messages= channel_size= max_message= max_age= total_size= max_channels= linger=", false, (*sceneNode).limits},
		{"keep", "<pattern>...|nothing", false, (*sceneNode).keeps},
		{"restart", "", false, (*sceneNode).restart},
		{"time passes", "<duration>", true, (*sceneNode).timePasses}, // PINGs are answered each second
		{"ids in full", "", true, func(n *sceneNode, _ string) error { n.scene.ids.full = true; return nil }},
	}
}

// sceneOptions takes key=value apart from what comes before.
func sceneOptions(rest string, keys ...string) (words []string, options map[string]string, err error) {
	options = map[string]string{}
	for _, word := range strings.Fields(rest) {
		key, value, ok := strings.Cut(word, "=")
		switch {
		case !ok && len(options) == 0:
			words = append(words, word)
		case !ok || !slices.Contains(keys, key) || value == "":
			return nil, nil, fmt.Errorf("no option %q: %s", word, strings.Join(keys, ", "))
		default:
			options[key] = value
		}
	}
	return words, options, nil
}

// sceneKnows returns an error unless the transcript's Redis knows all patterns.
func sceneKnows(patterns []string) error {
	for _, p := range patterns {
		if !slices.Contains(scenePatterns, p) {
			return fmt.Errorf("pattern %q is none of %q", p, scenePatterns)
		}
	}
	return nil
}

func sceneList(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func (n *sceneNode) open(rest string) error {
	words, options, err := sceneOptions(rest, "channels", "patterns", "from", "since", "cursor", "cut")
	if err != nil {
		return err
	}
	if len(words) != 1 || options["channels"] == "" && options["patterns"] == "" {
		return errUsage
	}
	at, err := n.start(options)
	if err != nil {
		return err
	}
	c := n.scene.clients[words[0]]
	if c == nil {
		c = &sceneClient{name: words[0]}
		n.scene.clients[c.name] = c
	}
	c.channels, c.patterns = sceneList(options["channels"]), sceneList(options["patterns"])
	return c.join(n, at, options["cut"])
}

// start returns where the options have a stream begin.
func (n *sceneNode) start(options map[string]string) (at Start, err error) {
	mode, value, _ := strings.Cut(options["from"], ":")
	switch mode {
	case "", "live":
	case "start":
		at = FromStart()
	case "last":
		var count int
		count, err = strconv.Atoi(value)
		at = FromLast(count)
	case "since":
		var ago time.Duration
		ago, err = time.ParseDuration(value)
		at = SinceAgo(ago)
	default:
		err = fmt.Errorf("from=%s", options["from"])
	}
	if since := options["since"]; since != "" && err == nil {
		var after time.Duration
		after, err = time.ParseDuration(since)
		at = SinceTime(n.scene.ids.began.Add(after).UnixMilli())
	}
	if id := options["cursor"]; id != "" && err == nil {
		if id, err = n.scene.cursor(id); err == nil {
			at = ResumeAt(id)
		}
	}
	return at, err
}

// cursor returns the id that a client brings.
func (s *scene) cursor(text string) (string, error) {
	if other := s.clients[text]; other != nil {
		return other.last, nil
	}
	if verbatim, err := strconv.Unquote(text); err == nil {
		return verbatim, nil
	}
	return s.ids.long(text)
}

func (n *sceneNode) resume(rest string) error {
	words, options, err := sceneOptions(rest, "channels", "patterns", "cut")
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return errUsage
	}
	c := n.scene.clients[words[0]]
	if c == nil || c.last == "" {
		return fmt.Errorf("%s has no id to come back with", words[0])
	}
	if options["channels"] != "" || options["patterns"] != "" {
		c.channels, c.patterns = sceneList(options["channels"]), sceneList(options["patterns"])
	}
	return c.join(n, ResumeAt(c.last), options["cut"])
}
