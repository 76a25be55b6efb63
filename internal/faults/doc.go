// Package faults proves that nothing is lost silently: it breaks Redis and the network to it under a gateway that carries
// traffic, and has an oracle, [Judge], hold what publishers and clients logged to the promises.
//
// "go test" runs the short form, "go test -timeout 3h . -args -long" the long one, as "make test" and "make faults" do.
//
// # Phases
//
//   - idle: nothing is published
//   - steady: steady traffic
//   - storm: 2,000 subscriptions a second come and go
//   - resubscription: in the middle of the resubscription of 20,000 channels
//   - replay: clients come back all the time, each to hundreds of messages
//   - publish: several publishers post
//   - reload: caddy reload
//   - exit: the gateway exits and starts again
//
// # Which pairs run
//
// The short form has every fault under steady traffic, the long one the pairs with an x. A number is why a pair is left out.
//
//	                          idle  steady  storm  resubscription  replay  publish  reload  exit
//	killed 2 s                x     x       x      x               x       x        x       x
//	killed 20 s               1     x       x      1               1       x        x       x
//	frozen 1.5 s              x     x       x      x               x       x        x       x
//	frozen 5 s                2     x       2      2               2       x        2       x
//	frozen 15 s               x     x       x      x               x       x        x       x
//	gateway paused 12 s       x     x       x      x               x       x        x       x
//	black hole                x     x       3      x               3       x        3       x
//	forgotten                 x     x       x      x               3       x        3       x
//	half-open to redis        4     x       x      x               3       x        3       x
//	half-open to the gateway  x     x       x      x               3       x        3       x
//	unheard                   5     x       x      x               3       x        3       x
//	reset                     x     x       x      x               x       x        x       x
//	closed                    x     x       x      x               6       x        6       6
//	slow link                 5     x       7      7               8       7        x       9
//	client kill               x     x       x      x               x       x        x       x
//	client kill in a message  5     x       7      7               6       7        6       6
//	output buffer             5     x       x      10              6       11       6       6
//	mute server               x     x       x      x               8       x        x       x
//	malformed server          12    x       12     x               12      12       12      x
//	malformed 1               x     x       x      x               6       x        6       6
//	malformed 2               6     x       6      x               6       6        6       6
//	foreign 1                 x     x       x      x               6       x        6       6
//	foreign 2                 6     x       6      x               6       6        6       6
//	huge length               x     x       x      x               6       x        6       6
//	password rotated          13    x       14     x               8       x        14      14
//	requirepass changed       13    x       15     15              15      15       15      15
//	channel forbidden         x     x       x      16              8       x        x       16
//	commands forbidden        13    x       x      x               8       x        x       x
//	maxclients                13    x       x      x               8       x        x       x
//	oom                       17    x       17     17              17      x        17      17
//	loading                   x     x       x      x               8       x        x       x
//	killed and loading        18    x       18     18              18      x        x       x
//	paused 2.5 s              19    x       19     19              19      x        19      19
//	demoted and cut off       x     x       x      x               8       x        x       20
//	demoted and linked        x     x       x      16              8       x        x       20
//	replica moved             x     x       21     21              21      21       21      21
//	clock ahead               x     x       22     22              x       22       x       x
//	clock back                x     x       22     22              x       22       x       x
//
// Why:
//  1. What a longer outage adds is backoff and breaker; for the rest see "killed 2 s".
//  2. To all but publishers it is what "frozen 1.5 s" is.
//  3. The gateway sees the silence that it sees in "frozen 15 s".
//  4. While nothing is published nothing arrives either, and it is what "black hole" is.
//  5. While nothing is published there is nothing to be slow with, nor to fill a buffer.
//  6. The gateway is done with the connection in the moment in which it notices, as in "reset".
//  7. What else goes on would wait for the slow link, and say nothing of the fault.
//  8. A replay reads buffers alone: it meets the end of the connection as in "reset" and "killed 2 s", or no end at all.
//  9. An exit ends what comes slowly.
//  10. The connection would have to be up for its buffer to be filled.
//  11. A POST does not go over the subscription; "steady" has one publisher who posts.
//  12. To streams it is what "mute server" is.
//  13. The fault is over when publishers have met it.
//  14. The gateway gets the new password by a reload: another one, or an exit, has the old one, and streams end with it.
//  15. To the gateway it is what "password rotated" is.
//  16. The fault is told by the one break of the connection that it makes, and the phase makes others.
//  17. PUBLISH and SUBSCRIBE need no memory of the keyspace: what is refused are other commands, as in "steady" and "publish".
//  18. For what follows an end of the connection see "killed 2 s".
//  19. To the gateway it is what "frozen 1.5 s" is.
//  20. A known hole: between a failover and its notice, ids say more than they know to a process that starts then (docs/architecture).
//  21. Nothing happens to the connection, and nothing else may: "steady" shows it.
//  22. The clock is in ids alone: it can matter to who comes back, and to nobody else.
package faults
