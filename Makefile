# `make help` lists the targets. Only Python >= 3.11, pip and make are needed.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=
CHAOS_SECONDS ?= 600
CHAOS_ARGS ?=
UV ?= uv

VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
# The pip of $(PYTHON) installs into the environments: one without its own pip is made in no time, and needs no
# ensurepip, which Debian leaves out. Bytecode is compiled afterwards, on all cores, which pip doesn't.
PIP = $(PYTHON) -m pip --disable-pip-version-check --no-input
INSTALL = install --quiet --no-compile --no-deps
COMPILE = -m compileall -q -j 0 -x '/tests?/'
say = @printf '» %s\n'

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: $(VENV)/.runtime ## Start everything: database, price book, demo account, service
	@exec $(BIN)/python -m metering up

.PHONY: test
test: $(VENV)/.dev ## Run all tests, warnings as errors (PYTEST_ARGS="-k ledger" for some)
	$(say) 'running the tests'
	@$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadgroup $(PYTEST_ARGS)

.PHONY: check
check: $(VENV)/.dev ## Check format, lint, types, import contracts, price book, schema, migrations
	$(say) 'format'
	@$(BIN)/ruff format --check --quiet .
	$(say) 'lint'
	@$(BIN)/ruff check --quiet .
	$(say) 'types'
	@$(BIN)/mypy
	$(say) 'import contracts'
	@$(BIN)/lint-imports --no-logo
	$(say) 'price book'
	@$(BIN)/metering prices check
	$(say) 'the schema of the price book is the generated one'
	@$(BIN)/metering prices schema | diff - pricing_rules/schema.json
	$(say) 'migrations drift'
	@$(BIN)/python -m pytest --quiet -k drift tests

.PHONY: format
format: $(VENV)/.dev ## Format the code and fix what lint can fix
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

.PHONY: schema
schema: $(VENV)/.runtime ## Generate pricing_rules/schema.json from the grammar
	@$(BIN)/metering prices schema > $(VENV)/schema.json
	@mv $(VENV)/schema.json pricing_rules/schema.json

.PHONY: chaos
chaos: $(VENV)/.dev ## Kill everything at random under 32 clients for CHAOS_SECONDS=600 (CHAOS_ARGS="--seed 7")
	@$(BIN)/python -m tests.crash.chaos --seconds $(CHAOS_SECONDS) $(CHAOS_ARGS)

.PHONY: bench
bench: $(VENV)/.dev ## Measure beside peers and limits, in 7 minutes (BENCH_ARGS="rating --json FILE")
	@$(MAKE) --no-print-directory $(PEERS)/.installed || printf '» %s\n' 'no peers to compare with: going on without'
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

.PHONY: setup
setup: $(VENV)/.dev ## Install what development needs into .venv

.PHONY: lock
lock: ## Resolve the dependencies anew into requirements*.lock (needs uv)
	$(say) 'resolving'
	@$(UV) lock --quiet --upgrade --preview-features package-conflicts
	@for lock in ':--no-dev' '-build:--only-group=build' '-dev:--group=dev' '-peers:--only-group=peers'; do \
		$(UV) export --quiet --frozen --no-header --no-annotate --no-emit-project \
			--preview-features package-conflicts $${lock#*:} --output-file "requirements$${lock%%:*}.lock" \
			|| exit 1; \
	done
	@rm uv.lock # it names the registry; the exports carry the same hashes without an address

.PHONY: clean
clean: ## Remove environments and caches; the data in .metering stays
	rm -rf $(VENV) $(PEERS) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	find metering migrations tests -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	$(say) 'creating $(VENV)'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	@$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.runtime: requirements.lock requirements-build.lock | $(BIN)/python
	$(say) 'installing what the service needs (about 15 seconds)'
	@$(PIP) --python $(BIN)/python $(INSTALL) --require-hashes -r requirements-build.lock -r requirements.lock
	@$(BIN)/python $(COMPILE) $(VENV)/lib || true # a template that is no Python is no fault
	@$(PIP) --python $(BIN)/python $(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock | $(BIN)/python
	$(say) 'installing what development needs (about 30 seconds)'
	@$(PIP) --python $(BIN)/python $(INSTALL) --require-hashes -r requirements-dev.lock
	@$(BIN)/python $(COMPILE) $(VENV)/lib || true
	@$(PIP) --python $(BIN)/python $(INSTALL) --no-build-isolation --editable .
	@touch $(VENV)/.runtime $@

$(PEERS)/.installed: requirements-peers.lock
	$(say) 'installing the peers to compare with'
	@$(PYTHON) -m venv --without-pip $(PEERS)
	@$(PIP) --python $(PEERS)/bin/python $(INSTALL) --require-hashes -r requirements-peers.lock
	@$(PEERS)/bin/python $(COMPILE) $(PEERS)/lib || true
	@touch $@
