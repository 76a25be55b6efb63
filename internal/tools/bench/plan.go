//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// plan is what a run measures.
type plan struct {
	sizes     sizes
	rounds    int
	scenarios []scenario
}

func newPlan(sz sizes, rounds int, only string) (*plan, error) {
	if rounds < 1 {
		return nil, fmt.Errorf("rounds %d: at least 1", rounds)
	}
	p := &plan{sizes: sz, rounds: rounds, scenarios: scenarios(sz)}
	if only == "" {
		return p, nil
	}
	names := strings.Split(only, ",")
	for _, n := range names {
		if !slices.ContainsFunc(p.scenarios, func(s scenario) bool { return s.name == n }) {
			return nil, fmt.Errorf("unknown scenario %q", n)
		}
	}
	p.scenarios = slices.DeleteFunc(p.scenarios, func(s scenario) bool { return !slices.Contains(names, s.name) })
	return p, nil
}

// run measures everything and prints the report as it comes.
func (p *plan) run(ctx context.Context, doc, profile string) (err error) {
	if err := checkMachine(); err != nil {
		return err
	}
	h, err := newHost(profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	out := report{sizes: p.sizes}
	for _, s := range p.scenarios {
		t, err := p.compare(ctx, h, s)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", s.name, err)
		}
		out.tables = append(out.tables, t)
		fmt.Println(t.markdown())
	}
	targets, lost := out.targets()
	fmt.Println(targets)
	if lost {
		return errors.New("the gateway lost messages")
	}
	if doc == "" {
		return nil
	}
	return out.putInto(doc)
}

// compare measures the servers of a scenario in turn, so that what else the
// machine does in some minute hurts all of them.
func (p *plan) compare(ctx context.Context, h *host, s scenario) (table, error) {
	found := make(map[peer][]figures)
	rounds := p.rounds
	if s.once {
		rounds = 1
	}
	for range rounds {
		for _, who := range s.peers {
			f, err := s.measure(ctx, h, who)
			if err != nil {
				return table{}, fmt.Errorf("%s: %w", who, err)
			}
			fmt.Fprintf(os.Stderr, "%s %s %+v\n", s.name, who, f)
			found[who] = append(found[who], f)
		}
	}
	t := table{scenario: s, medians: make(map[peer]figures)}
	for who, all := range found {
		t.medians[who] = medianOf(all)
	}
	return t, nil
}

// checkMachine says what is missing before minutes have been spent.
func checkMachine() error {
	if runtime.NumCPU() < 2 {
		return errors.New("a run needs two cores: one for the server, one for the clients")
	}
	for _, tool := range []string{"taskset", "redis-server", "nginx"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("looking for %s (make bench installs it): %w", tool, err)
		}
	}
	return nil
}
