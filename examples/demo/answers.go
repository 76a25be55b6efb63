package main

import (
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"time"
)

// answersAtOnce is how many answers may be under way: more than somebody who tries the demo asks for.
const answersAtOnce = 8

// An answer's channel is answer:<id>.
const answerChannel = "answer:"

const (
	answerQuestion = "What becomes of an answer when its page is reloaded?"
	answerText     = "Nothing at all. The worker that writes it knows no page: it publishes each word on a channel that belongs to this one answer. " +
		"Caddy keeps what comes on such channels from the first word on, whether a page is open or not. " +
		"The page has stored one thing, the name of the channel. After a reload it opens the channel again and gets every word from the " +
		"start, at once, and then those that are still being written. It stores no text and no cursor, no database is asked, and the model " +
		"does not answer twice. The same goes for a second tab, for a phone that takes over, and for a page that comes when all is said."
)

// answers counts those under way.
type answers struct {
	mu    sync.Mutex
	count int
	ended bool
	wg    sync.WaitGroup
}

// begin runs write in a goroutine of its own, which end joins.
func (a *answers) begin(write func()) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.ended:
		return errors.New("answering: the demo is stopping")
	case a.count == answersAtOnce:
		return errors.New("answering: enough answers are under way, wait for one of them")
	}
	a.count++
	a.wg.Go(func() {
		write()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.count--
	})
	return nil
}

func (a *answers) end() {
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	a.wg.Wait()
}

// answer begins to publish one, and returns its id. It begins with the run, from which a page knows an answer of an earlier demo, and
// the rest cannot be guessed: who knows the id may listen.
func (w *worker) answer() (id string, err error) {
	id = w.run + "-" + rand.Text()
	return id, w.answers.begin(func() { w.writeAnswer(answerChannel + id) })
}

// writeAnswer publishes the question, the words and the end. A word that Redis does not take is lost, as it is for any PUBLISH: a gap
// tells it. The end is sent until Redis has it, or the page would wait for ever.
func (w *worker) writeAnswer(channel string) {
	messages := []message{{Question: answerQuestion}}
	for _, word := range strings.SplitAfter(answerText, " ") {
		messages = append(messages, message{Token: word})
	}
	messages = append(messages, message{Done: true})

	ticker := time.NewTicker(w.tick / 2)
	defer ticker.Stop()
	for n := 0; n < len(messages); {
		select {
		case <-w.ctx.Done():
			return
		case <-ticker.C:
		}
		if err := w.send(channel, int64(n+1), messages[n]); err == nil || !messages[n].Done {
			n++
		}
	}
}
