//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that the run has started, with its children.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan struct{}
	err  error // once done is closed
}

// startWait bounds how long a server takes to be up, stopWait to be gone.
const (
	startWait = 20 * time.Second
	stopWait  = 10 * time.Second
)

// newProcess prepares a program, on one core unless that is empty.
func newProcess(core string, dir string, env []string, program string, args ...string) *process {
	p := &process{name: program, log: new(bytes.Buffer), done: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	if core != "" {
		p.cmd = exec.Command("taskset", append([]string{"-c", core, program}, args...)...)
	}
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), env...)
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return p
}

func (p *process) start() error {
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return nil
}

// stop ends the program.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopWait):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// awaitListening waits until something accepts connections on addr.
func (p *process) awaitListening(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.done:
			return fmt.Errorf("starting %s: it ended: %w\n%s", p.name, errors.Join(p.err, err), p.log)
		case <-ctx.Done():
			return fmt.Errorf("starting %s: %w", p.name, errors.Join(ctx.Err(), err))
		}
	}
}

// usage is what a program and its children have used.
type usage struct {
	cpu time.Duration // user and system
	rss int           // KiB, now
}

// clockTick is the unit of times in /proc/PID/stat, see proc(5).
const clockTick = 10 * time.Millisecond

func (p *process) usage() (usage, error) {
	var u usage
	pids, err := family(p.cmd.Process.Pid)
	if err != nil {
		return u, err
	}
	for _, pid := range pids {
		fields, err := stat(pid)
		if err != nil {
			return u, err
		}
		for _, i := range []int{11, 12} { // utime, stime
			ticks, err := strconv.Atoi(fields[i])
			if err != nil {
				return u, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
			}
			u.cpu += time.Duration(ticks) * clockTick
		}
		pages, err := strconv.Atoi(fields[21])
		if err != nil {
			return u, fmt.Errorf("reading the memory of process %d: %w", pid, err)
		}
		u.rss += pages * os.Getpagesize() >> 10
	}
	return u, nil
}

// stat returns the fields of /proc/PID/stat from the third one, the state, on.
func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 22 {
		return nil, fmt.Errorf("reading /proc/%d/stat: %d fields", pid, len(fields))
	}
	return fields, nil
}

// family returns a process and its children.
func family(parent int) ([]int, error) {
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	pids := []int{parent}
	for _, e := range entries {
		pid, err := strconv.Atoi(filepath.Base(e))
		if err != nil {
			continue
		}
		fields, err := stat(pid)
		if err != nil {
			continue // it has ended meanwhile
		}
		if fields[1] == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// freeAddrs fills in loopback addresses that are free now. All are taken
// before the first is given back, or else it would be the next one, too.
func freeAddrs(addrs ...*string) error {
	for _, a := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		*a = l.Addr().String()
	}
	return nil
}
