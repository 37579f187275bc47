# The two commands: `make demo` and `make test`. Everything else is below, in the order one meets it.
PYTHON ?= python3
VENV ?= .venv
FEEDBACK_HOME ?= $(CURDIR)/data
export FEEDBACK_HOME
export DAGSTER_HOME := $(CURDIR)
BIN := $(abspath $(VENV))/bin

.PHONY: help install demo test check mutants ui lock clean

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## Make the virtual environment from the locked requirements

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "feedback-kto needs Python 3.11 or newer; this is %d.%d: run make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --requirement requirements.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## Harbor Support, from raw log files to a release folder
	$(BIN)/feedback-kto demo

test: install  ## The tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: install  ## Lint, types, the import rules, the size of folders and the length of sentences in the docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@git ls-files '*.py' | sed 's:/[^/]*$$::' | sort | uniq -c | awk '$$1 > 17 { full = 1; \
		print $$2 " holds " $$1 " Python files, and 17 are the most: part it into rooms" } END { exit full }'
	$(BIN)/python docs/prose.py

mutants: install  ## Changes to the code that no test notices (mutmut); ONLY='label_policy.audits.precision*' for one module
	$(BIN)/pip install --disable-pip-version-check --quiet 'mutmut>=3.8'
	PATH=$(BIN):$$PATH $(BIN)/mutmut run $(if $(ONLY),'$(ONLY)')
	$(BIN)/mutmut results

ui: install  ## Dagster's UI on this project's instance and data
	$(BIN)/dg dev

lock: install  ## Resolve requirements.lock anew
	$(BIN)/pip install --quiet pip-tools
	@echo "# Exact versions of everything the project and its tools install; made by \`make lock\` from pyproject.toml." > requirements.lock.new
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --extra dev --allow-unsafe --no-annotate --no-header --output-file - pyproject.toml \
		| sed -e '/^-/d' -e '/^$$/d' -e 's/+cpu$$//' >> requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:  ## Remove the virtual environment and the mutants; data and Dagster's history stay
	rm -rf $(VENV) mutants
