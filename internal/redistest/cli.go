//go:build unix

package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// CLI returns a PATH=... for the environment of a shell whose redis-cli speaks to this server, so that what a document has somebody
// type can be typed as it stands. It ends the test if there is no redis-cli.
func (s *Server) CLI() string {
	s.t.Helper()
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		s.t.Fatal(err)
	}
	dir := s.t.TempDir()
	wrapper := fmt.Sprintf("#!/bin/sh\nexec '%s' -p %d \"$@\"\n", cli, s.port)
	if err := os.WriteFile(filepath.Join(dir, "redis-cli"), []byte(wrapper), 0o700); err != nil {
		s.t.Fatal(err)
	}
	return "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")
}
