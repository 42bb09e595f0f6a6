# Everything here makes its own environment first; it needs Python 3.11 or newer (with venv) and make.
#   make demo               fit a real data set and show how the fit was reached
#   make test               every test, doctests included; WORKERS=4 runs them side by side
#   make lint               format, lint, types, directions of import
#   make bench              side by side with other packages
#   make clean              remove caches and build products; the environment stays
# PYTHON=python3.12 chooses the interpreter, VENV=path the place of the environment.

PYTHON  ?= python3
VENV    ?= .venv
WORKERS ?= 0
PIP_FLAGS ?= --quiet --disable-pip-version-check

BIN := $(VENV)/bin

.PHONY: demo test lint bench clean
.NOTPARALLEL:

demo: $(VENV)/.installed
	$(BIN)/expmax fit examples/data/faithful.csv --history

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_FLAGS)

lint: $(VENV)/.installed-lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks examples -type d -name __pycache__ -prune -exec rm -rf {} +

# A stamp for each set of extras: made once, and again when pyproject.toml changes. A directory that
# is already an environment with pip is used as it is.
define ENVIRONMENT
@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "expmax needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }; \
	echo "making the environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
endef

$(VENV)/.installed: pyproject.toml
	$(ENVIRONMENT)
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable .
	@touch $@

$(VENV)/.installed-%: pyproject.toml
	$(ENVIRONMENT)
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable ".[$*]"
	@touch $@
