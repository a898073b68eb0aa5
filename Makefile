# Every target makes its own virtual environment; nothing but Python ≥ 3.11 and git is needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := dev
# Two cores: JAX uses both by itself for large nets, tests are many small ones.
WORKERS ?= 2

.PHONY: demo test test-default-xla test-slow test-faults test-oldest bench lint format clean

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  (echo "Posterity needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS)]"
	@touch $(STAMP)

demo: $(STAMP)  ## the two-moons job: fit, result, report
	@$(BIN)/posterity demo moons --out demo-report

# One call for tests, docstrings and pages, so that all share what is compiled.
ALL := tests src/posterity README.md docs --doctest-modules --doctest-glob="*.md"

test: lint  ## what CI runs: lint, types, import direction, tests, docstring and README examples
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" $(ALL)

test-default-xla: $(STAMP)  ## the same with XLA's optimisation everywhere, as users have it: weekly
	POSTERITY_TEST_XLA=default $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" $(ALL)

test-slow: $(STAMP)  ## whole jobs and statistical suites: some minutes
	POSTERITY_TEST_XLA=default $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m slow tests

test-faults: $(STAMP)  ## do the tests notice a fault? one edit of the source at a time: some minutes
	$(BIN)/python tests/faults/run.py --jobs $(WORKERS)

test-oldest:  ## the tests with the oldest versions that pyproject.toml allows, in their own environment
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) tests/oldest.py > .venv-oldest/floors.txt
	.venv-oldest/bin/python -m pip install --quiet -c .venv-oldest/floors.txt --editable ".[$(EXTRAS)]"
	.venv-oldest/bin/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" tests

bench: $(STAMP)  ## ours beside each peer, alternating, in their own environments: see benchmarks/
	$(BIN)/python benchmarks/run.py all

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-oldest build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache demo-report
