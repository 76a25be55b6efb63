//go:build linux

package faults

// Why a fault does not happen in a phase in the long form. Each has to hold for every row that gives it.
const (
	nothingToSay     = "While nothing is published there is nothing to be slow with, nor to fill a buffer."
	noLonger         = "What a longer outage adds is backoff and breaker; for the rest see \"killed 2 s\"."
	shortSilence     = "To all but publishers it is what \"frozen 1.5 s\" is."
	silence          = "The gateway sees the silence that it sees in \"frozen 15 s\"."
	buffersAlone     = "A replay reads buffers alone: it meets the end of the connection as in \"reset\" and \"killed 2 s\", or no end at all."
	likeReset        = "The gateway is done with the connection in the moment in which it notices, as in \"reset\"."
	slowAlone        = "What else goes on would wait for the slow link, and say nothing of the fault."
	likeMute         = "To streams it is what \"mute server\" is."
	likeRotated      = "To the gateway it is what \"password rotated\" is."
	likeKilled       = "For what follows an end of the connection see \"killed 2 s\"."
	likeFrozen       = "To the gateway it is what \"frozen 1.5 s\" is."
	publishersNeeded = "The fault is over when publishers have met it."
	oneBreak         = "The fault is told by the one break of the connection that it makes, and the phase makes others."
	failoverHole     = "A known hole: between a failover and its notice, ids say more than they know to a process that starts then (docs/architecture)."
	byReload         = "The gateway gets the new password by a reload: another one, or an exit, has the old one, and streams end with it."
	slowEnds         = "An exit ends what comes slowly."
	notUp            = "The connection would have to be up for its buffer to be filled."
	likeHole         = "While nothing is published nothing arrives either, and it is what \"black hole\" is."
	noBreak          = "Nothing happens to the connection, and nothing else may: \"steady\" shows it."
	subscriberAlone  = "A POST does not go over the subscription; \"steady\" has one publisher who posts."
	noMemory         = "PUBLISH and SUBSCRIBE need no memory of the keyspace: what is refused are other commands, as in \"steady\" and \"publish\"."
	clockInIDs       = "The clock is in ids alone: it can matter to who comes back, and to nobody else."
)

// row is a fault, and why it is left out of phases.
type row struct {
	fault string
	out   map[string]string
}

// table has a row for each fault. All happen in the phase "steady".
var table = []row{
	{"killed 2 s", nil},
	{"killed 20 s", out(noLonger, "idle", "resubscription", "replay")},
	{"frozen 1.5 s", nil},
	{"frozen 5 s", out(shortSilence, "idle", "storm", "resubscription", "replay", "reload")},
	{"frozen 15 s", nil},
	{"gateway paused 12 s", nil},
	{"black hole", out(silence, "storm", "replay", "reload")},
	{"forgotten", out(silence, "replay", "reload")},
	{"half-open to redis", join(out(likeHole, "idle"), out(silence, "replay", "reload"))},
	{"half-open to the gateway", out(silence, "replay", "reload")},
	{"unheard", join(out(nothingToSay, "idle"), out(silence, "replay", "reload"))},
	{"reset", nil},
	{"closed", out(likeReset, "replay", "reload", "exit")},
	{"slow link", join(out(nothingToSay, "idle"), out(slowAlone, "storm", "resubscription", "publish"), out(buffersAlone, "replay"), out(slowEnds, "exit"))},
	{"client kill", nil},
	{"client kill in a message", join(out(nothingToSay, "idle"), out(slowAlone, "storm", "resubscription", "publish"), out(likeReset, "replay", "reload", "exit"))},
	{"output buffer", join(out(nothingToSay, "idle"), out(notUp, "resubscription"), out(likeReset, "replay", "reload", "exit"), out(subscriberAlone, "publish"))},
	{"mute server", out(buffersAlone, "replay")},
	{"malformed server", out(likeMute, "idle", "storm", "replay", "publish", "reload")},
	{"malformed 1", out(likeReset, "replay", "reload", "exit")},
	{"malformed 2", out(likeReset, "idle", "storm", "replay", "publish", "reload", "exit")},
	{"foreign 1", out(likeReset, "replay", "reload", "exit")},
	{"foreign 2", out(likeReset, "idle", "storm", "replay", "publish", "reload", "exit")},
	{"huge length", out(likeReset, "replay", "reload", "exit")},
	{"password rotated", join(out(publishersNeeded, "idle"), out(byReload, "storm", "reload", "exit"), out(buffersAlone, "replay"))},
	{"requirepass changed", join(out(publishersNeeded, "idle"), out(likeRotated, "storm", "resubscription", "replay", "publish", "reload", "exit"))},
	{"channel forbidden", join(out(oneBreak, "resubscription", "exit"), out(buffersAlone, "replay"))},
	{"commands forbidden", join(out(publishersNeeded, "idle"), out(buffersAlone, "replay"))},
	{"maxclients", join(out(publishersNeeded, "idle"), out(buffersAlone, "replay"))},
	{"oom", out(noMemory, "idle", "storm", "resubscription", "replay", "reload", "exit")},
	{"loading", out(buffersAlone, "replay")},
	{"killed and loading", join(out(likeKilled, "idle", "storm", "resubscription", "replay"))},
	{"paused 2.5 s", out(likeFrozen, "idle", "storm", "resubscription", "replay", "reload", "exit")},
	{"demoted and cut off", join(out(buffersAlone, "replay"), out(failoverHole, "exit"))},
	{"demoted and linked", join(out(oneBreak, "resubscription"), out(buffersAlone, "replay"), out(failoverHole, "exit"))},
	{"replica moved", out(noBreak, "storm", "resubscription", "replay", "publish", "reload", "exit")},
	{"clock ahead", out(clockInIDs, "storm", "resubscription", "publish")},
	{"clock back", out(clockInIDs, "storm", "resubscription", "publish")},
}

// out leaves a fault out of phases.
func out(why string, phases ...string) map[string]string {
	left := map[string]string{}
	for _, p := range phases {
		left[p] = why
	}
	return left
}

func join(maps ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range maps {
		for p, why := range m {
			all[p] = why
		}
	}
	return all
}

// leftOut is why a fault does not happen in a phase in the long form, "" if it does.
func leftOut(fault, phase string) string {
	for _, r := range table {
		if r.fault == fault {
			return r.out[phase]
		}
	}
	return ""
}
