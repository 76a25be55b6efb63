package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// covered makes a profile of the required files, and whatever lines are added.
func covered(lines ...string) string {
	text := "mode: atomic\n"
	for _, name := range required {
		text += root + "/" + name + ":1.1,2.2 10 1\n"
	}
	for _, line := range lines {
		text += line + "\n"
	}
	return text
}

// line is one of a profile, of a file of the root package.
func line(file string, number, statements, count int) string {
	return fmt.Sprintf("%s/%s:%d.2,%d.9 %d %d", root, file, number, number+1, statements, count)
}

// judged runs the command on a profile, for the root package and others.
func judged(t *testing.T, profile string, others ...string) (printed string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cover.out")
	if err := os.WriteFile(file, []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err = run(file, append([]string{"."}, others...), &out)
	return out.String(), err
}

func TestPrints(t *testing.T) {
	got, err := judged(t, covered(
		line("zones.go", 5, 2, 7),
		line("arc.go", 1, 999, 1),
		line("arc.go", 3, 1, 0),
		root+"/internal/tools/cover/main.go:1.1,2.2 100 0", // of another package
		"example.com/other/hub.go:1.1,2.2 100 0",           // of another module
	))
	const want = `file               statements  covered         
arc.go                   1000      999   99.9 %
buffer.go                  10       10  100.0 %
handler.go                 10       10  100.0 %
hub.go                     10       10  100.0 %
publisher.go               10       10  100.0 %
subscriber.go              10       10  100.0 %
zones.go                    2        2  100.0 %
total                    1052     1051   99.9 %
`
	if got != want || err != nil {
		t.Errorf("printed\n%s(%v), want\n%s", got, err, want)
	}
}

func TestJudges(t *testing.T) {
	hub := root + "/hub.go:1.1,2.2 10 1\n"
	for name, test := range map[string]struct{ profile, want string }{
		"just enough":         {covered(line("arc.go", 1, 9, 1), line("arc.go", 2, 1, 0)), ""},
		"just too little":     {covered(line("arc.go", 1, 8999, 1), line("arc.go", 2, 1001, 0)), "arc.go: 89.9 % of 10000 statements are covered, want 90.0 %"},
		"a required one":      {covered(line("hub.go", 3, 2, 0)), "hub.go: 83.3 % of 12 statements are covered, want 90.0 %"},
		"nothing":             {covered(line("arc.go", 1, 3, 0)), "arc.go: 0.0 % of 3 statements are covered, want 90.0 %"},
		"two":                 {covered(line("z.go", 1, 1, 0), line("a.go", 1, 1, 0)), "a.go: 0.0 % of 1 statements are covered, want 90.0 %\nz.go: 0.0 % of 1 statements are covered, want 90.0 %"},
		"not there":           {strings.ReplaceAll(covered(), hub, ""), "hub.go: not in the profile"},
		"covered before":      {covered(line("arc.go", 1, 3, 1), line("arc.go", 1, 3, 0)), ""},
		"covered after":       {covered(line("arc.go", 1, 3, 0), line("arc.go", 1, 3, 1)), ""},
		"twice, counted once": {covered(line("arc.go", 1, 8, 1), line("arc.go", 1, 8, 1), line("arc.go", 2, 2, 0)), "arc.go: 80.0 % of 10 statements are covered, want 90.0 %"},
		"nothing to cover":    {covered(line("arc.go", 1, 0, 0)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := judged(t, test.profile)
			if got := fmt.Sprint(err); test.want == "" && err != nil || test.want != "" && got != test.want {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestJudgesOtherPackagesToo(t *testing.T) {
	profile := covered(
		line("internal/glob/glob.go", 1, 9, 1),
		line("internal/glob/glob.go", 2, 2, 0),
		line("internal/glob/testing/glob.go", 1, 5, 0), // another package
		line("internal/globe/globe.go", 1, 5, 0),       // another package
		line("internal/hub/hub.go", 1, 7, 1),
	)
	printed, err := judged(t, profile, "./internal/glob", "./internal/hub/", "./internal/resp")
	const want = `file                  statements  covered         
buffer.go                     10       10  100.0 %
handler.go                    10       10  100.0 %
hub.go                        10       10  100.0 %
internal/glob/glob.go         11        9   81.8 %
internal/hub/hub.go            7        7  100.0 %
publisher.go                  10       10  100.0 %
subscriber.go                 10       10  100.0 %
total                         68       66   97.0 %
`
	const problems = "internal/resp: no file of it is in the profile\ninternal/glob/glob.go: 81.8 % of 11 statements are covered, want 90.0 %"
	if printed != want || fmt.Sprint(err) != problems {
		t.Errorf("printed\n%s(%v), want\n%s(%s)", printed, err, want, problems)
	}
}

func TestRefusesWhatIsNoProfile(t *testing.T) {
	for name, profile := range map[string]string{
		"empty":               "",
		"no mode":             line("hub.go", 1, 1, 1) + "\n",
		"two fields":          covered(root + "/hub.go:1.1,2.2 10"),
		"no place":            covered("10 20 30"),
		"no number":           covered(root + "/hub.go:5.1,6.2 x 1"),
		"a negative number":   covered(root + "/hub.go:5.1,6.2 -3 1"),
		"no count":            covered(root + "/hub.go:5.1,6.2 3 x"),
		"another one's block": covered(line("arc.go", 1, 3, 1), line("arc.go", 1, 4, 1)),
	} {
		t.Run(name, func(t *testing.T) {
			if printed, err := judged(t, profile); err == nil || printed != "" {
				t.Errorf("got %q, %v", printed, err)
			}
		})
	}
	if err := run(filepath.Join(t.TempDir(), "none"), []string{"."}, new(strings.Builder)); err == nil {
		t.Error("a file that there is not was read")
	}
}
