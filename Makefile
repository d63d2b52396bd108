# What a developer does. `make` alone lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c

GO       ?= go
FUZZTIME ?= 10s
ARGS     ?=
COMPOSE  ?= docker compose

# Packages that run goroutines are tested with the race detector if a C compiler is installed.
RACED := ./stream/... ./processors/... ./api/... ./producers/... ./recommend/... ./app/... ./rebuild/... ./cmd/...
RACE  := $(shell CC=$$($(GO) env CC 2>/dev/null); command -v $${CC:-gcc} >/dev/null 2>&1 && [ "$$($(GO) env GOARCH)" != 386 ] && echo -race)
# The race detector slows SQLite, a translation from C, by ten: only what is concurrent runs with it.
CONCURRENT := -run '/concurrent' ./sinks/sqlite

# Tests of the whole wait more than they compute.
WAITING := -parallel 4

# The package whose own tests must cover 85 % of its statements.
COVERED := ./processors

# Packages with tests on real engines.
REAL := ./stream/... ./sinks/... ./processors/... ./recommend/... ./api/... ./app/... ./rebuild/... ./cmd/...
# The torture kills and pauses engines, so it starts its own. It needs the script that does so;
# containers are not tortured.
REAL += $(if $(SLIPSTREAM_SERVICES),./test/torture/...)

# The addresses of real engines: `make test` must not find them.
ENGINES := KAFKA_BROKERS QDRANT_ADDR NEO4J_URI CLICKHOUSE_ADDR PROMETHEUS

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'

.PHONY: dev
dev: ## everything in one process, with a simulated audience; nothing to install (ARGS=…)
	$(GO) run ./cmd/slipstream dev --demo $(ARGS)

.PHONY: up
up: ## Kafka, Qdrant, Neo4j, ClickHouse, Prometheus, Grafana and the app in containers
	$(COMPOSE) up --build --detach --wait

.PHONY: down
down: ## stop the containers; their volumes stay (remove them: docker compose down --volumes)
	$(COMPOSE) down

.PHONY: build
build: ## the static binary, as bin/slipstream
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/slipstream ./cmd/slipstream

.PHONY: test
test: ## unit tests: no network, no container, no engine
	@$(if $(RACE),,echo "no C compiler: testing without the race detector" >&2)
	raced=$$($(GO) list $(RACED) 2>/dev/null); plain=$$($(GO) list ./... | grep -vxF "$$raced"); \
	raced=$$(grep -vxF "$$($(GO) list $(COVERED))" <<<"$$raced"); \
	$(foreach e,$(ENGINES),unset $(e); ) unset REQUIRE_ENGINES; rc=0; \
	$(GO) test $$plain || rc=1; $(GO) test $(RACE) $(WAITING) $$raced || rc=1; \
	$(if $(RACE),$(GO) test $(RACE) $(CONCURRENT) || rc=1;) \
	GO=$(GO) infra/scripts/coverage 85 $(RACE) $(COVERED) || rc=1; exit $$rc

.PHONY: test-real
test-real: ## tests on the real engines at KAFKA_BROKERS, QDRANT_ADDR, NEO4J_URI, CLICKHOUSE_ADDR …, and with the program PROMETHEUS; a missing one fails
	REQUIRE_ENGINES=1 $(GO) test -count=1 -p 2 -timeout 12m $$($(GO) list $(REAL) 2>/dev/null)

.PHONY: test-long
test-long: ## the tests that take minutes, on embedded engines and, for recall, at QDRANT_ADDR, then clients --long; writes docs/TEST-LONG.md
	GO=$(GO) infra/scripts/test-long

.PHONY: clients
clients: ## generate clients of the documents and use them on a running server, then schemathesis (ARGS=--long)
	GO=$(GO) infra/scripts/clients $(ARGS)

.PHONY: quality
quality: ## lists served by the whole against lists measured by eval, some ten minutes; needs ../shared/data
	SLIPSTREAM_QUALITY=1 $(GO) test -count=1 -timeout 30m -v -run ServedQuality ./app

.PHONY: torture
torture: ## the long torture, the outages, a rolling upgrade and a restore, about an hour, on engines started by SLIPSTREAM_SERVICES; docs/RELIABILITY.md
	TORTURE=1 REQUIRE_ENGINES=1 $(GO) test -count=1 -timeout 120m -v -run 'TestRealTortureLong|TestRealOutages|TestRealRollingUpgrade|TestRealRestore' ./test/torture

.PHONY: mutants
mutants: ## mutate embed, catalog and recommend and run their tests on each mutant, some ten minutes (ARGS="-list")
	$(GO) run ./test/mutants $(ARGS)

.PHONY: fuzz
fuzz: ## every fuzz test for FUZZTIME (10s)
	for pkg in $$(grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$pkg/*_test.go | sed 's/func //'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; \
	done

.PHONY: bench
bench: ## measure everything end to end and write docs/bench, on the engines named by KAFKA_BROKERS … or started by SLIPSTREAM_SERVICES (ARGS="-only adapter")
	cd test/bench && $(GO) run . $(ARGS)

.PHONY: bench-pairs
bench-pairs: ## compare speed with the checkout BASE, in pairs; writes docs/bench/pairs.md (ARGS="-only adapter")
	cd test/bench && $(GO) run . pairs -base $(abspath $(BASE)) -- $(ARGS)

.PHONY: bench-smoke
bench-smoke: ## the same with small counts, in a minute: checks what comes out, not how fast
	cd test/bench && $(GO) vet . && $(GO) run . -smoke $(ARGS)

.PHONY: bench-unit
bench-unit: ## the benchmarks of the packages (ARGS=…)
	$(GO) test -run '^$$' -bench . -benchmem $(ARGS) ./...

.PHONY: lint
lint: ## go vet, the linters of .golangci.yml and deadcode, installed into bin/ at pinned versions
	$(GO) vet ./...
	infra/scripts/golangci-lint run ./...
	infra/scripts/deadcode

.PHONY: fmt
fmt: ## format the code
	infra/scripts/golangci-lint fmt ./...

.PHONY: seams
seams: ## apply docs/seams (a new event type, a new processor) to a clean clone, count what they touch, test (ARGS=event)
	infra/scripts/seams $(ARGS)

.PHONY: tidy
tidy: ## check that go.mod and go.sum are tidy
	$(GO) mod tidy -diff

.PHONY: replay
replay: ## replay a public data set: make replay ARGS="path/to/ml-100k --rate 1000"
	$(GO) run ./cmd/slipstream replay $(ARGS)

.PHONY: docs
docs: ## generate the generated documents anew
	$(GO) test ./config ./schemas ./api -run 'UpToDate' -update

.PHONY: lists
lists: ## make the ten lists of docs/LISTS.md anew: they may be other ones
	$(GO) test ./app -run TestTenLists -update

.PHONY: clean
clean: ## remove what was built; data folders stay
	rm -rf bin coverage.out
