// Package attack plays what a client can do to take memory and time from a
// gateway and from its other clients, against a real one with a real Redis,
// and says what it took beside what it may take: "make attack". The attacks
// are tests behind the build tag "attack", one file for each kind:
//
//   - clients that read nothing (unread_test.go);
//   - places where a message is missing, in great number (gaps_test.go);
//   - cursors and starting points that take long to find (cursors_test.go);
//   - bodies of requests for streams that never end (bodies_test.go);
//   - bodies to publish: ones that stop, and ones that Redis does not take
//     (publishing_test.go);
//   - channels that are opened and left (channels_test.go);
//   - replays in great number (replays_test.go).
//
// Memory, counts, how many times more CPU an attack takes than its harmless twin
// in the same run, and what share of a replay's time live ones are late are
// judged always. Times are judged only at full size, on a machine that does
// nothing else.
package attack
