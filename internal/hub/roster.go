package hub

import "iter"

// roster holds things by name and walks them in an order that follows from
// what came and went alone. A map's order differs from run to run, and with it
// the order of commands on the wire: a random history could not be played
// again. The zero value is empty and ready. Not safe for concurrent use.
type roster[T interface{ label() string }] struct {
	places map[string]int // in all
	all    []T
}

// get returns what has the name, the zero value if there is nothing.
func (r *roster[T]) get(name string) (v T) {
	if i, ok := r.places[name]; ok {
		v = r.all[i]
	}
	return v
}

func (r *roster[T]) len() int { return len(r.all) }

// put adds v, whose name must be new.
func (r *roster[T]) put(v T) {
	if r.places == nil {
		r.places = map[string]int{}
	}
	r.places[v.label()] = len(r.all)
	r.all = append(r.all, v)
}

// remove takes v out. The last one takes its place.
func (r *roster[T]) remove(v T) {
	var none T
	i, last := r.places[v.label()], len(r.all)-1
	r.all[i] = r.all[last]
	r.places[r.all[i].label()] = i
	r.all[last] = none
	r.all = r.all[:last]
	delete(r.places, v.label())
	// The names of a crowd that has gone must not be kept for ever.
	if cap(r.all) > 64 && last <= cap(r.all)/4 {
		r.all = append(make([]T, 0, cap(r.all)/2), r.all...)
	}
}

// each walks all, from the last to the first. The one at hand may be removed
// meanwhile, no other.
func (r *roster[T]) each() iter.Seq[T] {
	return func(yield func(T) bool) {
		for i := len(r.all) - 1; i >= 0; i-- {
			if !yield(r.all[i]) {
				return
			}
		}
	}
}
