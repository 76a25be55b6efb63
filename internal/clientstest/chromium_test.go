//go:build clients && linux

package clientstest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// chromium is a Chromium behind browsertest's driver, shared by all tests.
type chromium struct {
	process *proctest.Process

	mu      sync.Mutex // one command at a time
	stdin   io.WriteCloser
	answers *bufio.Scanner
	last    int
}

var oneChromium = sync.OnceValues(startChromium)

func startChromium() (*chromium, error) {
	home := filepath.Join(proctest.Dir(), "chromium")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	bin, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("finding chromium: %w", err)
	}
	cmd := exec.Command("node", "../browsertest/drive.mjs", bin)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	c := &chromium{}
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	answers, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.answers = bufio.NewScanner(answers)
	cmd.Stdout = stdout
	c.process, err = proctest.Launch(cmd)
	_ = stdout.Close() // the driver's
	if err != nil {
		return nil, errors.Join(err, answers.Close())
	}
	proctest.AtEnd(c.quit)
	return c, c.do(map[string]any{"command": "version"})
}

// quit ends the browser.
func (c *chromium) quit() error {
	_ = c.stdin.Close() // which ends the driver, and the driver Chromium
	return c.process.EndSoon()
}

// do has the driver execute a command.
func (c *chromium) do(command map[string]any) error {
	_, err := c.ask(command)
	return err
}

// ask has the driver execute a command, and returns its answer. The end of the driver ends a wait for it.
func (c *chromium) ask(command map[string]any) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	command["id"] = c.last
	line, err := json.Marshal(command)
	if err != nil {
		return "", err
	}
	if _, err := c.stdin.Write(append(line, '\n')); err != nil {
		return "", fmt.Errorf("driving chromium: %w: %s", err, c.process.Log())
	}
	if !c.answers.Scan() {
		return "", fmt.Errorf("driving chromium: the driver has ended: %s", c.process.Log())
	}
	var reply struct{ Error, Value string }
	if err := json.Unmarshal(c.answers.Bytes(), &reply); err != nil {
		return "", fmt.Errorf("driving chromium: decoding its answer: %w", err)
	}
	if reply.Error != "" {
		return "", fmt.Errorf("driving chromium, %q: %s", command["command"], reply.Error)
	}
	return reply.Value, nil
}

// openPage opens a page in a tab, which closes with the test.
func openPage(t *testing.T, url string) {
	t.Helper()
	c, err := oneChromium()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.do(map[string]any{"command": "open", "page": url, "url": url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.do(map[string]any{"command": "close", "page": url}); err != nil {
			t.Error(err)
		}
	})
}
