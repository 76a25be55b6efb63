package hub

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// answerFormat is one whose answers begin with "begin" and end with "end".
func answerFormat(t *testing.T) *Format {
	t.Helper()
	f, err := ParseFormat(Wire{End: []Match{{Data: []string{"end"}}}, Begin: []Match{{Data: []string{"begin"}}}})
	if err != nil {
		t.Fatal(err)
	}
	return &f
}

// answerWorld is a hub that keeps all channels. What it holds has no age until its time is set.
func answerWorld(t *testing.T, l Limits) *world {
	w := newWorld(t, l)
	w.hub.Configure(*w.hub.bounds.Load(), []string{"*"})
	w.settle()
	return w
}

// bring has the hub receive payloads of channel a.
func (w *world) bring(payloads ...string) {
	for _, payload := range payloads {
		w.say("a", payload)
	}
	w.settle()
}

func (w *world) outage() {
	w.down()
	w.redis.Up = true
	w.settle()
}

// begun returns a stream of channel a that has begun.
func (w *world) begun(at Start) *Stream {
	s := w.joined("a")
	w.settle()
	s.Begin(at, w.hub.Clock.Now())
	return s
}

func TestWhoBeginsWithAnAnswerIsNotToldOfWhatWasBefore(t *testing.T) {
	f := answerFormat(t)
	const lost = "gap:a:redis_disconnected"
	for name, test := range map[string]struct {
		before []string
		at     Start
		want   []string
	}{
		"the answer begins":             {[]string{"begin", "x"}, FromStart().BeginningAnswers(f), []string{"begin", "x"}},
		"so it does from unfinished":    {[]string{"begin", "x"}, FromUnfinished(f).BeginningAnswers(f), []string{"begin", "x"}},
		"the answer goes on":            {[]string{"x", "begin"}, FromStart().BeginningAnswers(f), []string{lost, "x", "begin"}},
		"what begins one is not known":  {[]string{"begin", "x"}, FromStart(), []string{lost, "begin", "x"}},
		"there is a cursor from before": {[]string{"begin", "x"}, ResumeAt(cursor{seq: 1 << 40, epoch: 1}.String()).BeginningAnswers(f), []string{lost, "begin", "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, roomy)
			w.hub.countFrom(1 << 40)
			w.hub.Configure(*w.hub.bounds.Load(), []string{"*"})
			w.settle()
			w.outage()
			w.bring(test.before...)
			s := w.begun(test.at)
			s.Wrote(expect(t, s, test.want...))
			w.bring("more")
			expect(t, s, "more")
		})
	}
}

// Until the first message has come, the client stays below the floor: one that comes back with a cursor of that time has to hear of it.
func TestTheGapBeforeAnAnswerWaitsForItsFirstMessage(t *testing.T) {
	const lost = "gap:a:redis_disconnected"
	for _, test := range []struct {
		first string
		want  []string
	}{{"begin", []string{"begin"}}, {"x", []string{lost, "x"}}} {
		t.Run(test.first, func(t *testing.T) {
			w := answerWorld(t, roomy)
			w.outage()
			s := w.begun(FromStart().BeginningAnswers(answerFormat(t)))
			place := s.cursor
			for range 2 {
				b := expect(t, s)
				if s.Wrote(b); s.cursor != place || b.More {
					t.Fatalf("the cursor is %s, more: %v; want %s", s.cursor, b.More, place)
				}
			}
			back := w.begun(ResumeAt(place.String()))
			expect(t, back, lost)
			w.bring(test.first)
			s.Wrote(expect(t, s, test.want...))
			w.bring("more")
			expect(t, s, "more")
		})
	}
}

func TestAnOutageWhileAnAnswerIsAwaitedIsTold(t *testing.T) {
	const lost = "gap:a:redis_disconnected"
	w := answerWorld(t, roomy)
	w.outage()
	s := w.begun(FromStart().BeginningAnswers(answerFormat(t)))
	late := w.begun(FromStart().BeginningAnswers(answerFormat(t)))
	early := w.begun(FromStart().BeginningAnswers(answerFormat(t)))
	place := s.cursor
	s.Wrote(expect(t, s))
	w.outage()
	behind := w.begun(FromStart().BeginningAnswers(answerFormat(t))) // begins with the answer, whatever was lost in both
	behind.Wrote(expect(t, behind))
	told := expect(t, early, lost)
	if after := told.Items[0].lack.after; after != place {
		t.Errorf("all is said to be there up to %s, want %s", after, place)
	}
	early.Wrote(told)
	w.bring("begin")
	expect(t, early, "begin")
	later := w.begun(FromStart().BeginningAnswers(answerFormat(t)))
	expect(t, behind, "begin")
	expect(t, later, "begin")
	for _, each := range []*Stream{s, late} { // one gap tells of both outages
		if b := expect(t, each, lost, "begin"); b.Items[0].lack.after != place {
			t.Errorf("all is said to be there up to %s, want %s", b.Items[0].lack.after, place)
		}
	}
	w.outage()
	w.bring("x")
	expect(t, w.begun(FromStart().BeginningAnswers(answerFormat(t))), "begin", lost, "x")
}

// An outage between two answers is none of who wants the second one.
func TestAnOutageBehindAnAnswerIsNotToldToWhoWantsTheNext(t *testing.T) {
	const lost = "gap:a:redis_disconnected"
	f := answerFormat(t)
	for _, test := range []struct {
		next []string
		want []string
	}{
		{[]string{"begin", "x"}, []string{"begin", "x"}},
		{[]string{"x", "begin"}, []string{lost, "x", "begin"}},
	} {
		w := answerWorld(t, roomy)
		w.bring("begin", "end")
		w.outage()
		w.outage()
		waits := w.begun(FromUnfinished(f).BeginningAnswers(f))
		place := waits.cursor
		if waits.Wrote(expect(t, waits)); waits.cursor != place {
			t.Errorf("the cursor is %s, want %s", waits.cursor, place)
		}
		expect(t, w.begun(ResumeAt(place.String())), lost)
		expect(t, w.begun(FromUnfinished(f)), lost) // who does not say what begins an answer
		there := w.begun(FromUnfinished(f).BeginningAnswers(f))
		there.Wrote(expect(t, there))
		w.outage()
		there.Wrote(expect(t, there, lost))
		w.bring(test.next...)
		expect(t, there, test.next...)
		expect(t, w.begun(FromUnfinished(f).BeginningAnswers(f)), test.want...)
		expect(t, w.begun(FromStart().BeginningAnswers(f)), append([]string{"begin", "end", lost}, test.next...)...)
	}
}

// A channel that was born after an outage may have lost its first messages in it. They would have expired max_age later.
func TestAnOutageIsForgottenOnceWhatItTookWouldHaveExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const maxAge = 4000
		l := roomy
		l.MaxAge = maxAge
		w := answerWorld(t, l)
		before := w.begun(Start{})
		w.outage()
		time.Sleep(maxAge/2*time.Millisecond - time.Millisecond)
		say := func(channel string) *Stream {
			w.say(channel, "x")
			w.settle()
			s := w.joined(channel)
			w.settle()
			s.Begin(FromStart(), w.hub.Clock.Now())
			return s
		}
		expect(t, say("b"), "gap:b:redis_disconnected", "x")
		time.Sleep(maxAge/2*time.Millisecond + 2*time.Millisecond)
		expect(t, say("c"), "x")
		b := w.joined("b") // whose first message has not expired yet
		b.Begin(FromStart(), w.hub.Clock.Now())
		expect(t, b, "x")
		expect(t, before, "gap:a:redis_disconnected")
		resumed := w.joined("c")
		resumed.Begin(Start{resume: true, readable: true, cursor: before.cursor}, w.hub.Clock.Now())
		expect(t, resumed, "gap:c:redis_disconnected", "x")
		w.bring("x")
		time.Sleep((maxAge + 1) * time.Millisecond)
		w.hub.expire(maxAge)
		time.Sleep(2 * maxAge * time.Millisecond)
		expect(t, w.begun(FromStart()), "gap:a:expired") // what has expired did not come before the buffer
	})
}

func TestFromUnfinishedBeginsBehindTheNewestEnd(t *testing.T) {
	f := answerFormat(t)
	w := answerWorld(t, Limits{Messages: 600, Bytes: 1 << 40, MaxAge: 1 << 40})
	unfinished := func(want ...string) {
		t.Helper()
		s := w.begun(FromUnfinished(f))
		var got []string
		for more := true; more; {
			b := read(s)
			got, more = append(got, sight(b)...), b.More
			s.Wrote(b)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	unfinished()
	w.bring("a", "b")
	unfinished("a", "b")
	w.bring("end")
	unfinished()
	w.bring("c", "end", "d")
	unfinished("d")
	w.bring("e", "end") // each stream looks at what came since the one before
	unfinished()
	var many []string
	for i := range 2*searchStep + 1 {
		many = append(many, fmt.Sprint(i))
	}
	w.bring(many...)
	unfinished(many...)
	w.bring("end")
	w.bring(many[:searchStep]...)
	unfinished(many[:searchStep]...)
	w.bring("end")
	w.bring(many...)
	other := answerFormat(t) // of a configuration that was loaded again
	if end := w.begun(FromUnfinished(other)).cursor.seq; end != w.hub.next-uint64(len(many)) {
		t.Errorf("an equal format begins at %d, the end is at %d", end, w.hub.next-uint64(len(many)))
	}
	w.bring(many...)
	unfinished(append([]string{"gap:a:evicted"}, slices.Concat(many, many)[2*len(many)-600:]...)...)
}

// An answer may have ended before there is a stream for the request that has begun it.
func TestFromUnfinishedCountsWhatEndedAfterItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := answerFormat(t)
		w := answerWorld(t, roomy)
		for range 2 * searchStep {
			w.bring("old")
		}
		w.bring("end")
		ended := w.hub.Clock.Monotonic()
		time.Sleep(time.Second)
		asked := w.hub.Clock.Monotonic()
		time.Sleep(time.Second)
		w.bring("a", "end", "b", "end")
		for range 2 { // the newest end is known by the second time
			expect(t, w.begun(FromUnfinished(f).AskedAt(asked)), "a", "end", "b", "end")
			expect(t, w.begun(FromUnfinished(f).AskedAt(ended)), "a", "end", "b", "end")
			expect(t, w.begun(FromUnfinished(f)))
		}
		if s := w.begun(FromUnfinished(f).AskedAt(ended - 1)); len(read(s).Items) != batchItems {
			t.Error("before the first end there is not all that is buffered")
		}
	})
}

// More formats than a buffer remembers the ends of find them all the same.
func TestManyFormatsFindTheirEnds(t *testing.T) {
	w := answerWorld(t, roomy)
	var formats []Format
	for i := range maxLastEnds + 2 {
		f, err := ParseFormat(Wire{End: []Match{{Data: []string{fmt.Sprint(i)}}}})
		if err != nil {
			t.Fatal(err)
		}
		formats = append(formats, f)
		w.bring(fmt.Sprint(i))
	}
	for range 2 {
		for i := range formats {
			var want []string
			for j := i + 1; j < len(formats); j++ {
				want = append(want, fmt.Sprint(j))
			}
			expect(t, w.begun(FromUnfinished(&formats[i])), want...)
		}
	}
}

// The end of an answer is known by its id, wherever the client comes to.
func TestWhoHasAnAnswerIsFinished(t *testing.T) {
	synctest.Test(t, whoHasAnAnswerIsFinished)
}

func whoHasAnAnswerIsFinished(t *testing.T) {
	f := answerFormat(t)
	here, there := answerWorld(t, roomy), answerWorld(t, roomy)
	both := func(payloads ...string) {
		for _, w := range []*world{here, there} {
			w.hub.raiseLowWater(w.hub.Clock.Monotonic()) // as each second
			w.bring(payloads...)
		}
	}
	finished := func(id string, want bool) {
		t.Helper()
		at := ResumeAt(id)
		if !at.EndsAnswer() {
			t.Fatalf("%s ends no answer", id)
		}
		for name, w := range map[string]*world{"here": here, "there": there, "a node without the channel": newWorld(t, roomy)} {
			if got := w.hub.Finished("a", at, f); got != (want || name == "a node without the channel") {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
	}
	endID := func(from Start) string {
		s := here.begun(from)
		b := read(s)
		var e Encoder
		for i := range b.Items {
			if here.hub.Encode(&e, &b.Items[i], f); e.Ends() {
				id := b.Items[i].id
				id.ended = true
				return id.String()
			}
		}
		t.Fatal("no answer ends")
		return ""
	}
	time.Sleep(2 * anchorReach * time.Millisecond) // a node looks no further back for a message
	both("begin", "end")                           // too short to be known by its messages
	short := endID(FromStart())
	finished(short, true)
	time.Sleep(2 * anchorReach * time.Millisecond) // the first messages of a subscription are not known by what was before them
	both("0", "begin", "1", "2", "3", "4", "end")
	finished(short, false)
	second := endID(ResumeAt(short))
	if c, _ := parseCursor(second); c.anchor == 0 {
		t.Fatalf("%s has no anchor", second)
	}
	finished(second, true)
	time.Sleep(2 * anchorReach * time.Millisecond)
	both("begin", "5", "6", "7", "end")
	finished(second, false)
	third := endID(ResumeAt(second))
	finished(third, true)
	both("begin", "8", "9", "10", "end") // in the same second
	finished(third, false)
	finished(endID(ResumeAt(third)), true)
}

// What came before the end is behind its id's time, too, and does not count.
func TestAnEndIsFoundByItsTime(t *testing.T) {
	f := answerFormat(t)
	w := answerWorld(t, roomy)
	w.bring("begin", "x", "end")
	id := cursor{ms: w.hub.Clock.Now(), seq: 7, epoch: w.hub.epoch + 1, ended: true}
	if !w.hub.Finished("a", ResumeAt(id.String()), f) {
		t.Error("the end is not found")
	}
	w.bring("begin")
	for range 2 {
		if w.hub.Finished("a", ResumeAt(id.String()), f) {
			t.Error("what came behind the end is not found")
		}
		id.ms += slack / 2 // as the other node's clock may say
	}
	other := answerWorld(t, roomy)
	for range 3 * searchStep {
		other.bring("x")
	}
	if other.hub.Finished("a", ResumeAt(id.String()), f) {
		t.Error("an answer that has not ended is finished")
	}
	id.ms += 2 * slack
	if !other.hub.Finished("a", ResumeAt(id.String()), f) {
		t.Error("messages from long before the end are behind it")
	}
}

func TestBatchesAreCutBehindTheEnd(t *testing.T) {
	w := newWorld(t, roomy)
	s := w.opened(cursor{}, "a")
	s.Wrote(read(s))
	w.bring("x", "end", spaces[:maxKept+1], "y")
	b := read(s)
	id := b.Items[1].id
	b.CutAfter(1)
	if got := sight(b); !slices.Equal(got, []string{"x", "end"}) || b.end != id {
		t.Errorf("left are %q up to %s, want the end at %s", got, b.end, id)
	}
	if b.Forget(); len(w.hub.usage.pins.all) != 0 {
		t.Errorf("%d messages are pinned", len(w.hub.usage.pins.all))
	}
}
