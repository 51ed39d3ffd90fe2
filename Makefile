# `make run` starts the gateway, `make test` proves it. Everything is installed into .venv; as root also the Debian
# packages that tests need (.ci/packages).
# Stamps in .venv remember what has been installed, so that the second time is quick.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
ARGS ?=
PYTHON ?=
export PYTHON

.PHONY: run test lint check bench soak chaos fuzz readme lock clean

run: $(VENV)/.stamp-run ## install and start the gateway: make run ARGS="--port 9000"
	$(BIN)/gateway serve $(ARGS)

test: lint check ## everything that must be true of a commit

lint: $(VENV)/.stamp-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: $(VENV)/.stamp-test
	@bash .ci/packages
	$(BIN)/python -m pytest -n 2 --dist loadgroup --durations 15 $(ARGS)

bench: $(VENV)/.stamp-test ## the tables of tests/bench/README.md; takes a while, wants the machine for itself
	$(BIN)/python -m tests.bench $(ARGS)

soak: $(VENV)/.stamp-test ## an hour of callers coming and going: make soak ARGS="--minutes 10 --calls 20"
	$(BIN)/python -m tests.bench.soak $(ARGS)

$(BIN)/python:
	python=$$(bash .ci/python) && "$$python" -m venv $(VENV)

# The package is installed in place and without build isolation: setuptools comes from the lock like everything else.
$(VENV)/.stamp-run: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) (once)"
	$(PIP) install --requirement requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.stamp-test: requirements-test.lock $(VENV)/.stamp-run
	$(PIP) install --requirement requirements-test.lock
	@touch $@

chaos: $(VENV)/.stamp-test ## half an hour of a model that fails, on both services: make chaos ARGS="planned-0 outage"
	timeout 2700 $(BIN)/python -m tests.chaos.session --full --both --write $(ARGS)
	timeout 600 $(BIN)/python -m tests.chaos.tools
	timeout 400 $(BIN)/python -m tests.chaos.heard --full

fuzz: $(VENV)/.stamp-test ## knock at every door for ten minutes: make fuzz ARGS="--seconds 3600 --seed 2 --only offer"
	$(BIN)/python -m tests.fuzz $(ARGS)

readme: $(VENV)/.stamp-run ## the configuration table, from the code
	$(BIN)/python .ci/readme.py

lock: ## bring the lock files up to date: newest versions that pyproject.toml allows, in a fresh environment
	python=$$(bash .ci/python) && "$$python" -m venv --clear $(VENV)
	$(PIP) install --upgrade setuptools
	$(PIP) install --editable '.[test]'
	$(BIN)/python .ci/lock.py

clean:
	rm -rf $(VENV) build *.egg-info
