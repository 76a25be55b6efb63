# Caddy with this module, in Caddy's own image: what is said of that holds here, too.
#   docker build -t caddy-redis-sse --build-arg VERSION=v1.2.3 .
# It needs BuildKit, which Docker has had as its default since version 23.

FROM --platform=$BUILDPLATFORM caddy:2.11.9-builder AS build
WORKDIR /src
COPY . .
# What the binary says of itself: caddy list-modules --versions. There is no git history in here to tell.
ARG VERSION=v0.0.0-unknown
ARG TARGETOS
ARG TARGETARCH
# Through the xcaddy of this image, as xcaddy.json says. Modules and what is compiled are kept for the next build.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
	go build -o /usr/local/bin/build ./internal/tools/build && \
	GOOS=$TARGETOS GOARCH=$TARGETARCH build -version "$VERSION" -output /usr/bin/caddy

FROM caddy:2.11.9
COPY --from=build /usr/bin/caddy /usr/bin/caddy
