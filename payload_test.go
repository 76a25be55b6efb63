package redissse

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"go.uber.org/zap"
)

// publishing returns a handler for a hub that has no Redis.
func (w *world) publishing(t *testing.T, h *PublishHandler) *PublishHandler {
	t.Helper()
	h.Channel = "news"
	if err := h.resolve(); err != nil {
		t.Fatal(err)
	}
	h.claim = &sharedClaim{claim: &claim{hub: w.hub}, log: zap.NewNop()}
	h.metrics = newPublishMetrics(w.hub.name, h.Channel)
	return h
}

func TestABodyToBePublishedHasItsTime(t *testing.T) {
	for name, test := range map[string]struct {
		every, want time.Duration
	}{
		"that does not come":             {0, bodySilence},
		"that drips":                     {bodySilence - 1, payloadTotal},
		"that drips a thousand a second": {time.Millisecond, payloadTotal},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				begin := time.Now()
				d := drip(t, w.publishing(t, &PublishHandler{}), http.MethodPost, test.every)
				<-d.ended
				if took := d.end.Sub(begin); took != test.want || reqStatus(d.err) != http.StatusRequestTimeout {
					t.Errorf("given up after %s with %v, want a 408 after %s", took, d.err, test.want)
				}
				if last := d.lastDeadline(); last.IsZero() || last.After(time.Now().Add(unreadBody)) {
					t.Errorf("net/http may wait until %s for what is left", last)
				}
			})
		})
	}
}

// A client that takes its time for a body holds up neither a reload nor the exit.
func TestTheDrainEndsBodiesToBePublished(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.publishing(t, &PublishHandler{})
		d := drip(t, h, http.MethodPost, time.Second)
		time.Sleep(5 * time.Second)
		h.drain.begin()
		<-d.ended
		if d.err != nil || d.status != http.StatusServiceUnavailable || !strings.Contains(d.out.String(), `"busy"`) {
			t.Errorf("got %d, %v: %s", d.status, d.err, d.out.String())
		}
		if took := d.end.Sub(h.drain.at); took > defaultDrainReload+tickInterval {
			t.Errorf("ended %s after the drain began", took)
		}
		if n := h.drain.begun.listeners.Len(); n != 0 {
			t.Errorf("%d listen for the drain", n)
		}
	})
}

func TestBodiesShareTheirRoom(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := startPublishing(t, &Hub{Redis: server.URL(), Buffer: &Buffer{TotalSize: payloadShare << 20}}, &PublishHandler{MaxSize: 8 << 20})
	first, last := io.Pipe()
	slow := make(chan publishResult)
	go func() {
		got, err := p.try(t.Context(), http.MethodPost, first, nil)
		if err != nil {
			t.Error(err)
		}
		slow <- got
	}()
	if _, err := last.Write(make([]byte, 3<<20)); err != nil { // alone it may have more than there is
		t.Fatal(err)
	}
	await(t, "the room to be taken", func() bool { return p.hub.payloads.rest.held.Load() > 1<<20 })
	p.post(strings.Repeat("x", 2*usualPayload)).want(t, http.StatusServiceUnavailable, dropBusy, 0)
	p.post(strings.Repeat("x", defaultMaxSize)).want(t, http.StatusOK, "", 1) // what is usual has other room
	if err := last.Close(); err != nil {
		t.Fatal(err)
	}
	(<-slow).want(t, http.StatusOK, "", 1)
	await(t, "the room to be given back", func() bool { return p.hub.payloads.bytes() == 0 })
	p.post(strings.Repeat("x", 2*usualPayload)).want(t, http.StatusOK, "", 1)
}

// However many there are, and however small: what they take is bounded.
func TestBodiesOfAUsualSizeHaveRoomForSoMany(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{1, 1000, defaultMaxSize, 1 << 20} {
		var all payloads
		var held []*payload
		for int64(len(held)) <= 3*leastPayloads/size {
			p := &payload{all: &all, most: leastPayloads}
			err := p.readFrom(bytes.NewReader(make([]byte, size)), size, 1<<30)
			if err != nil {
				if p.release(); !errors.Is(err, errPayloadsFull) {
					t.Fatal(err)
				}
				break
			}
			held = append(held, p)
		}
		if took := all.bytes(); took > 2*leastPayloads || int64(len(held))*(size+1) > took || took < leastPayloads/2 {
			t.Errorf("%d bodies of %d bytes take %d, want about %d", len(held), size, took, leastPayloads)
		}
		for _, p := range held {
			p.release()
		}
		if all.bytes() != 0 {
			t.Errorf("%d bytes are held for ever", all.bytes())
		}
	}
}

func TestPayloadsAreReadAsTheyAre(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 4096, usualPayload - 1, usualPayload, usualPayload + 1, 1 << 20} {
		want := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
		for _, announced := range []int64{-1, int64(size)} {
			for name, r := range map[string]io.Reader{
				"at once": bytes.NewReader(want), "in halves": iotest.HalfReader(bytes.NewReader(want)),
				"with its end": iotest.DataErrReader(bytes.NewReader(want)),
			} {
				var all payloads
				p := &payload{all: &all, most: 1 << 30}
				if err := p.readFrom(r, announced, 1<<20); err != nil || !bytes.Equal(p.bytes, want) {
					t.Fatalf("%d bytes, announced as %d, %s: %d bytes, %v", size, announced, name, len(p.bytes), err)
				}
				if held := all.bytes(); held != int64(cap(p.bytes)) {
					t.Errorf("%d bytes with room for %d count %d", size, cap(p.bytes), held)
				}
				if most := max(2*size+1, 512); cap(p.bytes) > most+512 {
					t.Errorf("%d bytes take room for %d", size, cap(p.bytes))
				}
				if p.release(); all.bytes() != 0 {
					t.Errorf("%d bytes are held for ever", all.bytes())
				}
			}
		}
	}
	p := &payload{all: new(payloads), most: 1}
	if err := p.readFrom(iotest.ErrReader(io.ErrUnexpectedEOF), 100, 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the error is %v", err)
	}
}
