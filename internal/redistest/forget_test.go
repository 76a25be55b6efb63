package redistest

import "testing"

func TestForget(t *testing.T) {
	ln := listen(t)
	p := NewProxy(t, ln.Addr().String())
	old := dial(t, p)
	oldTarget := peer{t, accept(t, ln)}
	p.Forget()
	if n := p.Open(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
	old.say("lost")
	oldTarget.say("lost")
	fresh := dial(t, p)
	freshTarget := peer{t, accept(t, ln)}
	p.SetBlackhole(true)
	p.SetBlackhole(false)
	fresh.say("through")
	freshTarget.hears("through")
	old.hearsNothing()
	oldTarget.hearsNothing()
	oldTarget.close()
	old.hearsNothing()
}

func TestForgetToServer(t *testing.T) {
	ln := listen(t)
	p := NewProxy(t, ln.Addr().String())
	c := dial(t, p)
	target := peer{t, accept(t, ln)}
	p.ForgetToServer()
	c.say("lost")
	target.hearsNothing()
	target.say("through")
	c.hears("through")
	c.close()
	target.hearsNothing()
}

func TestInjectInto(t *testing.T) {
	ln := listen(t)
	p := NewProxy(t, ln.Addr().String())
	one := dial(t, p)
	target := accept(t, ln)
	other := dial(t, p)
	_ = accept(t, ln)
	peer{t, target}.say("x")
	one.hears("x") // so the proxy knows of both
	if !p.InjectInto(target.RemoteAddr().String(), []byte("injected")) {
		t.Error("there is nobody to inject into")
	}
	one.hears("injected")
	other.hearsNothing()
	if p.InjectInto("127.0.0.1:1", []byte("injected")) {
		t.Error("injected into a connection that is not there")
	}
}
