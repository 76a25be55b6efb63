package hub

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// asking is a hub with streams of so many channels, and a connection on which nothing was written.
func asking(t *testing.T, channels ...string) (*Hub, *Replies) {
	t.Helper()
	h := budgetHub()
	if _, err := h.Open(0, channels, nil, NewWaiter()); err != nil {
		t.Fatal(err)
	}
	return h, h.NewReplies()
}

func TestRepliesBelongToTheOldestCommand(t *testing.T) {
	h, r := asking(t, "a", "b")
	r.Probe("probe")
	text := r.Ping()
	kind, names := r.Next()
	if kind != "subscribe" || !slices.Equal(names, []string{"a", "b"}) {
		t.Fatalf("written is %s %v", kind, names)
	}
	if kind, names := r.Next(); len(names) > 0 {
		t.Errorf("%s %v is written, too", kind, names)
	}
	wrong := func(kind, name string) {
		t.Helper()
		if _, err := r.Confirmed(kind, name); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s of %q", kind, name)) {
			t.Errorf("%s of %s: %v, want an error that names it", kind, name, err)
		}
	}
	right := func(kind, name string, probe bool) {
		t.Helper()
		if got, err := r.Confirmed(kind, name); err != nil || got != probe {
			t.Errorf("%s of %s: %v, %v", kind, name, got, err)
		}
	}
	asked := func(want string) {
		t.Helper()
		if kind, _ := r.Asked(); kind != want {
			t.Errorf("%q is to be answered, want %q", kind, want)
		}
	}
	asked("probe")
	wrong("subscribe", "a")
	if _, err := r.Ponged(text); err == nil {
		t.Error("the PING is answered before the probe channel is")
	}
	right("subscribe", "probe", true)
	asked("ping")
	wrong("subscribe", "a")
	if _, err := r.Ponged("x"); err == nil {
		t.Error("a PONG of another text is taken")
	}
	if sent, err := r.Ponged(text); err != nil || fmt.Sprint(sent) != text {
		t.Errorf("the PING was sent at %d, %v, want %s", sent, err, text)
	}
	asked("subscribe")
	wrong("subscribe", "b")
	wrong("unsubscribe", "a")
	right("subscribe", "a", false)
	right("subscribe", "b", false)
	asked("")
	wrong("subscribe", "b")
	if _, err := r.Ponged(text); err == nil {
		t.Error("a PONG is taken that nobody asked for")
	}
	for _, want := range []string{`channel "a": 1 streams, live, 0 messages, 0 gaps, 0 bytes`, `channel "b": 1 streams, live,`} {
		if !strings.Contains(h.Describe(), want) {
			t.Errorf("the hub holds %s, want %s", h.Describe(), want)
		}
	}
}

func TestAnErrorReplyAnswersAllOfACommand(t *testing.T) {
	h, r := asking(t, "a", "b")
	r.Ping()
	r.Next()
	r.Failed() // a server that loads its data
	r.Denied()
	for range 2 { // each by itself now
		kind, names := r.Next()
		if kind != "subscribe" || len(names) != 1 {
			t.Fatalf("written is %s %v, want one channel", kind, names)
		}
		if names[0] == "a" {
			r.Denied()
		} else if _, err := r.Confirmed(kind, names[0]); err != nil {
			t.Error(err)
		}
	}
	if kind, names := r.Next(); len(names) > 0 {
		t.Errorf("%s %v is written although it was denied", kind, names)
	}
	h.RetryDenied()
	if kind, names := r.Next(); kind != "subscribe" || !slices.Equal(names, []string{"a"}) {
		t.Errorf("written is %s %v, want what was denied", kind, names)
	}
}

func TestTheWriterWaitsForReplies(t *testing.T) {
	h, r := asking(t, budgetNames(2*maxUnanswered)...)
	var written []string
	for kind, names := r.Next(); len(names) > 0; kind, names = r.Next() {
		if kind != "subscribe" || len(names) > maxBatch {
			t.Fatalf("%s of %d names", kind, len(names))
		}
		written = append(written, names...)
	}
	if len(written) != maxUnanswered {
		t.Fatalf("%d names are written, want %d", len(written), maxUnanswered)
	}
	<-h.Changes() // of the streams' opening
	for i, name := range written {
		if _, err := r.Confirmed("subscribe", name); err != nil {
			t.Fatal(err)
		}
		select {
		case <-h.Changes():
			if i+1 != maxUnanswered/2 {
				t.Errorf("the writer is woken at reply %d", i+1)
			}
		default:
			if i+1 == maxUnanswered/2 {
				t.Error("the writer is not woken when half is answered")
			}
		}
	}
	if _, names := r.Next(); len(names) == 0 {
		t.Error("nothing more is written")
	}
}

func TestAPingThatIsNotHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := asking(t, "a")
		now := func() int64 { return h.Clock.Monotonic() }
		time.Sleep(time.Minute)
		r.Next()
		if r.UnheardSince(now()) {
			t.Error("no PING was written")
		}
		sent := now()
		text := r.Ping()
		time.Sleep(time.Second)
		r.Ping()
		if r.UnheardSince(sent) || !r.UnheardSince(sent+1) {
			t.Error("the oldest PING is unanswered since it was written, and not before")
		}
		if _, err := r.Confirmed("subscribe", "a"); err != nil {
			t.Fatal(err)
		}
		if r.UnheardSince(sent + 1) {
			t.Error("something was answered since")
		}
		time.Sleep(time.Second)
		if !r.UnheardSince(now()) {
			t.Error("nothing was answered since then")
		}
		if _, err := r.Ponged(text); err != nil {
			t.Error(err)
		}
	})
}

// What a connection was to be subscribed to is answered once the last of it is, also of names that are asked for one by one
// after a denial, and whatever streams ask for meanwhile.
func TestRestoredWhenAllThatWasThereIsAnswered(t *testing.T) {
	h := budgetHub("job:*")
	if _, err := h.Open(0, []string{"a", "b", "c"}, nil, NewWaiter()); err != nil {
		t.Fatal(err)
	}
	budgetSettle(h)
	h.Receive("job:*", "job:1", "x")
	h.Lost(h.Complete())
	r := h.NewReplies()
	pinged := r.Ping()
	want := func(all bool, what Restored) {
		t.Helper()
		if got, is := r.Restored(); got != what || is != all {
			t.Errorf("%+v, all is %v, want %+v, %v", got, is, what, all)
		}
	}
	confirm := func(kind, name string) {
		t.Helper()
		if _, err := r.Confirmed(kind, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Ponged(pinged); err != nil {
		t.Fatal(err)
	}
	want(false, Restored{}) // nothing has been written
	for _, command := range []string{"psubscribe", "subscribe"} {
		if kind, _ := r.Next(); kind != command {
			t.Fatalf("%s is written, want %s", kind, command)
		}
	}
	r.Next() // nothing is left
	want(false, Restored{})
	confirm("psubscribe", "job:*")
	want(false, Restored{Patterns: 1, Gaps: 1})
	r.Denied() // one of three
	want(false, Restored{Patterns: 1, Gaps: 1})
	var alone []string
	for range 3 {
		_, names := r.Next()
		alone = append(alone, names...)
	}
	r.Next()
	if _, err := h.Open(0, []string{"late"}, nil, NewWaiter()); err != nil {
		t.Fatal(err)
	}
	r.Next()
	confirm("subscribe", alone[0])
	r.Denied() // alone[1]
	want(false, Restored{Channels: 1, Patterns: 1, Denied: 1, Gaps: 2})
	confirm("subscribe", alone[2])
	want(true, Restored{Channels: 2, Patterns: 1, Denied: 1, Gaps: 3})
	confirm("subscribe", "late")
	want(true, Restored{Channels: 3, Patterns: 1, Denied: 1, Gaps: 3})
}

func TestDescribeTellsWhatLingers(t *testing.T) {
	h := budgetHub("job:*")
	w := NewWaiter()
	s, err := h.Open(0, []string{"news"}, []string{"job:*"}, w)
	if err != nil {
		t.Fatal(err)
	}
	budgetSettle(h)
	h.Receive("job:*", "job:1", "x")
	h.Receive("", "news", "x")
	want := func(lines ...string) {
		t.Helper()
		got := strings.Split(strings.TrimSpace(h.Describe()), "\n")
		slices.Sort(got)
		if !slices.Equal(got, lines) {
			t.Errorf("the hub holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
		}
	}
	message := messageCost + len("x")
	want(
		fmt.Sprintf(`channel "job:1": 0 streams, live, 1 messages, 0 gaps, %d bytes`, message),
		fmt.Sprintf(`channel "news": 1 streams, live, 1 messages, 0 gaps, %d bytes`, message),
		fmt.Sprintf(`pattern "job:*": 1 streams, live, 1 messages, 0 gaps, %d bytes`, indexCost),
	)
	h.Close(s)
	h.Lost(h.Complete())
	want(
		fmt.Sprintf(`channel "job:1": 0 streams, not live, 1 messages, 0 gaps, %d bytes`, message),
		fmt.Sprintf(`channel "news": 0 streams, not live, lingers, 1 messages, 0 gaps, %d bytes`, message),
		fmt.Sprintf(`pattern "job:*": 0 streams, not live, 1 messages, 0 gaps, %d bytes`, indexCost),
	)
}

func TestWaitersAreASet(t *testing.T) {
	var s Waiters
	var all []*Waiter
	var seats [200]Seat // so many that the list grows, and shrinks
	for i := range seats {
		w := NewWaiter()
		s.Add(w, &seats[i])
		all = append(all, w)
	}
	s.Wake(SignalData)
	for i, w := range all {
		if got := w.Await(); got != SignalData {
			t.Errorf("signals %b", got)
		}
		s.Remove(&seats[i])
		s.Remove(&seats[i]) // is not there any more
		s.Wake(SignalData)
		if w.pending.Load() != 0 || i+1 < len(all) && all[i+1].pending.Load() == 0 {
			t.Error("another one than the one that left is woken no more")
		}
		if s.Len() != len(all)-i-1 {
			t.Errorf("%d wait, want %d", s.Len(), len(all)-i-1)
		}
	}
}
