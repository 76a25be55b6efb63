package redissse

// hintUnset ends what is said of a line that lacks its argument.
const hintUnset = "; a {$NAME} that is not set leaves nothing, {$NAME:default} has a value even then"

// hintUnclosed ends what is said of a line that begins like none of its block.
const hintUnclosed = "; perhaps a } is missing above"

// nearest returns that of some names which a slip of the keyboard or two make the word, if there is one.
func nearest(word string, names []string) string {
	best, least := "", min(2, len(word)/3)+1
	for _, name := range names {
		if n := distance(word, name); n < least {
			best, least = name, n
		}
	}
	return best
}

// distance is how many bytes have to be put in, left out or replaced to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
