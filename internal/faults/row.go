package faults

// A Row is what was found of one fault, over all the runs that it was part of.
type Row struct {
	Key  string
	Runs int
	Tally
	Controls int // lies that the oracle was told, all of which it saw
	// Back has for each time that the fault was over the seconds until the slowest client that stayed had a message again, of each
	// of its channels.
	Back []float64
}

// Add takes in other runs.
func (r *Row) Add(other Row) {
	r.Key = other.Key
	r.Runs += other.Runs
	r.Tally.Add(other.Tally)
	r.Controls += other.Controls
	r.Back = append(r.Back, other.Back...)
}
