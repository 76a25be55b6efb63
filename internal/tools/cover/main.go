// Command cover prints how much of each file of some packages a cover profile
// has covered, and fails if it is too little of one of them:
//
//	cover PROFILE . ./internal/other
//
// With -quiet it prints nothing but that failure.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// root is the module's root package, as a profile names it.
const root = "github.com/redis-sse/caddy-redis-sse"

// least is the share of a file's statements that must be covered, in thousandths.
const least = 900

// required are the files of the root package that must be there: a profile of
// something else, or a file that has been renamed, must not pass for one that is
// covered. Of any other package that is judged, a file at least must be there.
var required = []string{"buffer.go", "handler.go", "hub.go", "publisher.go", "subscriber.go"}

func main() {
	quiet := flag.Bool("quiet", false, "print nothing if enough is covered")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: cover [-quiet] PROFILE PACKAGE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(2)
	}
	out := io.Writer(os.Stdout)
	if *quiet {
		out = io.Discard
	}
	if err := run(flag.Arg(0), flag.Args()[1:], out); err != nil {
		fmt.Fprintln(os.Stderr, "cover:", err)
		os.Exit(1)
	}
}

// run judges packages, which are directories below the module's root.
func run(profile string, packages []string, out io.Writer) error {
	f, err := os.Open(profile)
	if err != nil {
		return fmt.Errorf("reading the profile: %w", err)
	}
	defer f.Close()
	for i, dir := range packages {
		packages[i] = path.Clean(dir)
	}
	files, err := read(f, packages)
	if err != nil {
		return fmt.Errorf("reading %s: %w", profile, err)
	}
	return errors.Join(write(out, files), judge(files, packages))
}

// share is how many statements there are, and how many of them are covered.
type share struct{ statements, covered int }

func (s share) add(t share) share { return share{s.statements + t.statements, s.covered + t.covered} }

// thousandths rounds down, so that what is under the least never looks as if it were not.
func (s share) thousandths() int {
	if s.statements == 0 { // a function that does nothing, on this system
		return 1000
	}
	return s.covered * 1000 / s.statements
}

func (s share) percent() string {
	n := s.thousandths()
	return fmt.Sprintf("%d.%d %%", n/10, n%10)
}

// write writes a line for each file, in the order of their names, and one for all of them.
func write(out io.Writer, files map[string]share) error {
	var text strings.Builder
	line := func(name string, statements, covered any, percent string) {
		fmt.Fprintf(&text, "%-*s %10v %8v %8s\n", widest(files), name, statements, covered, percent)
	}
	line("file", "statements", "covered", "")
	var total share
	for _, name := range names(files) {
		s := files[name]
		total = total.add(s)
		line(name, s.statements, s.covered, s.percent())
	}
	line("total", total.statements, total.covered, total.percent())
	_, err := io.WriteString(out, text.String())
	return err
}

// widest is how wide the column of the names is.
func widest(files map[string]share) int {
	width := 18
	for name := range files {
		width = max(width, len(name))
	}
	return width
}

func judge(files map[string]share, packages []string) error {
	var errs []error
	for _, dir := range packages {
		if dir != "." {
			if !slices.ContainsFunc(names(files), func(name string) bool { return path.Dir(name) == dir }) {
				errs = append(errs, fmt.Errorf("%s: no file of it is in the profile", dir))
			}
			continue
		}
		for _, name := range required {
			if _, ok := files[name]; !ok {
				errs = append(errs, fmt.Errorf("%s: not in the profile", name))
			}
		}
	}
	for _, name := range names(files) {
		if s := files[name]; s.thousandths() < least {
			errs = append(errs, fmt.Errorf("%s: %s of %d statements are covered, want %d.%d %%",
				name, s.percent(), s.statements, least/10, least%10))
		}
	}
	return errors.Join(errs...)
}

func names(files map[string]share) []string {
	var all []string
	for name := range files {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
