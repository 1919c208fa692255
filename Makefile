# Everything runs in .venv, which the first target that needs it makes. `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
STAMP := $(VENV)/.installed-$(EXTRAS)
# Tests share what is made within a file, and a file stays in one process: see tests/conftest.py.
# One more than there are cores, of up to three: they wait for servers and browsers now and then, and need 2 GB each.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); expr $$(( n < 3 ? n : 3 )) + 1)
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# The newest interpreter that the stack has wheels for; PYTHON=... overrides.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.10 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 && { echo $$p; break; }; done)

.PHONY: help setup demo test test-fast coverage dist matrix constraints check lint types docs clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## make .venv with the pinned stack

$(STAMP): setup.py constraints.txt
	@if [ -z "$(PYTHON)" ]; then echo "make: needs Python 3.10 to 3.13 with venv and pip (Debian, Ubuntu: apt-get install python3 python3-venv); then run make again" >&2; exit 1; fi
	@echo "Installing the pinned stack into $(VENV) (about 2 GB on disk; a few minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip -c constraints.txt
	@PYTHONWARNINGS=ignore::UserWarning $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@rm -f $(VENV)/.installed-*; touch $@

demo: $(STAMP)  ## the whole way on a generated catalogue, about 4 minutes on two cores
	@$(BIN)/triptych demo

test: $(STAMP)  ## all tests but those of the matrix alone, WORKERS processes at a time
	@$(BIN)/python -m pytest $(PARALLEL) -m "not matrix"

test-fast: $(STAMP)  ## the tests of a second or less, for the inner loop
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not matrix"

coverage: $(STAMP)  ## the same tests; prints what share of lines and branches they run
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(PARALLEL) -m "not matrix"
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered
	@for room in tfrecs towers serving pipelines; do \
		echo "$$room $$($(BIN)/coverage report --include="$$room/*" --format=total) %"; done

dist: $(STAMP)  ## sdist and wheel, into dist/
	@$(BIN)/python -m build --outdir dist . >/dev/null
	@ls dist

matrix:  ## the tests that depend on versions, on every Python from 3.10 to 3.13 that is found
	@python3 tests/matrix.py $(MATRIX)

constraints: $(STAMP)  ## resolve constraints.txt anew for all Pythons; what is pinned there stays where it can
	@$(BIN)/uv pip compile setup.py --universal --python-version 3.10 --extra dev --no-annotate --no-header --quiet --output-file constraints.txt
	@# Pins for Linux on x86-64 serve other platforms as well.
	@sed -E -i "s/ and (platform_machine|sys_platform|platform_python_implementation|implementation_name) [!=]= '[^']*'//g; s/( ;| and) python_full_version < '3.14'$$//" constraints.txt

check: $(STAMP) lint types test  ## lint, types and tests

lint: $(STAMP)  ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy
	@$(BIN)/mypy

docs: $(STAMP)  ## the documentation, into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Documentation: site/index.html"

clean:  ## remove what the demo and the tests made, not .venv
	@rm -rf work runs records build site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
