package hub

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/jsonpath"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// mergeItems are items of one channel.
func mergeItems(payloads ...string) (items []Item) {
	home := named("a")
	for i, payload := range payloads {
		items = append(items, Item{seq: uint64(i + 1), id: cursor{ms: 1, seq: uint64(i + 1)}, msg: &message{home: home, payload: payload, seq: uint64(i + 1)}})
	}
	return items
}

func TestWhatSharesAnEvent(t *testing.T) {
	large := strings.Repeat("x", 20<<10)
	for name, test := range map[string]struct {
		payloads []string
		n        int
		want     string
	}{
		"one":                         {[]string{`{"d":"a"}`}, 1, ""},
		"two":                         {[]string{`{"d":"a"}`, `{"d":"b"}`}, 2, `{"d":"ab"}`},
		"all":                         {[]string{`{"t":1,"d":"a","u":2}`, `{"t":1,"d":"","u":2}`, `{"t":1,"d":"\"c\\","u":2}`}, 3, `{"t":1,"d":"a\"c\\","u":2}`},
		"an escape in two":            {[]string{`{"d":"\ud83d"}`, `{"d":"\ude00"}`}, 2, `{"d":"\ud83d\ude00"}`},
		"two of three":                {[]string{`{"d":"a"}`, `{"d":"b"}`, `{"d":"c","x":1}`}, 2, `{"d":"ab"}`},
		"the other path":              {[]string{`{"a":{"b":"x"}}`, `{"a":{"b":"y"}}`, `{"d":"z"}`}, 2, `{"a":{"b":"xy"}}`},
		"a counter":                   {[]string{`{"d":"a","n":1}`, `{"d":"b","n":2}`}, 1, ""},
		"spaces elsewhere":            {[]string{`{"d":"a"}`, `{"d": "b"}`}, 1, ""},
		"an end between":              {[]string{`{"d":"a"}`, `[DONE]`, `{"d":"b"}`}, 1, ""},
		"an end by its text":          {[]string{`{"d":"a"}`, `{"d":"b"}`, `{"d":"END"}`, `{"d":"c"}`}, 2, `{"d":"ab"}`},
		"an end first":                {[]string{`{"d":"END"}`, `{"d":"b"}`}, 1, ""},
		"a beginning by its value":    {[]string{`{"d":"a"}`, `{"d":"b"}`, `{"d":"BEGIN"}`}, 2, `{"d":"ab"}`},
		"a number":                    {[]string{`{"d":1}`, `{"d":2}`}, 1, ""},
		"no JSON behind":              {[]string{`{"d":"a"}`, `{"d":"b"x"}`}, 1, ""},
		"half an escape":              {[]string{`{"d":"a"}`, `{"d":"b\"}`}, 1, ""},
		"no hex":                      {[]string{`{"d":"a"}`, `{"d":"\u12g4"}`}, 1, ""},
		"an escape that is cut":       {[]string{`{"d":"a"}`, `{"d":"\u12"}`}, 1, ""},
		"no escape":                   {[]string{`{"d":"a"}`, `{"d":"\x"}`}, 1, ""},
		"a line end":                  {[]string{`{"d":"a"}`, "{\"d\":\"b\nc\"}"}, 1, ""},
		"another key in the contents": {[]string{`{"d":"a"}`, `{"d":"b","e":"c"}`}, 1, ""},
		"too short":                   {[]string{`{"d":"a","d":"a"}`, `{"d":"a"}`}, 1, ""},
		"large ones":                  {[]string{`{"d":"a"}`, `{"d":"` + large + `"}`}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := parsedFormat(t, Wire{
				Merge: []string{"d", "a.b"},
				End:   []Match{{Data: []string{"[DONE]", `{"d":"END"}`}}},
				Begin: []Match{{Field: "d", Values: []string{"BEGIN"}}},
			})
			n, payload := f.run(mergeItems(test.payloads...))
			if n != test.n || payload != test.want {
				t.Errorf("%d share %.100s, want %d: %s", n, payload, test.n, test.want)
			}
		})
	}
}

func TestOnlyMessagesOfOneChannelShareAnEvent(t *testing.T) {
	f := parsedFormat(t, Wire{Merge: []string{"d"}})
	items := mergeItems(`{"d":"a"}`, `{"d":"b"}`, `{"d":"c"}`)
	items[1].msg.home = named("b")
	if n, _ := f.run(items); n != 1 {
		t.Errorf("%d of two channels share an event", n)
	}
	items = mergeItems(`{"d":"a"}`, `{"d":"b"}`, `{"d":"c"}`)
	items[2] = Item{seq: 3, lack: &lack{reason: gapEvicted}}
	if n, _ := f.run(items); n != 2 {
		t.Errorf("%d share an event, want the two before a gap", n)
	}
	if n, _ := f.run(items[2:]); n != 1 {
		t.Errorf("%d share an event with a gap", n)
	}
}

func TestAnEndSharesNoEvent(t *testing.T) {
	f := parsedFormat(t, Wire{Merge: []string{"d"}, End: []Match{{Field: "end"}}})
	if n, _ := f.run(mergeItems(`{"d":"a","end":1}`, `{"d":"b","end":1}`)); n != 1 {
		t.Errorf("%d ends share an event", n)
	}
}

func TestASharedEventIsBounded(t *testing.T) {
	f := parsedFormat(t, Wire{Merge: []string{"d"}})
	text := strings.Repeat("x", 1000)
	payloads := slices.Repeat([]string{`{"d":"` + text + `"}`}, 200)
	n, payload := f.run(mergeItems(payloads...))
	if want := maxMerged / len(text); n != want || len(payload) != want*len(text)+len(`{"d":""}`) {
		t.Errorf("%d share an event of %d bytes, want %d", n, len(payload), want)
	}
}

// A stream that merges gets few events, with the ids of their last messages, and a client that is cut in one gets all of it again.
func TestSharedEventsOnTheWire(t *testing.T) {
	w := newWorld(t, roomy)
	f := parsedFormat(t, Wire{Merge: []string{"d"}, Event: "field t", Data: "field d"})
	s := w.opened(cursor{}, "a")
	s.ReadMore()
	s.Wrote(read(s))
	for i := range 3 {
		w.bring(fmt.Sprintf(`{"t":"x","d":"%d\n"}`, i))
	}
	w.bring(`{"t":"y"}`)
	b := read(s)
	var e Encoder
	n, notes := w.hub.EncodeRun(&e, b.Items, f)
	out, more := e.Append(nil, 1<<20)
	if want := "id: " + b.Items[2].id.String() + "\nevent: x\ndata: 0\ndata: 1\ndata: 2\ndata: \n\n"; n != 3 || more || string(out) != want || notes != (Notes{}) {
		t.Errorf("%d share %q with %+v, want %q", n, out, notes, want)
	}
	if e.Ends() || e.Overtaken() {
		t.Error("a shared event is no end, and never overtaken")
	}
	if n, notes := w.hub.EncodeRun(&e, b.Items[3:], f); n != 1 || !notes.DataLeft {
		t.Errorf("%d are encoded with %+v, want one without the value", n, notes)
	}
	if n, _ := w.hub.EncodeRun(&e, b.Items, &evtPlain); n != 1 {
		t.Errorf("%d share an event of a format that merges nothing", n)
	}
}

func TestAStreamThatMergesReadsMore(t *testing.T) {
	w := newWorld(t, roomy)
	w.hub.Configure(*w.hub.bounds.Load(), []string{"*"})
	w.settle()
	for range 1000 {
		w.bring("x")
	}
	for _, more := range []bool{false, true} {
		s := w.begun(FromStart())
		want := batchItems
		if more {
			s.ReadMore()
			want *= mergeReads
		}
		if got := len(read(s).Items); got != want {
			t.Errorf("a batch has %d items, want %d", got, want)
		}
	}
}

// Whatever the payloads, what a client decodes of a shared event is what it would have decoded of each, one after the other.
func TestASharedEventIsWhatItsMessagesWere(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	f := parsedFormat(t, Wire{Merge: []string{"d", "list.1.text"}})
	shared := 0
	for range 20_000 {
		payloads := mergePayloads(r)
		n, payload := f.run(mergeItems(payloads...))
		if n == 1 {
			continue
		}
		shared++
		var got any
		if err := json.Unmarshal([]byte(payload), &got); err != nil {
			t.Fatalf("%q make %q: %v", payloads[:n], payload, err)
		}
		path, text := mergedBy(t, payloads[:n])
		v, ok := jsonpath.Find(payload, path)
		if !ok || v.Text() != text {
			t.Fatalf("%q make %q, with %q at %s, want %q", payloads[:n], payload, v.Text(), path, text)
		}
	}
	if shared < 5000 {
		t.Errorf("%d of 20,000 share events", shared)
	}
}

// mergedBy returns the path at which payloads differ, and the texts there joined. (What are halves of a pair of surrogates in
// two of them is one character in the joined text.)
func mergedBy(t *testing.T, payloads []string) (path, joined string) {
	t.Helper()
	for _, path := range []string{"d", "list.1.text"} {
		var raw strings.Builder
		first, ok := jsonpath.Find(payloads[0], path)
		if !ok || !first.IsString() {
			continue
		}
		same := true
		for _, payload := range payloads {
			v, ok := jsonpath.Find(payload, path)
			same = same && ok && v.IsString() && payload[:v.Start] == payloads[0][:first.Start] && payload[v.End:] == payloads[0][first.End:]
			if same {
				raw.WriteString(payload[v.Start+1 : v.End-1])
			}
		}
		if !same {
			continue
		}
		if err := json.Unmarshal([]byte(`"`+raw.String()+`"`), &joined); err != nil {
			t.Fatal(err)
		}
		return path, joined
	}
	t.Fatalf("%q differ in more than one string", payloads)
	return "", ""
}

var mergeTexts = []string{"", "a", " b", `\"`, `\\`, `\n`, `é`, `\u00e9`, `\ud83d`, `\ude00`, `😀`, `\/`, `","d":"`, `\u0000`, `{"d":"x"}`, "\xf0\x9f", "\x98\x80", "[DONE]"}

func mergePayloads(r *rand.Rand) (payloads []string) {
	forms := []string{`{"d":"%s"}`, `{"t":"x","d":"%s","n":1}`, `{"list":[{},{"text":"%s"}],"d":1}`, `{"d":"y","list":[0,{"text":"%s"}]}`, `{"d":"%s","d":"z"}`, `{"d":"w","d":"%s"}`, `{"e":"%s"}`}
	form := forms[r.Intn(len(forms))]
	for range 2 + r.Intn(4) {
		if r.Intn(12) == 0 {
			form = forms[r.Intn(len(forms))]
		}
		text := ""
		for range r.Intn(3) {
			text += mergeTexts[r.Intn(len(mergeTexts))]
		}
		payloads = append(payloads, fmt.Sprintf(form, text))
	}
	return payloads
}

func BenchmarkRun(b *testing.B) {
	f, err := ParseFormat(Wire{Merge: []string{"choices.0.delta.content"}, End: []Match{{Data: []string{"[DONE]"}}}})
	if err != nil {
		b.Fatal(err)
	}
	const form = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" tok%d"},"finish_reason":null}]}`
	var payloads []string
	for i := range 500 {
		payloads = append(payloads, fmt.Sprintf(form, i))
	}
	items := mergeItems(payloads...)
	b.ReportAllocs()
	for b.Loop() {
		if n, _ := f.run(items); n != len(items) {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(items)), "ns/message")
}

// At whatever byte a client is cut, what it had and what it gets once it is back are all messages, each once and in order.
func TestAClientMayBeCutAtEveryByteOfASharedEvent(t *testing.T) {
	w := answerWorld(t, roomy)
	f := parsedFormat(t, Wire{Merge: []string{"d"}, End: []Match{{Data: []string{"[DONE]"}}}, Control: "comments", GapData: "x"})
	want := ""
	w.bring(`{"t":"begin"}`)
	for i := range 6 {
		w.bring(fmt.Sprintf(`{"d":"%d é\n"}`, i))
		want += fmt.Sprintf("%d é\n", i)
	}
	w.bring("[DONE]")
	wire := mergedFrom(w, f, FromStart())
	if events := strings.Count(string(wire), "id: "); events != 3 {
		t.Fatalf("%q has %d events, want 3", wire, events)
	}
	for at := range len(wire) + 1 {
		text, id, ended := mergedText(t, wire[:at])
		start := FromStart()
		if id != "" {
			start = ResumeAt(id)
		}
		if start.EndsAnswer() != ended {
			t.Fatalf("cut at %d the client has all: %v, and the id %q", at, ended, id)
		}
		if !ended {
			rest, _, restEnded := mergedText(t, mergedFrom(w, f, start))
			text, ended = text+rest, restEnded
		}
		if text != want || !ended {
			t.Fatalf("cut at %d of %d the client has %q in the end, want %q", at, len(wire), text, want)
		}
	}
}

// mergedFrom is all that a new stream of channel a is sent.
func mergedFrom(w *world, f *Format, at Start) (wire []byte) {
	s := w.begun(at)
	defer w.hub.Close(s)
	s.ReadMore()
	b := read(s)
	for i := 0; i < len(b.Items); {
		var e Encoder
		n, _ := w.hub.EncodeRun(&e, b.Items[i:], f)
		wire, _ = e.Append(wire, 1<<20)
		i += n
	}
	return wire
}

// mergedText is what a client has that was sent the bytes.
func mergedText(t *testing.T, wire []byte) (text, id string, ended bool) {
	t.Helper()
	for _, e := range ssetest.NewParser().Push(wire) {
		id = e.ID
		if ended = e.Data == "[DONE]"; ended {
			continue
		}
		var data struct{ D string }
		if err := json.Unmarshal([]byte(e.Data), &data); err != nil {
			t.Fatalf("decoding %q: %v", e.Data, err)
		}
		text += data.D
	}
	return text, id, ended
}
