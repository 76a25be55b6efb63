package redissse

import (
	"errors"
	"fmt"
	"net"
)

// role is what a server says of itself: a replica that is cut off from its
// master answers pings and takes subscriptions, but hears of no message.
type role struct {
	kind   roleKind
	master string // of a replica: its master's address
}

type roleKind int

const (
	roleUnknown roleKind = iota // ROLE is refused, or its reply is none we know: a Sentinel's
	roleMaster
	roleReplica // its link to its master is up
	roleCutOff  // a replica that is not, or not yet, connected to its master
)

var (
	errCutOff  = errors.New("redis is a replica without a link to its master")
	errDemoted = errors.New("redis was a master and has become a replica")
)

// String is what the status says.
func (k roleKind) String() string {
	return [...]string{roleUnknown: "unknown", roleMaster: "master", roleReplica: "replica", roleCutOff: "cut_off"}[k]
}

// parseRole reads a reply to ROLE: "master", or "slave", its master's host and
// port, and the state of its link.
func parseRole(reply []any) role {
	if len(reply) == 0 {
		return role{}
	}
	if reply[0] == "master" {
		return role{kind: roleMaster}
	}
	if reply[0] != "slave" || len(reply) < 4 {
		return role{}
	}
	r := role{kind: roleCutOff, master: net.JoinHostPort(fmt.Sprint(reply[1]), fmt.Sprint(reply[2]))}
	if reply[3] == "connected" {
		r.kind = roleReplica
	}
	return r
}

// useless returns why nothing can be expected of such a server. The state of
// the link stays out of it: it changes every second, and an outage is logged
// again whenever its cause changes.
func (r role) useless() error {
	if r.kind == roleCutOff {
		return fmt.Errorf("%w %s", errCutOff, r.master)
	}
	return nil
}

// since returns what is wrong if a server that was in the role before is in r
// now. A master that became a replica is left once, also if its link is up:
// what was published to the new master until the two were in sync never came
// here. After that it has been a replica from the start.
func (r role) since(before role) error {
	if err := r.useless(); err != nil {
		return err
	}
	if before.kind == roleMaster && r.kind == roleReplica {
		return fmt.Errorf("%w of %s", errDemoted, r.master)
	}
	return nil
}
