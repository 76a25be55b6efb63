package redissse

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// cors lets pages of other origins in, with the user's credentials. See the
// Fetch standard, "HTTP extensions".
type cors struct {
	origins map[string]bool
	methods string // as in Access-Control-Allow-Methods
}

// preflightAge is how long a browser may rely on a preflight. It is what an
// operator waits for at most who takes an origin out; browsers take 2h at most.
const preflightAge = 10 * time.Minute

// newCORS returns nil if there are no origins.
func newCORS(origins []string, methods string) (*cors, error) {
	if len(origins) == 0 {
		return nil, nil
	}
	c := &cors{origins: map[string]bool{}, methods: methods}
	for _, origin := range origins {
		if origin == "*" {
			return nil, fmt.Errorf("cors_origins is %q: name the origins; any page could read with its visitors' credentials", origin)
		}
		if strings.Contains(origin, ",") { // AddTrustedOrigin would take it for a part of the host
			return nil, fmt.Errorf("cors_origins is %q: several origins are separated by spaces, in JSON they are a list", origin)
		}
		// Browsers send it without the default port and in lower case.
		normal := strings.ToLower(origin)
		if err := new(http.CrossOriginProtection).AddTrustedOrigin(normal); err != nil {
			return nil, fmt.Errorf("cors_origins is %q, want origins such as https://app.example.com: %w", origin, err)
		}
		if rest, ok := strings.CutPrefix(normal, "https://"); ok {
			normal = "https://" + strings.TrimSuffix(rest, ":443")
		} else if rest, ok := strings.CutPrefix(normal, "http://"); ok {
			normal = "http://" + strings.TrimSuffix(rest, ":80")
		}
		c.origins[normal] = true
	}
	return c, nil
}

func checkOrigin(origin string) error {
	_, err := newCORS([]string{origin}, "")
	return err
}

// answer sets the headers of the response and answers OPTIONS. It reports
// whether that is all there is to do. c may be nil.
func (c *cors) answer(w http.ResponseWriter, r *http.Request) (done bool) {
	if c == nil {
		return false
	}
	header := w.Header()
	header.Add("Vary", "Origin") // caches must not give one origin's answer to another
	origin := r.Header.Get("Origin")
	if allowed := c.origins[origin]; allowed {
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Allow-Credentials", "true")
		header.Set("Access-Control-Expose-Headers", "Retry-After")
		if r.Method == http.MethodOptions {
			header.Set("Access-Control-Allow-Methods", c.methods)
			header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID")
			header.Set("Access-Control-Max-Age", strconv.Itoa(int(preflightAge.Seconds())))
		}
	}
	if r.Method != http.MethodOptions {
		return false
	}
	header.Set("Allow", c.methods+", OPTIONS")
	w.WriteHeader(http.StatusNoContent)
	return true
}
