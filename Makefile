# The commands of a developer's day. `make` alone lists them.

GO       ?= go
# Packages whose code runs in several goroutines. Only those that exist count,
# so that the list may name what is on its way.
RACE     = $(shell $(GO) list ./fence/... ./stages/... ./pipeline/... ./notify/... ./sinks/... \
             ./sources/... ./archive/... ./internal/... 2>/dev/null)
FUZZTIME ?= 10s
LINT     := bin/golangci-lint

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

.PHONY: install
install: ## install the programs the tests need (quiet when nothing is missing)
	@scripts/install.sh

.PHONY: build
build: ## build the four programs into bin/
	$(GO) build -trimpath -o bin/ ./cmd/...

.PHONY: test
test: install ## install what is missing and run every test
	$(GO) test ./...

.PHONY: race
race: install ## run the tests of the concurrent packages under the race detector
	$(GO) test -race $(RACE)

.PHONY: s3
s3: ## run the archive on an S3 store, in a module of its own; the first build takes minutes
	cd integration/s3 && $(GO) vet ./... && $(GO) test ./...

.PHONY: duckdb
duckdb: ## open segments and exports in DuckDB, in a module of its own (cgo; the first build fetches 570 MB)
	cd integration/duckdb && $(GO) vet ./... && $(GO) test ./...

.PHONY: lint
lint: $(LINT) ## gofmt, go vet and golangci-lint
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(LINT) run ./...

# The linter is pinned in tools/go.mod, apart from our own dependencies. The
# first build takes minutes.
$(LINT): tools/go.mod tools/go.sum
	cd tools && nice $(GO) build -o ../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: bench
bench: ## measure the parts alone, then the whole beside plain NATS (docs/performance.md)
	$(GO) test -run '^$$' -bench . -benchmem ./schemas ./rules/... ./archive/... ./internal/traffic
	$(GO) run ./integration/bench

.PHONY: chaos
chaos: ## five minutes of runs of the whole under faults, with new seeds (docs/guarantees.md)
	$(GO) run ./integration/chaos -for 4m

.PHONY: chaos-full
chaos-full: ## the same for eight hours, into docs/faults.jsonl and the sum of it
	$(GO) run ./integration/chaos -for 8h -record
	$(GO) run ./integration/chaos -sum

.PHONY: powerloss
powerloss: ## four minutes of power cuts and damaged files, with new seeds (root, loop devices)
	$(GO) run ./integration/powerloss -for 4m

.PHONY: spool-soak
spool-soak: ## half an hour's events into the spool, 20 kills, 10 flipped bits (needs 4 GB; minutes)
	$(GO) test ./integration/spoolsoak -v -timeout 60m -events 3600000 -kills 20 -flips 10

.PHONY: kill-soak
kill-soak: ## kill archivers and compactors that race 500 times (minutes)
	$(GO) test ./archive/compact -run 'TestKill$$' -v -timeout 60m -kills 500

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (10s)
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "fuzz: $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
