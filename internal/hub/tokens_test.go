package hub

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

// answerForm is how a worker writes the tokens of an answer.
type answerForm struct {
	name  string
	token string // with %s for the text
}

// The chunks are as the vendors' APIs send them, with ids of the length that theirs have.
var answerForms = []answerForm{
	{"20 bytes", `{"delta":"%s"}`},
	{"100 bytes", `{"id":"` + strings.Repeat("0", 71) + `","delta":"%s"}`},
	{"300 bytes", `{"id":"` + strings.Repeat("0", 135) + `","delta":"%s","more":"` + strings.Repeat("1", 126) + `"}`},
	{"AI SDK", `{"type":"text-delta","id":"txt-0","delta":"%s"}`},
	{"OpenAI chat completions", `{"id":"chatcmpl-CdIkXvTYUgAyiY81mv0FFpdy9KYwY","object":"chat.completion.chunk","created":1763485037,` +
		`"model":"gpt-4.1-mini-2025-04-14","service_tier":"default","system_fingerprint":"fp_4c2851f862",` +
		`"choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null}],"usage":null}`},
	{"Anthropic", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}`},
}

// tokenTexts are the tokens that a model makes of a text.
var tokenTexts = strings.Split(`The| plan| has| three| parts|,| each| of| which| can| be| tested| on| its| own|.|\n\n|##| Step| 1|:`+
	`| read| the| con|figuration|\n|- | it| must| not| block| un|til| Redis| answers|;| a| retry| is| cheap|.| So| we|'ll| keep`+
	`| both| \"| ok| \"| states| and| com|pare| them| in| O|(n|)| time| later| resp|ectively`, "|")

// answers are some channels that bring the tokens of an answer each, by turns.
type answers struct {
	form     answerForm
	channels []string
	text     func() string // of the next token
	sent     int
}

func newAnswers(form answerForm, channels int) *answers {
	r := rand.New(rand.NewSource(1))
	a := &answers{form: form, text: func() string { return tokenTexts[r.Intn(len(tokenTexts))] }}
	for i := range channels {
		a.channels = append(a.channels, asReceived(fmt.Sprintf("ui:%024d", i)))
	}
	return a
}

// receive has the hub receive n more tokens on each channel and, where streams read, their bodies made.
func (a *answers) receive(h *Hub, pattern string, n int, read *Format) {
	for range n * len(a.channels) {
		channel := a.channels[a.sent%len(a.channels)]
		a.sent++
		h.Receive(pattern, channel, asReceived(fmt.Sprintf(a.form.token, a.text())))
		if b := h.buffers.get(channel); read != nil {
			b.frame(b.entries.at(b.entries.len()-1), read, h.bounds.Load().Limits)
		}
	}
}

// mostOfAToken is what a token of an answer may take of total_size, in bytes, once it is not among the newest few
// hundred messages of its channel.
const mostOfAToken = 60

// A token takes little once it is old, whatever brings it, and that is what it takes of the heap. Bodies are made of all, as
// streams that keep up have them.
func TestAnOldTokenTakesLittle(t *testing.T) {
	plain := &Format{event: eventNone}
	for _, form := range answerForms {
		for _, keep := range []string{"", "ui:*"} {
			for _, channels := range []int{1, 100} {
				t.Run(fmt.Sprintf("%s, keep %q, %d at once", form.name, keep, channels), func(t *testing.T) {
					perToken(t, newAnswers(form, channels), keep, plain)
				})
			}
		}
	}
}

func perToken(t *testing.T, a *answers, keep string, format *Format) {
	h := budgetHub()
	if keep != "" {
		h = budgetHub(keep)
	} else {
		budgetVisit(t, h, a.channels...)
	}
	a.receive(h, keep, newestMessages+runLength, format)
	held, counted := heapHeld(), h.usage.bytes.Load()
	more := max(1, 20/len(a.channels)) * runLength
	a.receive(h, keep, more, format)
	real := float64(heapHeld()-held) / float64(more*len(a.channels))
	perToken := float64(h.usage.bytes.Load()-counted) / float64(more*len(a.channels))
	t.Logf("%.1f bytes counted, %.1f of heap", perToken, real)
	if perToken > mostOfAToken {
		t.Errorf("an old token takes %.1f bytes, at most %d may be", perToken, mostOfAToken)
	}
	if ratio := real / perToken; !checking && (ratio > heapError || ratio < 1/heapError) {
		t.Errorf("%.1f bytes are counted for %.1f bytes of heap", perToken, real)
	}
}
