package redissse

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// The page is one document: Caddy's admin endpoint refuses what a browser loads
// for a page, as it does not say from where it comes.
var (
	//go:embed adminpage/page.html
	pageHTML string
	//go:embed adminpage/page.css
	pageCSS string
	//go:embed adminpage/page.js
	pageJS string

	page       = strings.NewReplacer("/*style*/", pageCSS, "/*script*/", pageJS).Replace(pageHTML)
	pagePolicy = strings.Join([]string{
		"default-src 'none'", "style-src " + hashOf(pageCSS), "script-src " + hashOf(pageJS), "connect-src 'self'", "img-src data:",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}, "; ")
)

// hashOf is how a content security policy names a script or a style sheet.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// errNoPage is what the page, and what is there for it, answers without the option.
var errNoPage = caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("the admin page is off: " +
	"\"redis_sse { admin_page }\" in the { } at the top of the Caddyfile turns it on for a hub, in JSON \"admin_page\": true of the hub")}

// hubsWithPage are those of the query whose configuration has the option.
func (q *adminQuery) hubsWithPage() (found []pooledHub, err error) {
	for _, h := range pooledHubs("") {
		if h.hasPage() {
			found = append(found, h)
		}
	}
	if found == nil {
		return nil, errNoPage // before anything is said of the query
	}
	name := q.values.Get("hub")
	if !q.values.Has("hub") || q.err != nil {
		return found, q.err
	}
	for _, h := range q.hubs() {
		if h.hasPage() {
			return []pooledHub{h}, nil
		}
	}
	if q.err != nil {
		return nil, q.err
	}
	return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("hub %q is without admin_page", quoted(name))}
}

// adminPage answers with the page. All that it shows it asks the admin API for.
func adminPage(w http.ResponseWriter, r *http.Request) error {
	if _, err := queryOf(r).hubsWithPage(); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Content-Type":            "text/html; charset=utf-8",
		"Cache-Control":           "no-store",
		"Content-Security-Policy": pagePolicy,
		// Caddy's admin endpoint knows its own pages by it.
		"Referrer-Policy":              "same-origin",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
	} {
		w.Header().Set(name, value)
	}
	_, _ = w.Write([]byte(page)) // whoever asked has gone
	return nil
}
