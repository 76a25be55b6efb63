package hub

import "iter"

// SignalStreams signals the streams that read one channel or, if it is a pattern,
// that, by this name. It returns how many there are.
func (h *Hub) SignalStreams(name string, pattern bool, what Signals) int {
	if s, ok := h.find(name, pattern); ok {
		return reach{}.add(s).signal(what)
	}
	return 0
}

// SignalAll signals every stream and returns how many there are. One of several
// channels is one.
func (h *Hub) SignalAll(what Signals) int {
	found := reach{}
	for _, s := range h.list() {
		found.add(s)
	}
	return found.signal(what)
}

// reach are streams, each once.
type reach map[*Waiter]struct{}

func (r reach) add(s surveyed) reach {
	s.line.clients.mu.Lock()
	defer s.line.clients.mu.Unlock()
	for _, in := range s.line.clients.list {
		r[in.waiter] = struct{}{}
	}
	return r
}

func (r reach) signal(what Signals) int {
	for w := range r {
		w.Signal(what)
	}
	return len(r)
}

// Has reports whether one of these signals has come that the stream has not taken
// yet: a stream that writes for long asks.
func (w *Waiter) Has(s Signals) bool { return Signals(w.pending.Load())&s != 0 }

// Reads are the names of the stream's channels and patterns, each with whether it
// is a pattern.
func (s *Stream) Reads() iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		for _, src := range s.sources {
			if !yield(src.line.name, src.line.pattern) {
				return
			}
		}
	}
}
