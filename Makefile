# make demo | test | check | bench | soak | mutants | bless | clean.  Needs Debian or Ubuntu with Python >= 3.11, git and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak mutants bless clean

help: ## these lines
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "No venv could be made: on Debian and Ubuntu 'apt-get install python3-venv' first."; exit 1; }
	@echo "Installing labgateway and what its tests need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,check]'
	@touch $@

demo: $(STAMP) ## three analyzers, one EMR, an outage: live in this terminal, one minute
	@$(BIN)/labgateway demo

test: $(STAMP) ## all tests (a small sample of the long ones)
	@$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(STAMP) ## format, lint, types, floors
	$(BIN)/ruff format --check labgateway tests bench
	$(BIN)/ruff check labgateway tests bench
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(STAMP) ## speed beside the floor and the honest minimum, in one run
	@$(BIN)/python -m bench

soak: $(STAMP) ## the long runs: every kill point, 10,000 results and more
	@$(BIN)/python -m pytest -m "soak or not soak" --timeout 3600 tests

mutants: $(STAMP) ## each decision of matching turned round, one at a time: which one would no test notice (an hour)
	@$(BIN)/python -m tests.mutants

bless: $(STAMP) ## rewrite the expected results of the drivers' captures; read the difference
	@$(BIN)/python tests/bless.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
