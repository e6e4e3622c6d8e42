# The targets that continuous integration calls. PYTHON is any interpreter with '.[test]' installed.
PYTHON ?= python

.PHONY: test test-all lint types docs check benchmarks

test:            ## the quick tests
	$(PYTHON) -m pytest -n auto --dist loadfile

test-all:        ## every test that this machine can run; MNIST is read from $$PAIRSIM_DATA
	$(PYTHON) -m pytest -n auto --dist loadfile -m "slow or mnist or browser" -rs --durations=15

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
