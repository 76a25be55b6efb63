package redissse

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// Match says which messages are meant. Exactly one of Data, Event and Field is set.
type Match struct {
	// The payload is one of these texts, byte for byte.
	Data []string `json:"data,omitempty"`

	// The name of the message's event, as event makes it, is one of these.
	Event []string `json:"event,omitempty"`

	// The payload is JSON that has this path: keys and array indexes joined by dots, such as
	// choices.0.delta.role. A key with a dot cannot be named, unless it is all of the path.
	Field string `json:"field,omitempty"`

	// With field: the string, number, true, false or null there is one of these texts.
	// Default: any value
	Values []string `json:"values,omitempty"`
}

func matchesOf(all []Match) (of []hub.Match) {
	for _, m := range all {
		of = append(of, hub.Match(m))
	}
	return of
}

// wireOptions are what a handler's options say of how streams look to their clients, and where they begin and end.
type wireOptions struct {
	hub.Wire
	from, empty        string
	clientFrom         bool
	channels, patterns []string // as configured
}

// wire is a resolved wireOptions. Immutable once it is resolved.
type wire struct {
	format     hub.Format
	from       hub.Start
	clientFrom bool
	noContent  bool // a stream that would begin with nothing is not opened
}

// The values of empty.
const (
	emptyWait      = "wait"
	emptyNoContent = "204"
)

// resolve sets all of w, which must stay where it is.
func (w *wire) resolve(o wireOptions) (err error) {
	*w = wire{clientFrom: o.clientFrom, noContent: o.empty == emptyNoContent}
	if w.format, err = hub.ParseFormat(o.Wire); err != nil {
		return err
	}
	if w.from, err = parseFrom(o.from, &w.format); err != nil {
		return err
	}
	if o.empty != "" && o.empty != emptyWait && o.empty != emptyNoContent {
		return fmt.Errorf("empty is %q, want wait or 204", o.empty)
	}
	return w.checkAnswers(o)
}

// checkAnswers checks the options that are about answers: a stream has one end, and whose it is must be clear.
func (w *wire) checkAnswers(o wireOptions) error {
	alone := len(o.channels) == 1 && len(o.patterns) == 0
	isLive := o.from == "" || o.from == fromLive
	switch all := slices.Concat(o.channels, o.patterns); {
	case w.format.HasEnd() && !alone:
		return fmt.Errorf("end needs a stream of one channel, this one is of %q: whose end would it be?", all)
	case w.format.HasBegin() && !alone:
		return fmt.Errorf("begin needs a stream of one channel, this one is of %q: whose beginning would it be?", all)
	case w.format.HasBegin() && !w.from.IsWhole() && !w.clientFrom:
		return fmt.Errorf("begin needs from start or from unfinished, and from is %q: a stream from there begins in the middle", cmp.Or(o.from, fromLive))
	case w.noContent && isLive && !w.clientFrom:
		return errors.New("empty is \"204\", and from is \"live\": each stream would begin with nothing, and no client ever get one")
	}
	return nil
}

// warn tells the operator what the options hide from clients.
func (w *wire) warn(log *zap.Logger, route string) {
	if w.format.HidesGaps() {
		log.Warn("gap_data none: no client is told what it missed; the log and the metrics alone say so", zap.String("route", route))
	}
	if w.format.Comments() && !w.from.IsWhole() {
		log.Warn("control comments without from start or from unfinished: a stream that is cut before its first message goes on as a new one, "+
			"and nobody is told what it missed", zap.String("route", route))
	}
}

// start returns where a request's stream begins.
func (w *wire) start(r *http.Request) (hub.Start, error) {
	at, err := requestStart(r, w.from, w.clientFrom, &w.format)
	if err != nil {
		return at, err
	}
	if at.Resumes() && !at.Readable() && w.format.Comments() && w.from.IsWhole() {
		at = w.from // such as -1: nothing can be missing that a new client would get
	}
	if w.format.HasBegin() {
		at = at.BeginningAnswers(&w.format)
	}
	return at, nil
}

// answerNothing answers a request that there is nothing to stream for. An EventSource does not come back after it
// (WHATWG HTML, 9.2.4).
func answerNothing(w http.ResponseWriter, count prometheus.Counter) {
	count.Inc()
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// leftPayloads are those of a handler that are sent as they are, since they have no value where data says. Safe for
// concurrent use.
type leftPayloads struct {
	seldom
	route string
	log   *zap.Logger
	count prometheus.Counter
}

func (l *leftPayloads) note() {
	l.count.Inc()
	l.warn(l.log, "payloads have no value where data says, and are sent as they are", zap.String("route", l.route))
}
