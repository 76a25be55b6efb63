package redissse

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

// publishError is a publish that has failed.
type publishError struct {
	verdict verdict
	err     error
}

func (e *publishError) Error() string { return e.err.Error() }

func (e *publishError) Unwrap() error { return e.err }

// verdict is what is known of a message that could not be published.
type verdict struct {
	reason dropReason
	status int  // of the answer
	again  bool // Redis has certainly not executed it, and might the next moment
	weight weight
}

var errPublisherClosed = errors.New("the hub has ended")

// weight is what a failure says about Redis, to the breaker.
type weight int

const (
	weightFailure weight = iota // Redis, or the way to it, fails
	weightSuccess               // Redis works: it does not want this message
	weightNone                  // nothing
)

// dropReason says why a message was not published, or may not have been.
type dropReason string

const (
	dropUnreachable dropReason = "unreachable" // no connection, or it was lost before the message was on its way
	dropUnavailable dropReason = "unavailable" // Redis says that it cannot: it loads, is a replica, is full ...
	dropDenied      dropReason = "denied"      // Redis does not let this user
	dropRejected    dropReason = "rejected"    // any other error of Redis
	dropBusy        dropReason = "busy"        // all connections of the hub were taken for too long
	dropOpen        dropReason = "breaker_open"
	dropUnknown     dropReason = "no_answer" // Redis may or may not have it
	dropCanceled    dropReason = "canceled"  // the request ended before
	dropTooLarge    dropReason = "too_large" // over max_size
)

var dropReasons = []dropReason{dropUnreachable, dropUnavailable, dropDenied, dropRejected, dropBusy, dropOpen, dropUnknown, dropCanceled, dropTooLarge}

// verdictOf returns the verdict on an error of publish or one of its attempts.
func verdictOf(err error) verdict {
	if failed, ok := errors.AsType[*publishError](err); ok {
		return failed.verdict
	}
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return verdict{reason: dropOpen, status: http.StatusServiceUnavailable, weight: weightNone}
	}
	return verdict{reason: dropUnreachable, status: http.StatusServiceUnavailable}
}

// judge returns the verdict on an attempt's error. sent says whether the
// message was being written; ended, whether the request was over.
func judge(err error, sent, ended bool) verdict {
	v := judgeRunning(err, sent)
	if ended && v.weight == weightFailure {
		v.weight, v.again = weightNone, false
		if v.reason != dropUnknown {
			v.reason = dropCanceled
		}
	}
	return v
}

func judgeRunning(err error, sent bool) verdict {
	if reply, ok := errors.AsType[redis.Error](err); ok {
		return judgeReply(reply) // Redis has not executed it
	}
	switch {
	case isProtocolError(err):
		return verdict{reason: dropRejected, status: http.StatusBadGateway, weight: weightSuccess}
	case errors.Is(err, redis.ErrPoolTimeout):
		return verdict{reason: dropBusy, status: http.StatusServiceUnavailable, weight: weightNone}
	case errors.Is(err, errPublisherClosed):
		return verdict{reason: dropUnreachable, status: http.StatusServiceUnavailable, weight: weightNone}
	case sent && !isWriteError(err):
		return verdict{reason: dropUnknown, status: http.StatusGatewayTimeout}
	}
	return verdict{reason: dropUnreachable, status: http.StatusServiceUnavailable, again: true}
}

// isProtocolError reports whether Redis has closed the connection because of what the
// command announced.
func isProtocolError(err error) bool {
	said, ok := errors.AsType[*hungUp](err)
	return ok && strings.HasPrefix(said.reply, protocolError)
}

// isWriteError reports whether the message could not be written to its end.
// Then the connection is closed, and Redis does not execute half a command.
func isWriteError(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "write"
}

// The errors of Redis that say more of its state than of the command, by their
// first word. Those that pass by themselves are worth another attempt.
var (
	passingErrors = []string{"LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "READONLY"}
	lastingErrors = []string{"OOM", "NOREPLICAS", "MISCONF"}
)

func judgeReply(err redis.Error) verdict {
	word, _, _ := strings.Cut(err.Error(), " ")
	switch {
	case slices.Contains(passingErrors, word), redis.IsMaxClientsError(err):
		return verdict{reason: dropUnavailable, status: http.StatusServiceUnavailable, again: true}
	case slices.Contains(lastingErrors, word):
		return verdict{reason: dropUnavailable, status: http.StatusServiceUnavailable}
	case redis.IsAuthError(err):
		return verdict{reason: dropDenied, status: http.StatusBadGateway}
	case word == "NOPERM":
		return verdict{reason: dropDenied, status: http.StatusBadGateway, weight: weightSuccess}
	}
	return verdict{reason: dropRejected, status: http.StatusBadGateway, weight: weightSuccess}
}
