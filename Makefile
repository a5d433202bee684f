# `make run` and `make test` need only Python 3.11+ and make; everything else goes into $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: run test check format lock clean

run: $(VENV)/.local-installed
	$(BIN)/python manage.py runlocal $(ARGS)

test: $(VENV)/.dev-installed
	$(BIN)/python -m pytest -n auto $(ARGS)

check: $(VENV)/.dev-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/python manage.py makemigrations --check --dry-run --settings tests.settings
	$(BIN)/python -m tests.deploy_check

format: $(VENV)/.dev-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Rewrites the hash-pinned requirements from pyproject.toml; they name no host.
lock: $(VENV)/.dev-installed
	$(BIN)/python -m pip install --quiet uv
	for group in gateway local dev; do \
	  $(BIN)/uv pip compile pyproject.toml --group $$group --universal --python-version 3.11 \
	    --fork-strategy requires-python --generate-hashes --no-header --no-annotate --quiet \
	    --upgrade --output-file requirements/$$group.txt || exit 1; \
	done

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%-installed: requirements/%.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
