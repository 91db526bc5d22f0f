# Two commands do all the set-up: `make ablate` and `make test`.
# LOCK=gpu installs the CUDA set. PYTHON names the interpreter that .venv is made from.
PYTHON ?= python3.11
VENV := .venv
LOCK ?= $(if $(wildcard $(VENV)/.installed-gpu),gpu,cpu)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(LOCK)

.DEFAULT_GOAL := help
.PHONY: help install ablate test test-all lint clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

install: $(STAMP) ## Create .venv and install everything from locks/

$(STAMP): locks/$(LOCK).txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or say make PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r locks/$(LOCK).txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c "import torch" || { echo "torch does not import. On a machine without CUDA it must be the CPU build: set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels (see pytorch.org, Get Started), remove .venv and try again." >&2; exit 2; }
	@touch $@

ablate: $(STAMP) ## Run the default study: harness ablate --variant aligned,clean
	$(BIN)/harness ablate --variant aligned,clean

test: $(STAMP) ## Run linters, type checker and tests (what CI runs)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

test-all: $(STAMP) ## Run all tests, also the slow ones
	$(BIN)/python -m pytest -m 'not gpu'

lint: $(STAMP) ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove checkpoints, logs and tool caches; never the ledger or the reports
	rm -rf results/objects results/work results/logs .pytest_cache .mypy_cache .ruff_cache
