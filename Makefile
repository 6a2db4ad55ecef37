# `make run` and `make test` are all that a new machine needs; each installs what is missing first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# every process of ours, and there are hundreds in the tests, would compile the same files anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-slow lint install clean

run: install
	$(BIN)/attestrl run

test: install lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow" -q

# what takes minutes: kills at random moments, a run made again, benchmarks of a small size
test-slow: install
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m slow -q

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(STAMP)

# torch first and alone: resolved together with the rest, pip may prefer another build of it. The lock file names every
# package, so nothing else is resolved. Compiled on every core, and not one package after another; what is in the syntax of a
# later Python is left out.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile "$$(grep '^torch==' requirements.lock)"
	$(BIN)/pip install --quiet --no-compile --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	$(BIN)/pip check --quiet
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $(STAMP)

clean:
	rm -rf $(VENV) .attestrl .dvc/cache .dvc/tmp data/interim data/processed data/models data/reports
