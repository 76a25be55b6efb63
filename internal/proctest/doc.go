// Package proctest runs programs beside tests: processes that end with their test, addresses for them, and waits for what they
// do.
//
//	func TestMain(m *testing.M) { os.Exit(proctest.Run(m)) }
//
//	addr := proctest.FreeAddr(t)
//	server := proctest.Start(t, exec.Command(proctest.Caddy(t), "file-server", "--listen", addr))
//	server.AwaitListening(t, addr)
//
// What takes a test may end it, and then belongs to the test's own goroutine, as [testing.TB.FailNow] does.
package proctest
