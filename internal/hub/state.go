package hub

// state is what Redis has been asked for a subscription on the connection at
// hand, and what it answered. Whether anybody wants the subscription is a
// second question, see wanted. The two answers say what has to be written:
//
//	state     wanted        not wanted
//	unasked   SUBSCRIBE *   nothing
//	asked     nothing       UNSUBSCRIBE
//	live      nothing       UNSUBSCRIBE
//	denied    nothing       nothing
//	leaving   -             UNSUBSCRIBE
//	gone      -             nothing
//
//	* nothing if a kept pattern serves the channel for good
//
// A subscription that nobody wants leaves the hub when the writer comes to it in
// the queue, or at once if it is not queued.
type state uint8

const (
	stateUnasked state = iota // Redis has not been asked on this connection
	stateAsked                // (P)SUBSCRIBE is written, Redis has not answered
	stateLive                 // Redis has confirmed it
	stateDenied               // an ACL denied it by itself, not longer than denialPeriod ago
	stateLeaving              // out of the hub, but its (P)UNSUBSCRIBE is still queued
	stateGone                 // out of the hub, and nothing is to be written
)

// event is what moves a subscription from state to state.
type event uint8

const (
	eventWritten           event = iota // the writer took what toWrite says
	eventConfirmed                      // by Redis
	eventDenied                         // by an ACL, which was asked for this one alone
	eventDeniedAmongOthers              // by an ACL, for one of several in a command or for all
	eventDenialOver                     // denialPeriod has passed
	eventLost                           // the connection is over
	eventForgotten                      // the hub has taken it out
)

// transitions says where an event leads from a state. An event that is not listed
// changes nothing:
//
//	Redis answers for what is leaving or gone     too late
//	the connection is lost to what is unasked     Redis did not know of it
//	the connection is lost to what is denied      a denial outlives the connection
//	the connection is lost to what is leaving     the queue is lost, too
//	what is leaving or gone is forgotten again    once was enough
var transitions = [...][]struct{ from, to state }{
	eventWritten:           {{stateUnasked, stateAsked}, {stateLeaving, stateGone}},
	eventConfirmed:         {{stateAsked, stateLive}},
	eventDenied:            {{stateAsked, stateDenied}},
	eventDeniedAmongOthers: {{stateAsked, stateUnasked}},
	eventDenialOver:        {{stateDenied, stateUnasked}},
	eventLost:              {{stateAsked, stateUnasked}, {stateLive, stateUnasked}},
	eventForgotten: {
		{stateUnasked, stateGone}, {stateDenied, stateGone},
		{stateAsked, stateLeaving}, {stateLive, stateLeaving},
	},
}

// on moves the subscription along an event. It reports whether transitions
// lists the event for the state.
func (s *subscription) on(e event) bool {
	for _, t := range transitions[e] {
		if t.from == s.state {
			s.state = t.to
			return true
		}
	}
	return false
}

// wanted reports whether the subscription is to be there: streams hold it, the
// configuration keeps it, or it lingers.
func (s *subscription) wanted() bool { return s.streams > 0 || s.kept || s.lingers }

// toWrite returns which command has to be written for the subscription, an
// empty kind if none.
func (s *subscription) toWrite() commandKind {
	subscribe, unsubscribe := subscribeCommand, unsubscribeCommand
	if s.pat != nil {
		subscribe, unsubscribe = psubscribeCommand, punsubscribeCommand
	}
	switch s.state {
	case stateUnasked:
		if s.wanted() && !s.servedForGood() {
			return subscribe
		}
	case stateAsked, stateLive, stateLeaving:
		if !s.wanted() {
			return unsubscribe
		}
	}
	return ""
}
