module github.com/cloudflare/circl

go 1.26.0
