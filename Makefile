# Every target sets up what it needs: a fresh machine has Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY_UP := $(VENV)/.ready-up
READY_DEV := $(VENV)/.ready-dev
READY_BENCH := $(VENV)/.ready-bench
# Most tests wait for servers, timers and killed processes: four at once keep two cores busy.
TEST_PROCESSES ?= 4
IN_PARALLEL = --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
EDGE := tests/system/edge
MANIFESTS := tests/system/manifests
QUICK_TESTS = tests/unit tests/replay tests/postgres tests/simulator
COMPILE = $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11
ifdef PIP_INDEX_URL # which uv does not read
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
SOURCES := activities api bench cli clients core dev domain hatch_build.py holds inventory migrations payments tests workflows worker.py
# What `make test-system` needs, and from which of Debian's packages if that has another name. Only what is missing is
# installed: npm from elsewhere conflicts with Debian's.
SYSTEM_PROGRAMS := chromium npm pgbouncer promtool:prometheus amtool:prometheus-alertmanager prometheus-alertmanager \
	prometheus-node-exporter prometheus-postgres-exporter

.DEFAULT_GOAL := help
.PHONY: help up test test-quick test-slow-machine test-system check format docs build migrate bench cluster chaos lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

up: $(READY_UP) ## Set up and run the whole product on this machine; Ctrl-C stops it
	@exec $(BIN)/holdfast up

# The tests start hundreds of processes: without bytecode each of them would compile the product anew.
test test-quick test-slow-machine: export PYTHONDONTWRITEBYTECODE :=

test: $(READY_DEV) ## Run the tests against a real Postgres and a real Temporal server
	@$(BIN)/python -m pytest $(IN_PARALLEL)

test-quick: $(READY_DEV) ## Run the tests that need no process of the product's own, in about a minute
	@$(BIN)/python -m pytest $(IN_PARALLEL) $(QUICK_TESTS)

test-slow-machine: $(READY_DEV) ## Run the tests three times on one core beside a busy process: none may depend on speed
	@$(BIN)/python -m tests.session.slow_machine $(IN_PARALLEL)

test-system: $(READY_DEV) ## Run the tests that need a system package (chromium, npm, pgbouncer, prometheus: installs Debian's if missing)
	@missing=$$(for each in $(SYSTEM_PROGRAMS); do PATH="$$PATH:/usr/sbin" which $${each%:*} >/dev/null || echo $${each#*:}; done); \
		[ -z "$$missing" ] || (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing)
	@[ $(EDGE)/node_modules/.package-lock.json -nt $(EDGE)/package-lock.json ] || \
		npm ci --prefix $(EDGE) --ignore-scripts --no-audit --no-fund --silent
	@[ $(MANIFESTS)/node_modules/.package-lock.json -nt $(MANIFESTS)/package-lock.json ] || \
		npm ci --prefix $(MANIFESTS) --ignore-scripts --no-audit --no-fund --silent
	@[ $(MANIFESTS)/.packages/.ready -nt requirements/manifests.txt ] || \
		($(BIN)/uv pip install --quiet --no-deps --require-hashes --target $(MANIFESTS)/.packages -r requirements/manifests.txt && \
		touch $(MANIFESTS)/.packages/.ready)
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/system

check: $(READY_DEV) ## Check format, lint, types, import rules and generated documents
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m dev.documents --check

format: $(READY_DEV) ## Format the code and fix what the linter can
	@$(BIN)/ruff check --fix-only --quiet $(SOURCES)
	@$(BIN)/ruff format --quiet $(SOURCES)

docs: $(READY_DEV) ## Generate the parts of documents that repeat what the code says
	@$(BIN)/python -m dev.documents

build: $(READY_UP) ## Build the wheels of Holdfast and of its client into dist/
	@$(BIN)/python -m hatchling build -t wheel
	@cd clients/python && ../../$(BIN)/python -m hatchling build -t wheel -d ../../dist

migrate: $(READY_UP) ## Bring the database at DATABASE_URL to the newest schema
	@$(BIN)/holdfast migrate

bench: $(READY_BENCH) ## Run every bench; writes bench/RESULTS.md and plots. QUICK=1: three minutes, writes nothing
	@$(BIN)/python -m bench $(if $(QUICK),--quick)

cluster: $(READY_UP) ## Run, measure and break Holdfast on a real Temporal cluster; writes bench/CLUSTER.md
	@$(BIN)/python -m bench.cluster

chaos: $(READY_DEV) ## Repeat the kill tests at length (CHAOS_ROUNDS, default 50)
	@CHAOS_ROUNDS=$${CHAOS_ROUNDS:-50} EXAMPLES_TIMES=$${EXAMPLES_TIMES:-10} $(BIN)/python -m pytest \
		tests/chaos tests/unit/test_payment_interleavings.py --timeout 3600 -o faulthandler_timeout=4000

lock: $(READY_UP) ## Resolve the dependencies again: requirements/lock.txt for development, the other files within it
	@$(COMPILE) --group dev pyproject.toml -o requirements/lock.txt
	@$(COMPILE) --constraint requirements/lock.txt pyproject.toml -o requirements/production.txt
	@for group in build up bench; do $(COMPILE) --constraint requirements/lock.txt --group $$group -o requirements/$$group.txt || exit; done
	@$(COMPILE) --group installer -o requirements/uv.txt
	@$(COMPILE) --no-deps --group manifests -o requirements/manifests.txt

clean: ## Remove what was built or installed here; the product's state in .holdfast stays
	@rm -rf $(VENV) dist $(EDGE)/node_modules $(MANIFESTS)/node_modules $(MANIFESTS)/.packages .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .schemathesis

# An interrupted set-up leaves .unfinished behind: the next one starts from nothing. $(1) are files of requirements/.
define set-up
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Holdfast needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which with: make PYTHON=python3.12 ...")'
	@if [ ! -x $(BIN)/uv ] || [ -e $(VENV)/.unfinished ]; then \
		echo "Setting up $(VENV): the installer ..." && $(PYTHON) -m venv --clear $(VENV) && touch $(VENV)/.unfinished && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/uv.txt; \
	fi
	@touch $(VENV)/.unfinished
	@echo "Setting up $(VENV): packages of $(1:%=requirements/%.txt) ..."
	@$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes $(1:%=-r requirements/%.txt)
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e . $(2:%=-e %)
	@rm $(VENV)/.unfinished
	@touch $@
endef

$(READY_UP): requirements/production.txt requirements/up.txt requirements/uv.txt pyproject.toml
	$(call set-up,production up)

$(READY_DEV): requirements/lock.txt requirements/uv.txt pyproject.toml clients/python/pyproject.toml
	$(call set-up,lock,./clients/python)

$(READY_BENCH): requirements/production.txt requirements/up.txt requirements/bench.txt requirements/uv.txt pyproject.toml
	$(call set-up,production up bench)
