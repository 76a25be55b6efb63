package hub

import "testing"

func TestKeptPatternsAreSettledOnceEachIsAnswered(t *testing.T) {
	b := Bounds{Limits: Limits{Messages: 10, Bytes: 1 << 20, Message: 1 << 20, MaxAge: 1 << 40}, Budget: roomyBudget}
	h := New(b, func(int) {})
	if !h.KeepSettled() {
		t.Error("nothing is kept, and that is not settled")
	}
	h.Configure(b, []string{"a:*", "b:*"})
	if h.KeepSettled() {
		t.Error("nothing has been answered")
	}
	subs := h.take().subs
	h.confirmed(subs[0])
	if h.KeepSettled() {
		t.Error("one of two has been answered")
	}
	h.denied(subs[1:])
	if !h.KeepSettled() {
		t.Error("one is confirmed and the other denied")
	}
	h.Lost(h.Complete())
	if h.KeepSettled() {
		t.Error("on the new connection nothing has been answered")
	}
}
