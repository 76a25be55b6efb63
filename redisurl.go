package redissse

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
)

// A Redis URL may hold a password, and a malformed one may hold it anywhere: as its
// port, as its path, as all of it. So no error about a URL repeats any of its text but the
// names of placeholders and of known options. It says what is wrong by rule.

// redisURL is a Redis URL, read.
type redisURL struct {
	options *redis.Options
	literal bool // the configuration itself holds the password
}

// defaultRedis is where a Redis is that somebody has just installed.
const defaultRedis = "redis://127.0.0.1:6379/0"

// What is wrong with a URL.
var (
	errURLScheme   = errors.New("the scheme is none of redis://, rediss:// (TLS) and unix://, in lower case and without a quote before it")
	errURLNoScheme = errors.New("the scheme is missing: a URL begins with redis://, rediss:// (TLS) or unix://, as in redis://localhost:6379 and unix:///run/redis.sock")
	errURLControl  = errors.New("a control character is in it, such as the end of a line")
	errURLReserved = errors.New("in a user or password, all but letters, digits and - . _ ~ ! $ & ' ( ) * + , ; = must be percent-encoded")
	errURLBraces   = errors.New("a brace is neither that of {env.*} or {file.*} nor percent-encoded")
	errURLHosts    = errors.New("it names several hosts: one is wanted, there is no Cluster or Sentinel yet")
	errURLHost     = errors.New("a character is in the host that no host has")
	errURLPort     = errors.New("the port is no number from 1 to 65535, as it is in redis://localhost:6379")
	errURLPortOr   = fmt.Errorf("%w; or an @ and the host are missing behind a password, as in redis://user:password@localhost:6379", errURLPort)
	errURLColons   = errors.New("the host holds more than one colon: an IPv6 address stands in [ ], and a password before an @")
	errURLNoHost   = errors.New("a port without a host; a {$NAME} that is not set leaves nothing")
	errURLDatabase = errors.New("the path is no number of a database, as it is in redis://localhost:6379/0")
	errURLSocket   = errors.New("a socket's path begins with /, as in unix:///run/redis.sock")
	errURLOptions  = errors.New("an option behind the ? is unknown")
)

// readRedisURL reads what is configured as a Redis URL. Empty is the default.
func readRedisURL(configured string) (redisURL, error) {
	if configured == "" {
		configured = defaultRedis
	}
	var options *redis.Options
	text, literal, err := replacedURL(configured)
	if err == nil {
		options, err = parseURL(text)
	}
	if err != nil {
		return redisURL{}, fmt.Errorf("redis%s: %w", sourceOf(configured), err)
	}
	if options.Username != "" && options.Username != "default" && options.Password == "" {
		options.Password = anyPassword
	}
	return redisURL{options, literal}, nil
}

// anyPassword goes with a user for whom none is given: go-redis says who it is only
// where there is one. A user without a password (nopass) takes any, and Redis refuses
// everybody else, loudly. The user default needs none: a connection begins as his.
const anyPassword = "no password is configured"

// urlPlaceholder is a placeholder in a URL. Its name is no secret if it says where the
// secret is.
var urlPlaceholder = regexp.MustCompile(`\{(?:(env|file)\.)?[^{}]*\}`)

// sourceOf names where a URL comes from, if that is all of what is configured.
func sourceOf(configured string) string {
	if found := urlPlaceholder.FindStringSubmatch(configured); found != nil && found[0] == configured && found[1] != "" {
		return " " + configured
	}
	return ""
}

// mark stands for a placeholder until its value takes its place: no URL holds one.
const mark = "\x00"

// replacedURL puts the values of placeholders in. The value of one in a user and password
// is meant as it is; any other one is a part of the URL. literal reports that not all of
// the password comes from placeholders.
func replacedURL(configured string) (text string, literal bool, err error) {
	if hasControl(configured) {
		return "", false, errURLControl
	}
	var values []string
	var failed []error
	marked := urlPlaceholder.ReplaceAllStringFunc(configured, func(found string) string {
		value, err := valueOf(found)
		values, failed = append(values, value), append(failed, err)
		return mark
	})
	if err := errors.Join(failed...); err != nil {
		return "", false, err
	}
	if strings.ContainsAny(marked, "{}") {
		return "", false, errURLBraces
	}
	parts := splitURL(marked)
	if _, password, ok := strings.Cut(parts.userinfo, ":"); ok {
		literal = strings.Trim(password, mark) != ""
		n := strings.Count(parts.scheme, mark)
		for i := n; i < n+strings.Count(parts.userinfo, mark); i++ {
			values[i] = escaped(values[i])
		}
	}
	for _, value := range values {
		marked = strings.Replace(marked, mark, value, 1)
	}
	return strings.TrimSpace(marked), literal, nil
}

// valueOf returns a placeholder's value, without the line end that a file has.
func valueOf(found string) (string, error) {
	value, _ := caddy.NewReplacer().GetString(strings.Trim(found, "{}"))
	if value = strings.TrimRight(value, "\r\n"); value != "" {
		return value, nil
	}
	if urlPlaceholder.FindStringSubmatch(found)[1] == "" {
		return "", errURLBraces
	}
	return "", fmt.Errorf("%s is not set, cannot be read, or is empty", found)
}

func escaped(s string) string { return strings.TrimPrefix(url.UserPassword("", s).String(), ":") }

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

// urlParts are the parts of a URL, as they stand in it: all but the scheme may be empty.
type urlParts struct{ scheme, userinfo, host, path, query string }

// splitURL splits a URL, or what is none. The first / ? or # behind the scheme ends the
// host, the last @ before that begins it.
func splitURL(s string) (p urlParts) {
	scheme, rest, ok := strings.Cut(s, "://")
	if ok {
		p.scheme = scheme
	} else {
		rest = s
	}
	p.host = rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		p.host = rest[:i]
		p.path, p.query, _ = strings.Cut(rest[i:], "?")
	}
	if i := strings.LastIndexByte(p.host, '@'); i >= 0 {
		p.userinfo, p.host = p.host[:i], p.host[i+1:]
	}
	return p
}

// parseURL reads a URL whose placeholders are replaced.
func parseURL(s string) (*redis.Options, error) {
	p := splitURL(s)
	if err := p.check(s); err != nil {
		return nil, err
	}
	o, err := redis.ParseURL(s)
	if err != nil {
		return nil, p.badOption() // nothing else is left
	}
	return o, nil
}

// check says what is wrong with a URL, but for the names and values of its options.
func (p urlParts) check(s string) error {
	isSocket := p.scheme == "unix"
	_, badQuery := url.ParseQuery(p.query) // go-redis leaves out what is malformed
	switch {
	case hasControl(s):
		return errURLControl
	case p.scheme == "" && !strings.HasPrefix(s, "://"):
		return errURLNoScheme
	case !slices.Contains([]string{"redis", "rediss", "unix"}, p.scheme):
		return errURLScheme
	case strings.Contains(s, "#"), !validUserinfo(p.userinfo),
		// The rest of the password would be taken for a path, its beginning for the
		// host to dial. The path of a socket may hold an @.
		strings.Contains(p.path+p.query, "@") && (!isSocket || p.host != ""):
		return errURLReserved
	case badQuery != nil:
		return errURLOptions
	case isSocket:
		return checkSocket(p.host, p.path)
	case !databasePath.MatchString(p.path):
		return errURLDatabase
	}
	return checkHost(p.host)
}

// databasePath is the number of a database, if any.
var databasePath = regexp.MustCompile(`^/*[0-9]{0,9}/*$`)

func validUserinfo(s string) bool {
	_, err := url.Parse("redis://" + s + "@")
	return err == nil
}

func checkSocket(host, path string) error {
	decoded, err := url.PathUnescape(path)
	if host != "" || err != nil || strings.Trim(decoded, "/ ") == "" {
		return errURLSocket
	}
	return nil
}

// hostName is what a resolver takes, or an IPv4 address.
var hostName = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)

// checkHost checks a host and its port. Without both it is localhost.
func checkHost(s string) error {
	host, port, hasPort := strings.Cut(s, ":")
	if inside, behind, ok := strings.Cut(strings.TrimPrefix(s, "["), "]"); ok && s[0] == '[' {
		if !validIPv6(inside) || behind != "" && behind[0] != ':' {
			return errURLHost
		}
		host, port, hasPort = "ipv6", strings.TrimPrefix(behind, ":"), behind != ""
	}
	number, err := strconv.ParseUint(port, 10, 16)
	switch {
	case strings.Contains(s, ","):
		return errURLHosts
	case strings.Contains(port, ":"):
		return errURLColons
	case hasPort && (err != nil || number == 0):
		return badPort(host, port)
	case !hostName.MatchString(host):
		return errURLHost
	case host == "" && hasPort:
		return errURLNoHost
	}
	return nil
}

// notDigits is in a port that may be a password: one without its host.
var notDigits = regexp.MustCompile(`[^0-9]`)

// badPort blames the port alone if what stands before it is a host and can be no user.
func badPort(host, port string) error {
	if host == "localhost" || strings.Contains(host, ".") || !notDigits.MatchString(port) {
		return errURLPort
	}
	return errURLPortOr
}

func validIPv6(s string) bool {
	ip, err := netip.ParseAddr(strings.Replace(s, "%25", "%", 1)) // before a zone
	return err == nil && ip.Is6()
}

// badOption names an option without a valid value. One that is unknown has no name that
// may be repeated.
func (p urlParts) badOption() error {
	asked, _ := url.ParseQuery(p.query) // has been checked
	for _, key := range slices.Sorted(maps.Keys(asked)) {
		alone := p.scheme + "://" + "/1?" + url.QueryEscape(key) + "="
		_, unknown := redis.ParseURL(alone)
		_, invalid := redis.ParseURL(alone + url.QueryEscape(asked.Get(key)))
		if unknown == nil && invalid != nil {
			return fmt.Errorf("the option %q has no valid value", key)
		}
	}
	return errURLOptions
}

// withoutPassword hides the password in an error's text: a server that does not know AUTH
// repeats its arguments.
func withoutPassword(err error, of *redis.Options) error {
	if err == nil || of.Password == "" || !strings.Contains(err.Error(), of.Password) {
		return err
	}
	return &hushed{err, strings.ReplaceAll(err.Error(), of.Password, "xxxxx")}
}

// hushed is an error with another text.
type hushed struct {
	err  error
	text string
}

func (e *hushed) Error() string { return e.text }

func (e *hushed) Unwrap() error { return e.err }
