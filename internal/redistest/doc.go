// Package redistest gives a test a real redis-server that it may kill, freeze and restart, and a TCP proxy that breaks the way
// to it.
//
//	server := redistest.Start(t)
//	proxy := redistest.NewProxy(t, server.Addr())
//	// point the code under test at proxy.URL(), then:
//	proxy.SetBlackhole(true) // or Reset, or server.Kill, or server.Freeze
//
// Where no redis-server does what a test needs, Fake runs any server. All end with the test that made them. Methods that end the
// test on failure belong to the test's own goroutine, as [testing.TB.FailNow] does; each type says which of its methods any
// goroutine may call.
package redistest
