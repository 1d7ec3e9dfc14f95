# make demo | test | setup work on a fresh Debian or Ubuntu machine with Python 3.10 to 3.12 and make.
.DEFAULT_GOAL := help
.PHONY: help setup demo test quick lint docs lock clean
PY := .venv/bin/python
STAMP := .venv/.geomm-ready

help: ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(STAMP) ## a virtual environment with everything pinned, in .venv

$(STAMP): requirements/lock.txt pyproject.toml tools/setup.sh
	./tools/setup.sh
	@touch $@

demo: $(STAMP) ## train on real imagery, map a scene, say where to look
	$(PY) tools/demo.py

test: $(STAMP) lint ## linters and every test but those that need a GPU
	$(PY) -m pytest -n 2 --dist loadfile -m "not gpu"

quick: $(STAMP) ## the tests that take seconds
	$(PY) -m pytest -n 2 --dist loadfile -m "not gpu and not slow"

lint: $(STAMP) ## ruff, mypy, import-linter
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports --no-cache

docs: $(STAMP) ## HTML in docs/_build, warnings are errors
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html

lock: ## pin the newest versions that requirements/*.in allow
	./requirements/lock.sh

clean: ## remove what was built, not what was trained
	rm -rf build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
