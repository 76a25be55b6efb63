# .ci/run calls these same targets.

# Pinned, so that a new release cannot fail an old commit.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

# The root module and the nested ones, which ./... does not reach.
MODULES := $(patsubst %/go.mod,%,$(shell find . -name go.mod -not -path '*/node_modules/*' | sort))
NESTED := $(filter-out .,$(MODULES))

# $(call each,COMMAND) runs COMMAND in every module, up to the first that fails.
each = @for m in $(MODULES); do (cd $$m && $(1)) || exit 1; done

# The packages of whose files the tests must cover enough each, by their own package's tests. What the pure ones cover is counted in a run
# of its own: with the race detector on, counting would take their histories a minute, without it takes five seconds.
PURE := ./internal/hub ./internal/glob ./internal/resp ./internal/jsonpath ./internal/outlet
COVERED := . $(PURE)

# What those of the last run covered.
PROFILE := coverage.out

# go test's flags for one run: make test TESTFLAGS='-run TestX -count 1'
TESTFLAGS ?=

# What "make bench-servers" measures: make bench-servers BENCHFLAGS='-only steady1 -rounds 5'
BENCHFLAGS ?=

# How "make promises" is run: make promises PROMISESFLAGS=-quick
PROMISESFLAGS ?=

# How "make attack" is run: make attack ATTACKFLAGS='-little', or -caddy FILE for another binary than this module's
ATTACKFLAGS ?=

# The version that the binaries of "make build" and "make release" say this module has, such as v1.2.3. Without one it is as git has it.
VERSION ?=
export VERSION # quoted by the shell, not by make: it may come from a tag

# What "make release" builds for, and the directory: make release VERSION=v1.2.3 PLATFORMS='linux/amd64 linux/arm64'
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
DIST ?= dist
export DIST

# The file, seen from here, into which "make test-monitoring" draws what the dashboard's charts had.
PICTURE ?=

# How many random histories "make fuzz" plays, and how long it fuzzes each target.
HISTORIES ?= 20000
FUZZTIME ?= 3m

.DEFAULT_GOAL := help
.PHONY: help run test test-ai test-lean test-lean-clients test-browser test-clients test-monitoring fuzz faults attack cover build release lint bench bench-go bench-servers promises fmt tidy-check examples

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Built for a first start that is soon there: without optimisation and debug information, for which the compiler takes a third of its
# time, and without C.
DEMO_FLAGS := -ldflags '-s -w' -gcflags 'all=-N -l -dwarf=false'

run: ## Run the demo (examples/demo): Redis is embedded, nothing to install
	cd examples/demo && CGO_ENABLED=0 go build $(DEMO_FLAGS) -o demo . && exec ./demo # "go run" would turn Ctrl-C into an error

# Whether enough is covered is known of all tests only. Nothing is said if so: the last lines are go test's.
test: ## Run all tests with the race detector, a real redis-server, nginx and HAProxy (installed if missing, as is a C compiler)
	@scripts/install-test-tools.sh
	@scripts/test.sh $(PROFILE) $(TESTFLAGS)
	@go test -vet off -covermode atomic -coverprofile $(PROFILE).pure $(TESTFLAGS) $(PURE) && tail -n +2 $(PROFILE).pure >>$(PROFILE)
	@for m in $(NESTED); do (cd $$m && go test -race -timeout 20m $(TESTFLAGS) ./...) || exit 1; done
	@$(if $(strip $(TESTFLAGS)),,go run ./internal/tools/cover -quiet $(PROFILE) $(COVERED))

# What has streams of HTTP/1.1 on sockets, in the handler's process and in others. The default, auto, has them lean in all other targets.
LEAN ?= off
LEAN_TESTS := Stream|Exit|SIG|Reload|Handover|HandedOver|Drain|Stall|Slow|Churn|ComeAndGo|ComingsAndGoings|Resume|Gap|Lean|Gone|Connection|Limit|Outage|Heartbeat|Presence|Quiet|Answers?|Cut|Publish

test-lean: export TESTLEAN := $(LEAN)
test-lean: ## Run the tests that have streams, and the faults in their short form, with "lean off" where a Caddyfile says nothing; LEAN=on plays that
	@scripts/install-test-tools.sh
	go test -vet off -timeout 20m $(TESTFLAGS) -run '$(LEAN_TESTS)' . && go test -race -vet off -timeout 20m $(TESTFLAGS) ./internal/faults

# Of the browsers' tests those that read streams, of the other clients' those of the tables: the rest does not see who writes.
test-lean-clients: export TESTLEAN := $(LEAN)
test-lean-clients: ## Run what of test-browser and test-clients reads streams with "lean off" where a Caddyfile says nothing; LEAN as of test-lean
	@$(MAKE) --no-print-directory test-browser TESTFLAGS="-run 'TestClient|Resumes|Reload|Killed|Gap|Drained|OverHTTPOne|OneGap'"
	@$(MAKE) --no-print-directory test-clients TESTFLAGS="-run 'TestTableSaysWhatClientsDo|TestClientInNode|TestReloadedPageGoesOn'"

test-browser: ## Run the tests in Chromium and Firefox (Debian's; installed if missing); pictures go to SCREENSHOTS
	@scripts/install-test-tools.sh
	@scripts/install-browsers.sh
	@export SCREENSHOTS="$${SCREENSHOTS:-$$(mktemp -d -t caddy-redis-sse-screenshots-XXXXXX)}"; echo "pictures of the demo page: $$SCREENSHOTS"; \
	go test -race -tags browser -count 1 -parallel 6 -timeout 10m $(TESTFLAGS) ./internal/browsertest

test-clients: ## Run the code of the README, docs/clients.md and the guides (Python, Node, PHP, Ruby, Go, Chromium), examples/ai-chat, compose and fastapi; installs what is missing
	@scripts/install-test-tools.sh
	@scripts/install-browsers.sh
	@scripts/install-client-tools.sh
	go test -race -tags clients -count 1 -parallel 12 -timeout 10m $(TESTFLAGS) ./internal/clientstest ./examples/ai-chat ./examples/compose ./examples/fastapi

test-ai: ## Have the SDKs of AI products read answers in Node, Chromium and Firefox, through faults; UPDATE_GOLDEN=1 writes the table of docs/ai-clients.md; installs what is missing
	@scripts/install-test-tools.sh
	@scripts/install-browsers.sh
	@scripts/install-ai-tools.sh
	go test -race -tags ai -count 1 -parallel 4 -timeout 10m $(TESTFLAGS) ./internal/aitest

test-monitoring: export PICTURE := $(PICTURE)
test-monitoring: ## Run examples/monitoring: Prometheus (Debian's; installed if missing) asks gateways with a fault each, and the commands of docs/operations; PICTURE=docs/operations/dashboard.svg draws it anew
	@scripts/install-test-tools.sh
	@scripts/install-monitoring-tools.sh
	go test -race -tags monitoring -count 1 -timeout 5m $(TESTFLAGS) ./internal/monitoringtest

fuzz: ## Fuzz for a while: make fuzz FUZZTIME=10m (each target; default 3m)
	@scripts/install-test-tools.sh
	@scripts/fuzz.sh $(HISTORIES) $(FUZZTIME) $(TESTFLAGS)

faults: ## Break Redis, the network to it and the gateway in 38 ways and eight phases (20 minutes on two cores); "test" has the short form
	@scripts/install-test-tools.sh
	go test -race -count 1 -timeout 3h $(TESTFLAGS) ./internal/faults -args -long

# In its directory, where go test shows what a test prints as it comes.
attack: ## Take memory and time from a gateway as a client can, and judge what it took (15 minutes on two cores; ATTACKFLAGS=-little: 1)
	@scripts/install-test-tools.sh
	@cd internal/attack && go test -tags attack -count 1 -timeout 1h $(TESTFLAGS) -args $(ATTACKFLAGS)

cover: test ## "make test", and print which share of each file it covers; less than 90 % of one is a failure in either
	@go run ./internal/tools/cover $(PROFILE) $(COVERED)

build: ## Build ./caddy with all standard modules and this one, through xcaddy if it is on PATH
	@go run ./internal/tools/build -version "$$VERSION" -output ./caddy

release: ## Build dist/caddy_redis_sse_OS_ARCH for each of PLATFORMS, and their checksums
	@scripts/release.sh $(PLATFORMS)

lint: ## Check formatting, go vet, staticcheck, the workflows
	@files=$$(gofmt -s -l .) || exit 1; test -z "$$files" || { echo "not formatted (make fmt):"; echo "$$files"; exit 1; }
	$(call each,go vet ./...)
	$(call each,go run $(STATICCHECK) ./...)
	go vet -tags browser ./internal/browsertest
	go run $(STATICCHECK) -tags browser ./internal/browsertest
	go vet -tags ai ./internal/aitest
	go run $(STATICCHECK) -tags ai ./internal/aitest
	go vet -tags clients ./internal/clientstest ./examples/ai-chat ./examples/compose ./examples/fastapi
	go run $(STATICCHECK) -tags clients ./internal/clientstest ./examples/ai-chat ./examples/compose ./examples/fastapi
	go vet -tags monitoring ./internal/monitoringtest
	go run $(STATICCHECK) -tags monitoring ./internal/monitoringtest
	go vet -tags promises ./internal/promises
	go run $(STATICCHECK) -tags promises ./internal/promises
	go vet -tags attack ./internal/attack
	go run $(STATICCHECK) -tags attack ./internal/attack
	go run $(ACTIONLINT)

bench: bench-go bench-servers ## Run all benchmarks (35 minutes on two cores)

bench-go: ## Run the Go benchmarks
	$(call each,go test -run '^$$' -bench . -benchmem $(TESTFLAGS) ./...)

bench-servers: ## Measure the gateway with and without lean streams beside a bare Caddy handler and nchan (nginx; installed from Debian if missing)
	@scripts/install-test-tools.sh
	@scripts/install-bench-tools.sh
	go run ./internal/tools/bench $(BENCHFLAGS)

promises: ## Test and measure what the project promises, and write docs/PROMISES.md (25 minutes on two cores)
	@scripts/install-test-tools.sh
	@scripts/install-client-tools.sh
	@scripts/install-browsers.sh
	go run ./internal/tools/promises $(PROMISESFLAGS)

fmt: ## Format the Go code
	gofmt -s -w .

tidy-check: ## Check that go.mod and go.sum are tidy and the modules what go.sum says
	$(call each,go mod tidy -diff)
	$(call each,go mod verify)

examples: build ## Check that every examples/*/Caddyfile is formatted, adapts and validates
	@scripts/check-examples.sh
