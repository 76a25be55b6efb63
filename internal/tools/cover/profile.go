package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// block is a run of statements, as a profile's line has it:
// file:startLine.startColumn,endLine.endColumn statements count.
type block struct {
	place      string // all before the first space
	statements int
	count      uint64
}

// read returns the share of each file of some packages in a profile, by its path
// below the module's root. A profile of several test binaries has a block once
// for each of them.
func read(r io.Reader, packages []string) (map[string]share, error) {
	lines := bufio.NewScanner(r)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "mode: ") {
		return nil, errors.Join(errors.New("it is no cover profile: no mode in its first line"), lines.Err())
	}
	blocks := make(map[string]share)
	for n := 2; lines.Scan(); n++ {
		b, err := parse(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		merged, seen := blocks[b.place]
		if seen && merged.statements != b.statements {
			return nil, fmt.Errorf("line %d: %s has %d statements, and had %d", n, b.place, b.statements, merged.statements)
		}
		merged.statements = b.statements
		if b.count > 0 {
			merged.covered = b.statements
		}
		blocks[b.place] = merged
	}
	files := make(map[string]share)
	for place, s := range blocks {
		file, _, _ := strings.Cut(place, ":")
		name, ok := strings.CutPrefix(file, root+"/")
		if ok && slices.Contains(packages, path.Dir(name)) {
			files[name] = files[name].add(s)
		}
	}
	return files, lines.Err()
}

func parse(line string) (block, error) {
	fields := strings.Fields(line)
	if len(fields) != 3 || !strings.Contains(fields[0], ":") {
		return block{}, fmt.Errorf("%q is no block", line)
	}
	statements, err := strconv.Atoi(fields[1])
	if err != nil || statements < 0 {
		return block{}, fmt.Errorf("%q has no number of statements", line)
	}
	count, err := strconv.ParseUint(fields[2], 10, 64)
	if err != nil {
		return block{}, fmt.Errorf("%q has no count", line)
	}
	return block{fields[0], statements, count}, nil
}
