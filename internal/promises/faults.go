package promises

import "slices"

// A Fault is what happens to both the gateway and the plain endpoint, at the same time, while they carry the same traffic.
type Fault struct {
	Key   string
	Title string
	// Repeats says that the gateway may deliver a message again: see P4, after a restart.
	Repeats bool
}

// Faults are in the order of the document. The measurement knows them by their keys.
var Faults = []Fault{
	{Key: "opened", Title: "none: a message is published as soon as a stream is open"},
	{Key: "killed", Title: "Redis is killed, and starts again 2 s later"},
	{Key: "frozen", Title: "Redis is frozen for 1.5 s"},
	{Key: "frozen-long", Title: "Redis is frozen for 15 s"},
	{Key: "kicked", Title: "`CLIENT KILL TYPE pubsub`"},
	{Key: "hole", Title: "the network to Redis is a black hole for 12 s; connections survive it"},
	{Key: "forgotten", Title: "the network to Redis is a black hole for 12 s; connections from before it stay dead, without a sign"},
	{Key: "away", Title: "clients lose their connection and are away for 5 s"},
	{Key: "reloaded", Title: "`caddy reload`; uvicorn is told to stop, killed after 5 s, and started"},
	{Key: "restarted", Title: "the server is killed and started", Repeats: true},
	{Key: "stalled", Title: "one client of five reads nothing for 30 s, messages of 32 KiB"},
}

// QuickFaults are enough to see that everything runs.
func QuickFaults() (few []Fault) {
	for _, f := range Faults {
		if slices.Contains([]string{"opened", "killed", "kicked", "away"}, f.Key) {
			few = append(few, f)
		}
	}
	return few
}

// Keys are the keys of faults.
func Keys(faults []Fault) (keys []string) {
	for _, f := range faults {
		keys = append(keys, f.Key)
	}
	return keys
}

// faultOf returns the fault with that key, and whether there is one.
func faultOf(key string) (Fault, bool) {
	for _, f := range Faults {
		if f.Key == key {
			return f, true
		}
	}
	return Fault{}, false
}
