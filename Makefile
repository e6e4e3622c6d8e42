# The targets that continuous integration calls. PYTHON is any interpreter with '.[test]' installed.
PYTHON ?= python

.PHONY: quick test test-all coverage mutants fuzz lint types docs check benchmarks

# What `make quick` leaves out: the slower folders of tests/unit, and all other folders except tests/contract.
SLOW_UNIT = benchmarks export hub report training visual
OTHER_TESTS = $(filter-out contract data helpers unit,$(notdir $(patsubst %/,%,$(wildcard tests/[a-z]*/))))

quick:           ## the tests for the inner loop
	@echo "Left out: $(addprefix tests/,$(OTHER_TESTS)) $(addprefix tests/unit/,$(SLOW_UNIT)); make test runs them"
	$(PYTHON) -m pytest tests/contract tests/unit $(addprefix --ignore=tests/unit/,$(SLOW_UNIT)) -n auto --dist loadfile

test:            ## the tests that are not slow and need no MNIST, GPU or browser
	$(PYTHON) -m pytest -n auto --dist loadfile

coverage:        ## the same tests with their coverage; fails below the floor in pyproject.toml
	$(PYTHON) -m pytest -n auto --dist loadfile --cov

test-all:        ## every test that this machine can run; MNIST is read from $$PAIRSIM_DATA
	$(PYTHON) -m pytest -n auto --dist loadfile -m "slow or mnist or browser" -rs --durations=15

mutants:         ## take each protection away in turn, in a copy of the sources, and check that a test notices
	$(PYTHON) tests/mutants.py

fuzz:            ## fuzz a reader for 10 minutes, as in make fuzz READER=image; needs atheris
	$(PYTHON) -m tests.fuzz.fuzz $(READER) -max_total_time=600

lint:            ## style and format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:           ## mypy strict, and every public name typed
	$(PYTHON) -m mypy
	$(PYTHON) -m pyright --verifytypes pairsim --ignoreexternal

docs:            ## the site, in site/: the API reference by Sphinx, the guide by MkDocs; no network is needed
	$(PYTHON) -m sphinx -W --keep-going -n -q -b html docs/api build/api
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict -d site

check: lint types docs test test-all

benchmarks:      ## the quick benchmarks
	$(PYTHON) -m benchmarks --quick
