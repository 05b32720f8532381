# make run, make test: everything they need goes into .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
T ?= tests

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-pg lint types contracts check-map unit fmt map pictures golden migration migrate clean

help:
	@echo "make run          the whole service on the bundled snapshot; Ctrl-C ends it (ONCE=1: ends by itself)"
	@echo "make demo         real messages with buttons in a stand-in for Slack, no account needed; Ctrl-C ends it"
	@echo "make test         lint, types, architecture and every test (T=tests/... for a part of the tests only)"
	@echo "make test-pg      the tests of the whole service again, on PostgreSQL; CI runs both"
	@echo "make fmt          format      make map     module map in docs/architecture.md"
	@echo "make golden       rewrite the golden messages and fail, so that you read the difference"
	@echo "make migration M=\"add vintage\"   a migration from what changed in flows/storage/tables.py"
	@echo "make migrate      bring the database of the settings to this version"

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

demo: $(VENV)/.run
	@exec $(BIN)/python -m tests.slack_standin.demo $(if $(PORT),--port $(PORT))

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

# What touches a table runs on both databases in `make test` already; this adds the service around it.
test-pg: $(VENV)/.dev
	LODESTONE_TEST_DATABASE=postgresql $(BIN)/python -m pytest $(if $(filter-out tests,$(T)),$(T),tests/flows/test_steps.py tests/flows/test_cli.py)

fmt: $(VENV)/.dev
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

map: $(VENV)/.dev
	$(BIN)/python docs/module_map.py

pictures: $(VENV)/.dev
	$(BIN)/python docs/make_pictures.py

golden: $(VENV)/.dev
	LODESTONE_WRITE_GOLDEN=1 $(BIN)/python -m pytest tests/alerts

# From an empty database at the newest migration to what tables.py says.
migration: $(VENV)/.dev
	@test -n "$(M)" || { echo 'What changed? make migration M="add vintage"'; exit 2; }
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && alembic="$(BIN)/alembic -x url=sqlite:///$$folder/new.db" \
	&& $$alembic upgrade head && $$alembic revision --autogenerate -m "$(M)" \
	&& $(BIN)/ruff format --quiet flows/storage/migrations/versions
	@echo "Read it, set HEAD in flows/storage/tables.py to its number, then make test."

migrate: $(VENV)/.run
	$(BIN)/lodestone db upgrade

clean:
	rm -rf $(VENV) .lodestone
