package redissse

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.uber.org/zap"
)

var (
	isRedisURL = regexp.MustCompile(`^(rediss?|unix)://`)
	// escapedBrace is a brace that Caddy takes for one.
	escapedBrace = regexp.MustCompile(`\\[{}]`)
	// innermost is a placeholder, in which there is no other.
	innermost = regexp.MustCompile(`\{[^{}]*\}`)
	// shellVariable is how a shell, and no Caddyfile, has what is in no part of a request.
	shellVariable = regexp.MustCompile(`\$\{[A-Za-z_]\w*\}`)
	// withoutDot is a placeholder as only a directive can make it: all of Caddy's own have a dot.
	withoutDot = regexp.MustCompile(`\{[^{}.]*\}`)
	// dollarName is what is left of a shell's variable, or of a template's.
	dollarName = regexp.MustCompile(`\$[A-Za-z_{]`)
)

// checkConfigured checks a channel as it stands in the configuration.
func checkConfigured(channel string) error {
	if isRedisURL.MatchString(channel) { // which is not repeated: a password may be in it
		return errors.New("channel is a redis URL, which goes on a redis line in the block")
	}
	if err := checkChannel(channel); err != nil {
		return err
	}
	if found := shellVariable.FindString(channel); found != "" {
		return fmt.Errorf("channel %q: %q is a shell's; a placeholder has no $, as in {query.id}, {header.X-User} and {http.auth.user.id}, "+
			"and {$NAME} is a variable of caddy's environment", channel, found)
	}
	plain := escapedBrace.ReplaceAllString(channel, "")
	rest := innermost.ReplaceAllString(plain, "")
	switch opens := strings.Contains(rest, "{"); {
	case opens && rest != plain:
		return fmt.Errorf("channel %q: a placeholder has one brace on each side, as in {query.id}; a brace that is meant as it is is \\{ or \\}", channel)
	case opens && strings.HasSuffix(rest, "{"):
		return fmt.Errorf("channel %q ends with {: perhaps a space is missing before it", channel)
	case opens:
		return fmt.Errorf("channel %q: a { has no }; a brace that is meant as it is is \\{", channel)
	}
	return nil
}

// warnOfDoubts tells the operator what in a channel's text is probably not meant as it is
// taken. A channel may be called so, so it is no error.
func warnOfDoubts(log *zap.Logger, channel, insteadOfGlob string) {
	plain := withoutPlaceholders(channel)
	if strings.ContainsAny(plain, "*?[") {
		log.Warn("channel has glob characters and is taken literally: "+insteadOfGlob, zap.String("channel", channel))
	}
	if strings.Contains(plain, ",") {
		log.Warn("channel has a comma and is one channel: several are separated by spaces, in JSON they are a list", zap.String("channel", channel))
	}
	if dollarName.MatchString(channel) {
		log.Warn("channel has a $, which is taken literally: placeholders are like {query.id}", zap.String("channel", channel))
	}
	if found := withoutDot.FindString(escapedBrace.ReplaceAllString(channel, "")); found != "" {
		log.Warn("channel has a placeholder that caddy does not know: unless a directive such as map sets it, each request is answered with 400",
			zap.String("channel", channel), zap.String("placeholder", found))
	}
}
