//go:build clients && linux

package fastapi_test

import (
	"os"
	"strings"
	"testing"
)

// The code in README.md is that of the files.
func TestReadmeQuotesTheFiles(t *testing.T) {
	files := map[string]string{"python": read(t, "before.py") + read(t, "app.py"), "caddyfile": read(t, "Caddyfile")}
	blocks := strings.Split(read(t, "README.md"), "```")
	for i := 1; i < len(blocks); i += 2 {
		language, code, _ := strings.Cut(blocks[i], "\n")
		if !strings.Contains(files[language], code) {
			t.Errorf("no file has this %s:\n%s", language, code)
		}
	}
	if len(blocks) != 7 {
		t.Errorf("%d parts, want 3 blocks and what is around them", len(blocks))
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
