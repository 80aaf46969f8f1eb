# From a fresh clone: `make train` and `make test`; both set up .venv first.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help train test test-slow lint

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

train: $(INSTALLED) ## train with the default config; overrides: make train ARGS="model=deep loss=huber"
	$(BIN)/python train.py $(ARGS)

# one process for each core; each with one thread, since tests work on little data, where threads only wait for each other
test: export OMP_NUM_THREADS ?= 1
test: $(INSTALLED) ## run the tests; options of pytest: make test ARGS="-k score"
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-slow: $(INSTALLED) ## run the tests that train for minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(INSTALLED) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the stamp is written last, so an installation that was broken off starts again
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'make: "$(PYTHON)" must be Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
