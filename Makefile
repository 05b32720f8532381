# make run, make test: everything they need goes into .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
T ?= tests

.DEFAULT_GOAL := help
.PHONY: help setup run test lint types contracts check-map unit fmt map pictures golden clean

help:
	@echo "make run          the whole service on the bundled snapshot; Ctrl-C ends it (ONCE=1: ends by itself)"
	@echo "make test         everything CI runs (T=tests/... for a part of the tests only)"
	@echo "make fmt          format      make map     module map in docs/architecture.md"
	@echo "make golden       rewrite the golden messages and fail, so that you read the difference"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Lodestone needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "This Python has no venv: on Debian, apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.dev

run: $(VENV)/.run
	@exec $(BIN)/lodestone run $(if $(ONCE),--once) $(if $(AS_OF),--as-of $(AS_OF)) $(if $(LIVE),--live)

test: lint types contracts check-map unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

check-map: $(VENV)/.dev
	$(BIN)/python docs/module_map.py --check

unit: $(VENV)/.dev
	$(BIN)/python -m pytest $(T)

fmt: $(VENV)/.dev
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

map: $(VENV)/.dev
	$(BIN)/python docs/module_map.py

pictures: $(VENV)/.dev
	$(BIN)/python docs/make_pictures.py

golden: $(VENV)/.dev
	LODESTONE_WRITE_GOLDEN=1 $(BIN)/python -m pytest tests/alerts

clean:
	rm -rf $(VENV) .lodestone
