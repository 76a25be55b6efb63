package redissse

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// The functions below read the one argument of the current option and name
// both in their errors.

func parseString(d *caddyfile.Dispenser, to *string) error {
	key := d.Val()
	if !d.NextArg() {
		return d.ArgErr()
	}
	if *to = d.Val(); *to == "" {
		return d.Errf("%s is empty", key)
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// parseRedisURL reads a Redis URL. Its errors repeat nothing, as any word of the line may
// be a password.
func parseRedisURL(d *caddyfile.Dispenser, to *string) error {
	if !d.NextArg() {
		return d.Err("redis takes a URL")
	}
	*to = d.Val()
	if *to == "" || d.NextArg() {
		return d.Err("redis takes one URL, without spaces")
	}
	return nil
}

// optionName is what an option may be called. Anything else may be the rest of a secret
// with a line end in it.
var optionName = regexp.MustCompile(`^[a-z_]{1,20}$`)

func unrecognized(d *caddyfile.Dispenser) error {
	if !optionName.MatchString(d.Val()) {
		return d.Err("unrecognized subdirective")
	}
	return d.Errf("unrecognized subdirective %q", d.Val())
}

func parseList(d *caddyfile.Dispenser, to *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, args...)
	return nil
}

func parseWords(d *caddyfile.Dispenser, to *string, check func(string) error) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*to = strings.Join(args, " ")
	if err := check(*to); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func parseDuration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	var s string
	key := d.Val()
	if err := parseString(d, &s); err != nil {
		return err
	}
	t, err := caddy.ParseDuration(s)
	if err != nil || t < 0 {
		return d.Errf("%s is %q, want a duration", key, s)
	}
	*to = caddy.Duration(t)
	return nil
}

// parsePositive refuses 0, which would silently mean the default.
func parsePositive(d *caddyfile.Dispenser, to *caddy.Duration) error {
	key := d.Val()
	if err := parseDuration(d, to); err != nil {
		return err
	}
	if *to == 0 {
		return d.Errf("%s is %q, want a duration above 0", key, d.Val())
	}
	return nil
}

func parseCount(d *caddyfile.Dispenser, to *int) error {
	var s string
	key := d.Val()
	if err := parseString(d, &s); err != nil {
		return err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return d.Errf("%s is %q, want a count above 0", key, s)
	}
	*to = n
	return nil
}

func parseSize(d *caddyfile.Dispenser, to *int64) error {
	var s string
	key := d.Val()
	if err := parseString(d, &s); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n < 1 || n > 1<<62 {
		return d.Errf("%s is %q, want a size such as 4MiB", key, s)
	}
	*to = int64(n)
	return nil
}

// parseBits reads /<bits>. It refuses /0, which would silently mean the default.
func parseBits(s string) (int, error) {
	digits, found := strings.CutPrefix(s, "/")
	n, err := strconv.Atoi(digits)
	if !found || err != nil || n < 1 {
		return 0, fmt.Errorf("bits are %q, want / and a number above 0", s)
	}
	return n, nil
}
