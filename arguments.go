package redissse

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
)

// The functions below return what reads the arguments of an option. Their errors name the
// option and, but for URLs, the value.

// one returns the only argument.
func (r *reading) one() (string, error) {
	args := r.RemainingArgs()
	if len(args) != 1 {
		return "", r.usage(args)
	}
	if args[0] == "" {
		return "", r.Errf("%s is empty", r.now.name)
	}
	return args[0], nil
}

func readString(to *string) func(*reading) error {
	return func(r *reading) (err error) {
		*to, err = r.one()
		return err
	}
}

// readURL reads a Redis URL. Its errors repeat nothing, as any word of the line may
// be a password.
func readURL(to *string) func(*reading) error {
	return func(r *reading) error {
		args := r.RemainingArgs()
		if len(args) == 0 || len(args) == 1 && args[0] == "" {
			return r.Errf("redis wants a URL, as in %q; a {$NAME} that is not set leaves nothing, "+
				"and {env.NAME}, which is read as caddy starts, keeps a password out of the configuration", r.now)
		}
		if len(args) > 1 {
			return r.Errf("redis wants one URL, without spaces, as in %q", r.now)
		}
		*to = args[0]
		if strings.Contains(*to, "{") {
			return nil // placeholders are for the machine it runs on
		}
		if _, err := readRedisURL(*to); err != nil {
			return r.WrapErr(err)
		}
		return nil
	}
}

// readList reads one text at least, and adds what it reads.
func readList(to *[]string, check func(string) error) func(*reading) error {
	return func(r *reading) error {
		args := r.RemainingArgs()
		if len(args) == 0 {
			return r.usage(args)
		}
		*to = append(*to, args...)
		return r.checkList(r.now.name, args, check)
	}
}

// checkList checks texts that stand in one line.
func (r *reading) checkList(key string, args []string, check func(string) error) error {
	for i, arg := range args {
		if i > 0 && strings.HasPrefix(arg, ",") || i < len(args)-1 && strings.HasSuffix(arg, ",") {
			return r.Errf("%s %q: several are separated by spaces alone, and a comma is a part of the text", key, arg)
		}
		if err := check(arg); err != nil {
			return r.WrapErr(err)
		}
	}
	return nil
}

func readWords(to *string, check func(string) error) func(*reading) error {
	return func(r *reading) error {
		args := r.RemainingArgs()
		if len(args) == 0 {
			return r.usage(args)
		}
		*to = strings.Join(args, " ")
		if err := check(*to); err != nil {
			return r.WrapErr(err)
		}
		return nil
	}
}

// readFlag reads an option that says yes by being there.
func readFlag(to *bool) func(*reading) error {
	return func(r *reading) error {
		if args := r.RemainingArgs(); len(args) > 0 {
			return r.usage(args)
		}
		*to = true
		return nil
	}
}

// readPeriod takes 0 for none at all, which in JSON is what is negative, as 0 is the default.
func readPeriod(to *caddy.Duration) func(*reading) error {
	return func(r *reading) error {
		s, err := r.one()
		if err != nil {
			return err
		}
		d, err := caddy.ParseDuration(s)
		if err != nil || d < 0 {
			return r.Errf("%s is %q, want a duration such as %s", r.now.name, s, r.now.example)
		}
		if *to = caddy.Duration(d); d == 0 {
			*to = -1
		}
		return nil
	}
}

// readPositive refuses 0, which would silently mean the default.
func readPositive(to *caddy.Duration) func(*reading) error {
	read := readPeriod(to)
	return func(r *reading) error {
		if err := read(r); err != nil {
			return err
		}
		if *to < 0 {
			return r.Errf("%s is %q, want a duration above 0, such as %s", r.now.name, r.Val(), r.now.example)
		}
		return nil
	}
}

func readNumber(to *int) func(*reading) error {
	return func(r *reading) error {
		s, err := r.one()
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return r.Errf("%s is %q, want a count above 0, in digits, such as %s", r.now.name, s, r.now.example)
		}
		*to = n
		return nil
	}
}

func readSize(to *int64) func(*reading) error {
	return func(r *reading) error {
		s, err := r.one()
		if err != nil {
			return err
		}
		n, err := humanize.ParseBytes(s)
		if err != nil || n < 1 || n > 1<<62 {
			return r.Errf("%s is %q, want a size such as %s", r.now.name, s, r.now.example)
		}
		*to = int64(n)
		return nil
	}
}

// readMatch reads one match, and adds it.
func readMatch(to *[]Match) func(*reading) error {
	return func(r *reading) error {
		args := r.RemainingArgs()
		if len(args) < 2 || slices.Contains(args, "") {
			return r.usage(nil) // as if there were none: perhaps a {$NAME} has left nothing
		}
		kind, texts := args[0], args[1:]
		if err := r.checkList(r.now.name, texts, func(string) error { return nil }); err != nil {
			return err
		}
		switch kind {
		case "data":
			*to = append(*to, Match{Data: texts})
		case "event":
			*to = append(*to, Match{Event: texts})
		case "field":
			*to = append(*to, Match{Field: texts[0], Values: texts[1:]})
		default:
			return r.usage(args)
		}
		return nil
	}
}

// readDrain reads one duration or two.
func readDrain(to **Drain) func(*reading) error {
	return func(r *reading) error {
		args := r.RemainingArgs()
		if len(args) < 1 || len(args) > 2 {
			return r.usage(args)
		}
		*to = new(Drain)
		for i, window := range []*caddy.Duration{&(*to).Reload, &(*to).Exit}[:len(args)] {
			d, err := caddy.ParseDuration(args[i])
			if err != nil || d < 0 {
				return r.Errf("drain is %q, want durations such as %s", strings.Join(args, " "), r.now.example)
			}
			if *window = caddy.Duration(d); d == 0 {
				*window = -1 // in JSON, 0 is the default
			}
		}
		return nil
	}
}

// readStreamLimit adds the limit that it reads.
func readStreamLimit(to *[]StreamLimit) func(*reading) error {
	return func(r *reading) error {
		args := r.RemainingArgs()
		if len(args) < 2 || len(args) > 3 {
			return r.usage(args)
		}
		n, err := strconv.Atoi(args[1])
		limit := StreamLimit{Key: args[0], Max: n}
		if err == nil && len(args) == 3 {
			limit.IPv6Prefix, err = parseBits(args[2])
		}
		if err != nil {
			return r.Errf("max_streams_per is %q, want %s, as in %q: a key, a count, and perhaps how many bits of an address count",
				strings.Join(args, " "), r.now.args, r.now)
		}
		if err := limit.check(); err != nil {
			return r.WrapErr(err)
		}
		*to = append(*to, limit)
		return nil
	}
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

// readPresence reads a key and perhaps for how long it is to be there.
func readPresence(to **Presence) func(*reading) error {
	return func(r *reading) error {
		args := r.RemainingArgs()
		if len(args) < 1 || len(args) > 2 || args[0] == "" {
			return r.usage(args)
		}
		*to = &Presence{Key: args[0]}
		if len(args) == 1 {
			return nil
		}
		d, err := caddy.ParseDuration(args[1])
		if err != nil || d <= 0 {
			return r.Errf("presence %q: how long the key is there is %q, want a duration from 3s to 10m, such as 30s", args[0], args[1])
		}
		(*to).TTL = caddy.Duration(d)
		return nil
	}
}

// readQuiet reads for how long a stream may get nothing, and perhaps what it is told then.
func readQuiet(to **Quiet) func(*reading) error {
	return func(r *reading) error {
		args := r.RemainingArgs()
		if len(args) < 1 || len(args) > 2 {
			return r.usage(args)
		}
		d, err := caddy.ParseDuration(args[0])
		if err != nil || d <= 0 {
			return r.Errf("quiet is %q, want a duration from 1s to 1h, such as 2m", args[0])
		}
		*to = &Quiet{After: caddy.Duration(d)}
		if len(args) == 1 {
			return nil
		}
		if (*to).Data = args[1]; args[1] == "" {
			return r.Err("quiet has data that is empty: without any the stream is cut")
		}
		return nil
	}
}
