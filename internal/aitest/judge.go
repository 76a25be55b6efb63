package aitest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// reading is what became of an answer on a device.
type reading struct {
	published string // what Redis took of the answer
	lost      bool   // it did not take all
	stopped   bool   // somebody had the answer stopped
	broken    bool   // something of the answer is missing for good, so that an SDK may well fail
	text      string // what the app shows
	status    string // the SDK's word for the end: "none" if it has seen none, "nothing" if it was told by a 204 that there is none to come
	err       string // what the app is left with instead of an end
	gaps      []string
	back      []string // who asked again: "app", or "shown" if the SDK did when the page was shown
}

// statusBroken is of a device that could not be run: err says why.
const statusBroken = "broken"

// cell is what the table says of it. Whatever that says, nobody may take a part for the whole: that is an error.
func (r reading) cell() (string, error) {
	told := ""
	if len(r.gaps) > 0 {
		told = "`" + strings.Join(slices.Compact(slices.Clone(r.gaps)), "`, `") + "`, "
	}
	switch {
	case r.status == statusBroken:
		return "", fmt.Errorf("running it: %s", r.err)
	case r.err != "" || r.status == "nothing":
		return r.endless(told)
	case r.text != r.published && strings.HasSuffix(r.text, r.published):
		return told + "doubled" + r.helped(), nil
	case r.text != r.published:
		return "", errors.New("the text is not the answer's")
	case r.lost && told == "":
		return "", errors.New("what is missing was not told")
	case r.status == "none":
		return "", errors.New("it has seen no end, and takes the answer as finished")
	case r.lost:
		return told + "goes on" + r.helped(), nil
	case r.stopped:
		return told + "`" + r.status + "`" + r.helped(), nil
	}
	return told + "whole" + r.helped(), nil
}

// endless is the cell of an answer that had no end here, which the app knows.
func (r reading) endless(told string) (string, error) {
	switch {
	case !strings.HasPrefix(r.published, r.text):
		return "", errors.New("the text is not the answer's beginning")
	case r.err != "" && !r.broken:
		return "", errors.New("it fails, although all of the answer is there")
	case r.err != "":
		return told + "`" + r.err + "`", nil
	}
	return told + "nothing: 204", nil
}

// helped says whose help it took to come back.
func (r reading) helped() string {
	switch {
	case slices.Contains(r.back, "app"):
		return ", asked again"
	case slices.Contains(r.back, "shown"):
		return ", when shown"
	}
	return ""
}

// tableOf is a table in Markdown: a row for each client, or for several that stand together and did the same.
func tableOf(clients, cases []string, cells [][]string) string {
	rows := [][]string{append([]string{"client"}, cases...), slices.Repeat([]string{"---"}, len(cases)+1)}
	for i, client := range clients {
		if last := rows[len(rows)-1]; i > 0 && slices.Equal(last[1:], cells[i]) {
			last[0] += sameRow + client
			continue
		}
		rows = append(rows, append([]string{client}, cells[i]...))
	}
	var b strings.Builder
	for _, row := range rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	return b.String()
}

// sameRow stands between clients that share a row.
const sameRow = "<br>"

// cellsOf are the cells of a table by client and case. A row that has not a cell for each case is left out.
func cellsOf(table string) map[string]map[string]string {
	all := map[string]map[string]string{}
	var cases []string
	for line := range strings.Lines(table) {
		row := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		if cases == nil {
			cases = row
		}
		if len(row) != len(cases) || row[0] == cases[0] || row[0] == "---" {
			continue
		}
		for client := range strings.SplitSeq(row[0], sameRow) {
			all[client] = map[string]string{}
			for i, cell := range row[1:] {
				all[client][cases[i+1]] = cell
			}
		}
	}
	return all
}
