package redissse

import (
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// streamLog logs that a stream opens and that it ends, if the log's level is debug. A nil
// one does nothing: then a stream costs nothing by it.
type streamLog struct {
	log    *zap.Logger // with what both lines say
	opened time.Time

	events, gaps int
}

// openStreamLog logs that a stream of these channels opens. begins says where.
func openStreamLog(log *zap.Logger, r *http.Request, channels, patterns []string, begins hub.Beginning) *streamLog {
	if !log.Core().Enabled(zap.DebugLevel) {
		return nil
	}
	l := &streamLog{opened: time.Now(), log: log.With(
		zap.Strings("channels", loggable(channels)), zap.Strings("patterns", loggable(patterns)),
		zap.String("begins", string(begins)), zap.String("client_ip", clientIP(r)), zap.String("proto", r.Proto),
	)}
	l.log.Debug("a stream opens", zap.Int("channels_in_all", len(channels)), zap.Int("patterns_in_all", len(patterns)))
	return l
}

// leans logs how a stream that is live is written.
func (l *streamLog) leans(plan *leanPlan) {
	if l != nil {
		l.log.Debug("a stream is live", zap.String("lean", string(plan.kind)), zap.String("reason", string(plan.why)), zap.String("detail", plan.detail))
	}
}

// count counts a batch that has been written.
func (l *streamLog) count(b *hub.Batch) {
	if l == nil {
		return
	}
	for i := range b.Items {
		if _, isGap := b.Items[i].IsGap(); isGap {
			l.gaps++
		} else {
			l.events++
		}
	}
}

// end logs that the stream ends, so many bytes written, before they are encrypted.
func (l *streamLog) end(why endReason, bytes int64) {
	if l != nil {
		l.log.Debug("a stream ends", zap.String("end", string(why)), zap.Int("events", l.events), zap.Int("gaps", l.gaps),
			zap.Int64("bytes", bytes), zap.Duration("age", time.Since(l.opened)))
	}
}

// A line has so many names, and so many bytes of each: clients may have chosen them.
const (
	maxLoggedNames = 8
	maxLoggedName  = 64
)

func loggable(names []string) []string {
	logged := make([]string, 0, min(len(names), maxLoggedNames))
	for _, name := range names[:min(len(names), maxLoggedNames)] {
		logged = append(logged, shortened(name, maxLoggedName))
	}
	return logged
}
