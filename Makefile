# Only python3 (3.11 or newer), make and a package index are needed: each target does its own set-up.
PYTHON ?= python3
PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
UV_PIP := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

# Programs start several times faster with their bytecode cached, so it is, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run serve test test-all coverage bench chaos mutants check lint types layers clean

run: $(VENV)/.run
	@PORT=$(PORT) $(BIN)/push-relay demo

serve: $(VENV)/.run
	@$(BIN)/push-relay serve --config config/relay.yaml

PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# Without the tests that are marked slow: under 5 minutes on 2 cores.
test: $(VENV)/.dev
	@$(PYTEST) -m "not slow"

# All tests, and the share of relay that they run: at most 40 minutes. CI does this.
test-all: $(VENV)/.dev
	@$(PYTEST) --cov --cov-report=
	@$(MAKE) --no-print-directory coverage

# What the last `make test-all` ran of relay: lines and branches, in percent. It fails below these floors.
COVERAGE_FLOOR := 92
coverage: $(VENV)/.dev
	@$(BIN)/coverage report --fail-under=$(COVERAGE_FLOOR)
	@$(BIN)/coverage report --fail-under=100 --include='relay/core/*,relay/apns/*' \
		--omit='relay/apns/pool.py,relay/apns/sender.py'

# The benchmarks. QUICK=1: the sender rows, within 50 s; JSON=1: a line of JSON for each row; DATE=…: writes RESULTS.md.
bench: $(VENV)/.dev
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(JSON),--json) $(if $(DATE),--date $(DATE)) $(BENCH)

# Nodes are killed and all else fails: nothing is lost. MINUTES=… (3), SEED=… plays a run again, JSON=1: one line.
chaos: $(VENV)/.dev
	@$(BIN)/python -m chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json) $(CHAOS)

# Small faults are put into relay/core and relay/apns, and their tests must notice: SEED=… SAMPLE=… (300), FILES=….
mutants: $(VENV)/.dev
	@$(BIN)/python -m mutants $(if $(SEED),--seed $(SEED)) $(if $(SAMPLE),--sample $(SAMPLE)) $(FILES)

check: lint types layers

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev
	@$(BIN)/mypy

layers: $(VENV)/.dev
	@$(BIN)/lint-imports

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/uv
	$(UV_PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/uv
	$(UV_PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) var .coverage .coverage.*
