//go:build linux

package browsers

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
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// driver is seen from where the tests of a package beside this one run.
const driver = "../browsertest/drive.mjs"

// Chromium is a Chromium behind a driver, which a test may have do more than open and close tabs.
type Chromium struct {
	process *proctest.Process
	stdin   io.WriteCloser
	read    sync.WaitGroup

	mu      sync.Mutex
	last    int
	waiting map[int]chan<- reply // nil once the driver has ended
}

// Command is one for the driver: the name as "command", and what that takes, such as the tab as "page".
type Command map[string]any

type reply struct {
	ID    int    `json:"id"`
	Value string `json:"value"`
	Error string `json:"error"`
}

func startChromium() (*Chromium, error) {
	home := filepath.Join(proctest.Dir(), "chromium")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	bin, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("finding chromium: %w", err)
	}
	cmd := exec.Command("node", driver, bin)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	c := &Chromium{waiting: map[int]chan<- reply{}}
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	answers, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = stdout
	c.process, err = proctest.Launch(cmd)
	_ = stdout.Close() // the driver's
	if err != nil {
		return nil, errors.Join(err, answers.Close())
	}
	c.read.Go(func() { c.receive(answers) })
	proctest.AtEnd(c.quit)
	_, err = c.Do(Command{"command": "version"})
	return c, err
}

// receive hands out answers until the driver ends.
func (c *Chromium) receive(answers io.ReadCloser) {
	lines := bufio.NewScanner(answers)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r reply
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			break
		}
		c.mu.Lock()
		to := c.waiting[r.ID]
		delete(c.waiting, r.ID)
		c.mu.Unlock()
		to <- r
	}
	_ = answers.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, to := range c.waiting {
		to <- reply{Error: "the driver has ended"}
	}
	c.waiting = nil
}

// Do has the driver execute a command, and returns its answer.
func (c *Chromium) Do(cmd Command) (string, error) {
	to := make(chan reply, 1)
	c.mu.Lock()
	if c.waiting == nil {
		c.mu.Unlock()
		return "", fmt.Errorf("driving chromium: the driver has ended: %s", c.process.Log())
	}
	c.last++
	cmd["id"] = c.last
	c.waiting[c.last] = to
	line, err := json.Marshal(cmd)
	if err == nil {
		_, err = c.stdin.Write(append(line, '\n'))
	}
	c.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("driving chromium: %w: %s", err, c.process.Log())
	}
	select {
	case r := <-to:
		if r.Error != "" {
			return "", fmt.Errorf("driving chromium, %q: %s\n%s", cmd["command"], r.Error, c.process.Log())
		}
		return r.Value, nil
	case <-time.After(proctest.Patience):
		return "", fmt.Errorf("driving chromium, %q: no answer after %v", cmd["command"], proctest.Patience)
	}
}

// Name is what its tests are called by.
func (*Chromium) Name() string { return "chromium" }

// Open opens a URL in a new tab. Whether its page comes is not waited for.
func (c *Chromium) Open(tab, url string) error {
	_, err := c.Do(Command{"command": "open", "page": tab, "url": url})
	return err
}

// Close closes a tab.
func (c *Chromium) Close(tab string) error {
	_, err := c.Do(Command{"command": "close", "page": tab})
	return err
}

func (c *Chromium) quit() error {
	_ = c.stdin.Close()
	err := c.process.EndSoon()
	c.read.Wait()
	return err
}
