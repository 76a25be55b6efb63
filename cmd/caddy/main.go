// Command caddy is Caddy with its standard modules and this one: the main
// package that xcaddy would generate, for builds without xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/redis-sse/caddy-redis-sse"
)

func main() { caddycmd.Main() }
