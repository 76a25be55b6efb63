#!/bin/sh
# Builds DIST/caddy_redis_sse_OS_ARCH for each platform OS/ARCH, and their
# checksums. The names have no version, so that the address of the newest
# release's files stays; the binaries say it themselves.
# usage: VERSION=v1.2.3 DIST=dist scripts/release.sh linux/amd64 windows/amd64
set -eu
cd "$(dirname "$0")/.."
if [ $# -eq 0 ]; then
	echo "no platforms to build for" >&2
	exit 1
fi
mkdir -p "$DIST"
rm -f "$DIST"/caddy_redis_sse_* "$DIST"/checksums.txt

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
go build -o "$tools/build" ./internal/tools/build # which itself runs here

for platform; do
	os=${platform%%/*} arch=${platform#*/}
	file=$DIST/caddy_redis_sse_${os}_$arch
	[ "$os" != windows ] || file=$file.exe
	GOOS=$os GOARCH=$arch "$tools/build" -version "${VERSION:-}" -output "$file"
done

cd "$DIST"
if command -v sha256sum >/dev/null; then
	sha256sum caddy_redis_sse_* >checksums.txt
else
	shasum -a 256 caddy_redis_sse_* >checksums.txt # macOS
fi
cat checksums.txt
