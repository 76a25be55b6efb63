package hub

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

// BenchmarkReceiveToken is a token of one of some answers for which the oldest one goes, packing included: what is packed at
// once, runLength messages, is part of one token in so many.
func BenchmarkReceiveToken(b *testing.B) {
	for _, form := range answerForms[3:5] {
		for _, keep := range []string{"", "ui:*"} {
			for _, channels := range []int{1, 100} {
				b.Run(fmt.Sprintf("form=%s/keep=%s/channels=%d", form.name, keep, channels), func(b *testing.B) {
					benchTokens(b, newAnswers(form, channels), keep)
				})
			}
		}
	}
}

func benchTokens(b *testing.B, a *answers, keep string) {
	h := budgetHub()
	if keep != "" {
		h = budgetHub(keep)
	} else {
		budgetVisit(b, h, a.channels...)
	}
	h.bound(func(b *Bounds) { b.Limits.Messages = 2000 })
	a.receive(h, keep, 2000, nil)
	tokens := make([]string, 1024)
	for i := range tokens {
		tokens[i] = fmt.Sprintf(a.form.token, tokenTexts[i%len(tokenTexts)])
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		h.Receive(keep, a.channels[i%len(a.channels)], tokens[i%len(tokens)])
		i++
	}
}

// BenchmarkPack is the most that the reader does at once: runLength messages, for ns/op.
func BenchmarkPack(b *testing.B) {
	for _, form := range answerForms[3:5] {
		b.Run("form="+form.name, func(b *testing.B) { benchPack(b, newAnswers(form, 1)) })
	}
	b.Run("form=random", func(b *testing.B) { // it is given up
		a := newAnswers(answerForm{token: "%s"}, 1)
		random := rand.New(rand.NewSource(1))
		a.text = func() string {
			var text [150]byte
			random.Read(text[:])
			return fmt.Sprintf("%x", text)
		}
		benchPack(b, a)
	})
	most := answerForm{name: "most", token: strings.Repeat("x", mostInRun/runLength-150) + "%s"}
	b.Run("form=most", func(b *testing.B) {
		a := newAnswers(most, 1)
		random := rand.New(rand.NewSource(1))
		a.text = func() string {
			var text [50]byte
			random.Read(text[:])
			return fmt.Sprintf("%x", text)
		}
		benchPack(b, a)
	})
}

func benchPack(b *testing.B, a *answers) {
	h := budgetHub()
	budgetVisit(b, h, a.channels...)
	h.usage.packer.packing = packing{}
	a.receive(h, "", runLength, nil)
	buf := h.buffers.get(a.channels[0])
	messages := make([]*message, runLength)
	for i := range messages {
		messages[i] = buf.entries.at(i)
	}
	var p packer
	b.ReportAllocs()
	for b.Loop() {
		p.pack(messages)
	}
}

// BenchmarkReadAnswer is a stream that reads an answer of 5,000 tokens from the start, of which all but the newest are packed;
// ns/op is for all of them.
func BenchmarkReadAnswer(b *testing.B) {
	for _, form := range answerForms[3:5] {
		for _, keep := range []string{"", "ui:*"} {
			b.Run(fmt.Sprintf("form=%s/keep=%s", form.name, keep), func(b *testing.B) {
				a := newAnswers(form, 1)
				h := budgetHub()
				if keep != "" {
					h = budgetHub(keep)
				} else {
					budgetVisit(b, h, a.channels...)
				}
				a.receive(h, keep, 5000, nil)
				benchReadAll(b, h, a.channels[0], keep)
			})
		}
	}
}

func benchReadAll(b *testing.B, h *Hub, channel, keep string) {
	channels, patterns := []string{channel}, []string(nil)
	if keep != "" {
		channels, patterns = nil, []string{keep}
	}
	w, batch := NewWaiter(), new(Batch)
	b.ReportAllocs()
	for b.Loop() {
		s, err := h.Open(0, channels, patterns, w)
		if err != nil {
			b.Fatal(err)
		}
		s.Begin(FromStart(), 0)
		for s.Read(batch); ; s.Read(batch) {
			s.Wrote(batch)
			if !batch.More {
				break
			}
		}
		h.Close(s)
	}
}
