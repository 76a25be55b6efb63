//go:build clients && linux

package aichat_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// told is what a page knows of an answer by its stream.
type told struct {
	stream   *ssetest.Stream
	answer   int
	question string
	text     string
	gaps     int
	messages int
	ended    bool
}

func (v *visitor) listen(chat string, opts ...ssetest.Option) *told {
	v.e.t.Helper()
	return &told{stream: ssetest.Open(v.e.t, v.client, v.e.url+chat+"/events", opts...)}
}

// take takes the next event as the page does.
func (s *told) take(t *testing.T) {
	t.Helper()
	event := s.stream.NextAfterCursors()
	switch {
	case event.Type == "gap":
		s.gaps++
		return
	case event.Data == "[DONE]":
		s.ended = true
		return
	}
	var m struct {
		Answer   int
		Question string
		Text     string
		Whole    *string
	}
	if err := json.Unmarshal([]byte(event.Data), &m); err != nil || m.Answer == 0 {
		t.Fatalf("%+v: %v", event, err)
	}
	s.messages++
	s.answer = m.Answer
	s.text += m.Text
	if m.Question != "" {
		s.question, s.text = m.Question, ""
	}
	if m.Whole != nil {
		s.text = *m.Whole
	}
}

func (s *told) until(t *testing.T, text string) {
	t.Helper()
	for s.text != text {
		s.take(t)
		if s.ended || len(s.text) > len(text) {
			t.Fatalf("got %q, want %q", s.text, text)
		}
	}
}

func (s *told) untilEnd(t *testing.T) {
	t.Helper()
	for !s.ended {
		s.take(t)
	}
	proctest.Await(t, "the stream to end", s.stream.Ended())
	if err := s.stream.Err(); err != nil {
		t.Errorf("the stream has not ended properly: %v", err)
	}
}

const (
	firstHalf  = "The first half of it, word for word, 😀 and "
	secondHalf = "the second one, up to the end."
	all        = firstHalf + secondHalf
)

// inMidAnswer returns a chat whose answer has come to its middle, and a stream that was told so far.
func inMidAnswer(t *testing.T) (e *example, v *visitor, chat string, s *told) {
	t.Helper()
	e = startExample(t)
	v = e.visitor()
	chat = v.start("What is it?")
	s = v.listen(chat)
	e.model.words(firstHalf)
	s.until(t, firstHalf)
	return e, v, chat, s
}

// Who comes in the middle of an answer, after a cut, or before it began, gets the whole of it, and its end.
func TestAnAnswerIsWholeWheneverSomebodyComes(t *testing.T) {
	t.Parallel()
	e := startExample(t)
	v := e.visitor()
	chat := v.start("What is it?")
	early := v.listen(chat)
	for at := range firstHalf { // each word is there before the next one is said: none shares a message
		if at > 0 && firstHalf[at-1] == ' ' {
			early.until(t, firstHalf[:at])
		}
		e.model.say(string([]rune(firstHalf[at:])[:1]))
	}
	early.until(t, firstHalf)

	late := v.listen(chat) // a second tab, or this one after a refresh
	late.until(t, firstHalf)
	if late.question != "What is it?" || late.messages != 2 || early.messages < 10 {
		t.Errorf("who comes late was told %q in %d messages, who was there in %d", late.question, late.messages, early.messages)
	}
	e.toVisitor.Reset()
	proctest.Await(t, "the stream to be cut", early.stream.Ended())
	e.model.words("the second one, ")
	early.stream = ssetest.Open(t, v.client, e.url+chat+"/events", ssetest.WithLastEventID(early.stream.LastEventID()))
	early.until(t, firstHalf+"the second one, ")
	if now := v.stored(chat).Answers[0]; now.State != "writing" || now.Answer != "" {
		t.Errorf("in the works there is %+v", now)
	}
	e.model.words("up to the end.")
	e.model.end()
	early.untilEnd(t)
	if early.text != all || early.gaps > 0 {
		t.Errorf("%d gaps, %q", early.gaps, early.text)
	}
	want := stored{Title: "What is it?", Answers: []answer{{early.answer, "What is it?", "first", "finished", all, ""}}}
	if got := v.stored(chat); got.Title != want.Title || !slices.Equal(got.Answers, want.Answers) {
		t.Errorf("stored is %+v, want %+v", got, want)
	}
	v.wantAfterEnd(chat, early)
}

// wantAfterEnd checks that who comes back after the end is told that there is no more, and that who comes anew waits for what comes.
func (v *visitor) wantAfterEnd(chat string, s *told) {
	e, t := v.e, v.e.t
	t.Helper()
	back := ssetest.Do(t, v.client, e.url+chat+"/events", ssetest.WithLastEventID(s.stream.LastEventID()))
	if _ = back.Body.Close(); back.StatusCode != http.StatusNoContent {
		t.Errorf("who comes back after the end gets %s", back.Status)
	}
	next := v.listen(chat)
	v.want(http.StatusAccepted, http.MethodPost, "/api"+chat+"/questions", asked{"question": "And then?"})
	e.model.words("Then that.")
	e.model.end()
	next.untilEnd(t)
	if next.question != "And then?" || next.text != "Then that." {
		t.Errorf("the next answer is %q to %q", next.text, next.question)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	_, v, chat, s := inMidAnswer(t)
	v.want(http.StatusConflict, http.MethodPost, "/api"+chat+"/questions", asked{"question": "And?"})
	v.want(http.StatusAccepted, http.MethodPost, "/api"+chat+"/stop", nil)
	s.untilEnd(t)
	if got := v.stored(chat).Answers; len(got) != 1 || got[0].State != "stopped" || got[0].Answer != firstHalf {
		t.Errorf("stored is %+v", got)
	}
	v.want(http.StatusAccepted, http.MethodPost, "/api"+chat+"/stop", nil) // once more does no harm
}

// More answers than the app takes at a time are refused, and so are a question that is none, and one of another site's page.
func TestWhatIsTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	e := startExample(t, "CHAT_MOST=2")
	v := e.visitor()
	for _, question := range []string{"", strings.Repeat("x", 20_001)} {
		v.want(http.StatusUnprocessableEntity, http.MethodPost, "/api/chats", asked{"question": question})
	}
	v.want(http.StatusRequestEntityTooLarge, http.MethodPost, "/api/chats", asked{"question": strings.Repeat("x", 300<<10)})
	foreign := ssetest.Do(t, v.client, e.url+"/api/chats", ssetest.WithMethod(http.MethodPost),
		ssetest.WithHeader("Sec-Fetch-Site", "cross-site"), ssetest.WithBody(strings.NewReader(`{"question":"From elsewhere?"}`)))
	if _ = foreign.Body.Close(); foreign.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another site gets %s", foreign.Status)
	}
	var chats []string
	for range 2 {
		chats = append(chats, v.start("One more?"))
	}
	v.want(http.StatusServiceUnavailable, http.MethodPost, "/api/chats", asked{"question": "Too many?"})
	if _, list := v.do(http.MethodGet, "/api/chats", nil); strings.Contains(list, "Too many?") {
		t.Error("a question that was refused is there")
	}
	v.want(http.StatusAccepted, http.MethodPost, "/api"+chats[0]+"/stop", nil)
	v.awaitState(chats[0], "stopped")
	proctest.Poll(t, "room for another question", func() bool {
		status, _ := v.do(http.MethodPost, "/api/chats", asked{"question": "And now?"})
		return status == http.StatusCreated
	})
}

// Nobody but its owner sees a chat, whatever they know of it.
func TestOnlyTheOwnerHasAChat(t *testing.T) {
	t.Parallel()
	e := startExample(t)
	v, other, nobody := e.visitor(), e.visitor(), e.visitor()
	chat, others := v.start("A secret?"), other.start("Another one?")
	for _, path := range []string{"/events", ""} {
		of := chat + path
		if path == "" {
			of = "/api" + chat
		}
		for name, stranger := range map[string]*visitor{"another visitor": other, "one without a cookie": nobody} {
			if status := stranger.status(of); status != http.StatusNotFound {
				t.Errorf("%s gets %d of %s", name, status, of)
			}
		}
	}
	for _, path := range []string{"/questions", "/stop", "/again"} {
		other.want(http.StatusNotFound, http.MethodPost, "/api"+chat+path, asked{"question": "x"})
	}
	other.want(http.StatusNotFound, http.MethodDelete, "/api"+chat, nil)
	for _, path := range []string{"/chats/" + strings.Repeat("0", 32) + "/events", others + "/events/", "/chats/*/events"} {
		if status := v.status(path); status == http.StatusOK {
			t.Errorf("%s is a stream", path)
		}
	}
	if status, list := nobody.do(http.MethodGet, "/api/chats", nil); status != http.StatusOK || list != "[]" {
		t.Errorf("who is new has the chats %s", list)
	}
	v.want(http.StatusNoContent, http.MethodDelete, "/api"+chat, nil)
	v.want(http.StatusNotFound, http.MethodGet, "/api"+chat, nil)
	other.want(http.StatusOK, http.MethodGet, "/api"+others, nil)
}

// status is that of a GET, of which nothing is read: it may be a stream.
func (v *visitor) status(path string) int {
	v.e.t.Helper()
	response := ssetest.Do(v.e.t, v.client, v.e.url+path)
	_ = response.Body.Close()
	return response.StatusCode
}

// A link has another device see the same chats, once.
func TestALinkIsForAnotherDevice(t *testing.T) {
	t.Parallel()
	e := startExample(t)
	v, device, thief := e.visitor(), e.visitor(), e.visitor()
	device.want(http.StatusNotFound, http.MethodPost, "/api/links", nil)
	chat := v.start("Here?")
	var link struct{ Token string }
	v.want(http.StatusCreated, http.MethodPost, "/api/links", nil, &link)
	thief.want(http.StatusNotFound, http.MethodPost, "/api/links/use", asked{"token": link.Token + "x"})
	device.want(http.StatusNoContent, http.MethodPost, "/api/links/use", asked{"token": link.Token})
	thief.want(http.StatusNotFound, http.MethodPost, "/api/links/use", asked{"token": link.Token})
	there := device.listen(chat)
	e.model.words(firstHalf)
	there.until(t, firstHalf)
	site, err := url.Parse(e.url)
	if err != nil {
		t.Fatal(err)
	}
	if one, two := v.client.Jar.Cookies(site), device.client.Jar.Cookies(site); len(one) != 1 || len(two) != 1 || one[0].Value == two[0].Value {
		t.Errorf("the sessions are %q and %q, want one each", one, two)
	}
}
