# Everything a developer or CI does with llmqd. Each target sets up what it needs.

VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check bench clean

run: $(VENV)/.run  ## start the daemon on its defaults: port 8080, data below ./var
	exec $(BIN)/llmqd serve --defaults

test: check  ## run every test
	$(BIN)/python -m pytest

check: $(VENV)/.test  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test  ## measure what llmqd adds to a call, as ratios within one run
	$(BIN)/python -m bench

clean:  ## remove what the targets above made, but not ./var
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.run: setup.cfg pyproject.toml packaging/setup-venv
	packaging/setup-venv $(VENV)
	touch $@

$(VENV)/.test: setup.cfg pyproject.toml packaging/setup-venv
	packaging/setup-venv $(VENV) test lint
	touch $@ $(VENV)/.run
