package redissse

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// option is what one line of a block may be.
type option struct {
	name    string
	args    string // its grammar
	example string // of args
	read    func(*reading) error
	inner   *block // of an option that has one, and no arguments
}

// block is what may stand between one pair of braces.
type block struct {
	place   string // as errors name it
	options []option
}

// withBlock is an option whose lines go to what begin has set.
func withBlock(name string, inner block, begin func()) option {
	return option{name: name, inner: &inner, read: func(r *reading) error {
		if args := r.RemainingArgs(); len(args) > 0 {
			return r.usage(args)
		}
		begin()
		return r.block(inner)
	}}
}

func (b block) find(name string) *option {
	if i := slices.IndexFunc(b.options, func(o option) bool { return o.name == name }); i >= 0 {
		return &b.options[i]
	}
	return nil
}

func (b block) names() (all []string) {
	for _, o := range b.options {
		all = append(all, o.name)
	}
	return all
}

// withInner is a block and those in it.
func (b block) withInner() []block {
	all := []block{b}
	for _, o := range b.options {
		if o.inner != nil {
			all = append(all, *o.inner)
		}
	}
	return all
}

// reading reads one global option or directive, and the blocks behind it.
type reading struct {
	*caddyfile.Dispenser
	given map[string]caddyfile.Token // the options, each where it stood last
	now   *option                    // whose arguments are being read
}

func newReading(d *caddyfile.Dispenser) *reading {
	return &reading{Dispenser: d, given: map[string]caddyfile.Token{}}
}

// block reads a block, if there is one.
func (r *reading) block(b block) error {
	for nesting := r.Nesting(); r.NextBlock(nesting); {
		r.now = b.find(r.Val())
		if r.now == nil {
			return r.unrecognized(b)
		}
		if _, twice := r.given[r.now.name]; twice && r.now.inner != nil {
			return r.Errf("%s is given twice", r.now.name)
		}
		r.given[r.now.name] = r.Token()
		if err := r.now.read(r); err != nil {
			return err
		}
	}
	return nil
}

// located says of each part of an error in which line the option stands that it is about.
// Such a part begins with the option's name, or has it for its third word.
func (r *reading) located(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var parts []error
		for _, part := range joined.Unwrap() {
			parts = append(parts, r.located(part))
		}
		return errors.Join(parts...)
	}
	words := strings.Fields(err.Error())
	for _, word := range words[:min(3, len(words))] {
		if token, ok := r.given[strings.TrimSuffix(word, ":")]; ok {
			at := caddyfile.NewDispenser([]caddyfile.Token{token})
			at.Next()
			return at.WrapErr(err)
		}
	}
	return r.WrapErr(err)
}

// usage says what the current option takes, as it was given something else. It repeats none of that: it may be a secret.
func (r *reading) usage(args []string) error {
	o := r.now
	switch {
	case o.inner != nil:
		return r.Errf("%s takes no argument, but options on lines of their own: %[1]s { ... }", o.name)
	case o.args == "":
		return r.Errf("%s takes no argument: it is on with the line and off without it", o.name)
	case len(args) == 0:
		return r.Errf("%s wants %s, as in %q%s", o.name, o.args, o.name+" "+o.example, hintUnset)
	}
	return r.Errf("%s wants %s, as in %q", o.name, o.args, o.name+" "+o.example)
}

// optionName is what an option may be called. Anything else may be the rest of a secret
// with a line end in it.
var optionName = regexp.MustCompile(`^[a-z_]{1,20}$`)

// unrecognized says what a line may have been meant to be that no option of the block begins.
func (r *reading) unrecognized(b block) error {
	word := r.Val()
	begins := word
	if i := strings.IndexAny(word, ":=;,{ "); i >= 0 {
		begins = word[:i]
	}
	if o := b.find(begins); o != nil && begins != word {
		return r.Errf("unrecognized subdirective: behind %s stands a space, and no other mark, as in %q", o.name, o.String())
	}
	if !optionName.MatchString(word) {
		return r.Err("unrecognized subdirective" + hintUnclosed)
	}
	return r.Errf("unrecognized subdirective %q%s", word, b.insteadOf(word))
}

func (o option) String() string {
	if o.inner != nil {
		return o.name + " {"
	}
	return strings.TrimSpace(o.name + " " + o.example)
}

// insteadOf ends what is said of a word that is no option of the block.
func (b block) insteadOf(word string) string {
	var places []string
	missing := ""
	for _, other := range allBlocks() {
		if other.find(word) == nil {
			continue
		}
		places = append(places, other.place)
		if slices.ContainsFunc(other.options, func(o option) bool { return o.inner != nil && o.inner.place == b.place }) {
			missing = hintUnclosed
		}
	}
	if places != nil {
		return ": it belongs in " + strings.Join(places, " or ") + missing
	}
	if near := nearest(word, b.names()); near != "" {
		return fmt.Sprintf("; perhaps %q is meant", near)
	}
	for _, other := range allBlocks() {
		if near := nearest(word, other.names()); near != "" {
			return fmt.Sprintf("; perhaps %q is meant, which belongs in %s", near, other.place)
		}
	}
	return ": here may stand " + strings.Join(b.names(), ", ") + hintUnclosed
}
