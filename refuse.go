package redissse

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A client that was refused comes back after this long, by chance: what it
// was refused for does not pass at once, and all of them should not come back
// together.
const (
	minRefusal = 10 * time.Second
	maxRefusal = 30 * time.Second
)

// refuse answers a request that there is no room for now. Any status but 200
// would stop an EventSource for ever, so that it gets a stream that ends at
// once; the spec has it come back after the retry time.
func refuse(w http.ResponseWriter, r *http.Request, reason error) error {
	later := jitter(minRefusal, maxRefusal)
	if !strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "text/event-stream") {
		w.Header().Set("Retry-After", strconv.Itoa(int(later.Seconds())))
		status := http.StatusServiceUnavailable
		if errors.Is(reason, errTooManyClientStreams) {
			status = http.StatusTooManyRequests
		}
		return caddyhttp.Error(status, reason)
	}
	setHeaders(w.Header())
	out := append(appendRetry(nil, later.Milliseconds()), ": "+reason.Error()+"\n"...)
	_, _ = w.Write(out) // a client that has gone needs no answer
	return nil
}
