// Package outlet has a few goroutines do what many tasks have to do now and then, such as
// writing to sockets that are never waited for. It knows neither what the tasks do nor for
// whom.
//
// Tasks wait in lanes, which take turns: a crowd in one of them holds up the tasks of the
// others by no more than a few of its own. A task that fails, by a panic, ends alone. What
// no outlet can mend is a task that waits, or goes on for long: all others wait with it.
// So each is watched: see [Pool.Lag]. Duties that have to wait are for a [Crew].
package outlet
