# Everything a developer says. Needs make and Python 3.11 or newer, nothing else: each target builds
# the environment that it needs from the hashed lists in requirements/, once.
#
#   make demo     a whole phone call on this machine: no account, no key, no phone
#   make test     every test, the fast ones first
#   make check    format, lint, types and import layers
#   make fast     the tests that touch no socket and no clock
#   make fmt      put the source in order
#   make matrix   what becomes of calls, and of what strangers send, row by row, for each carrier
#   make bench    the measurements behind the claims
#   make cover    which lines and branches the tests reach
#   make lock     resolve requirements/ again from pyproject.toml
#
# PYTHON=/path/to/python chooses the interpreter, VENV=dir the environment, WORKERS=n the test processes.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := check

VENV ?= .venv
WORKERS ?= auto
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP := $(BIN)/python -m pip --quiet

FAST := $(wildcard tests/unit tests/contract tests/properties tests/sim)
SLOW := $(wildcard tests/e2e tests/test_examples.py tests/test_docs.py tests/test_seeds.py)
BROWSER := $(wildcard tests/browser)
# The cheap ones first; QUICK=1 makes all of them short, BENCH="capacity vad" chooses.
BENCH ?= imports audio vad providers overhead barge_in virtual_time server capacity

SCENARIOS := carriers abuse

.PHONY: demo test check matrix bench cover fmt fast lock clean setup

# ---------------------------------------------------------------------------------- environment

# The first interpreter that is new enough and can make environments.
$(BIN)/python:
	@set -e; chosen=; \
	for candidate in $(PYTHON) $(if $(PYTHON),,python3.11 python3.12 python3.13 python3.14 python3 python); do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	  then chosen=$$candidate; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	  echo "make: no Python 3.11 or newer with the venv module found$(if $(PYTHON), at PYTHON=$(PYTHON))." >&2; \
	  echo "make: install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
	  exit 1; \
	fi; \
	echo "environment: $$("$$chosen" --version) in $(VENV)"; \
	"$$chosen" -m venv $(VENV)

# What a user of `pip install 'getpatter[offline]'` has: enough for the demo.
$(VENV)/.run-stamp: requirements/build.txt requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "installing requirements/run.txt"
	@$(PIP) install --require-hashes -r requirements/build.txt -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

# And the tools.
$(VENV)/.dev-stamp: requirements/dev.txt $(VENV)/.run-stamp
	@echo "installing requirements/dev.txt"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.dev-stamp

# ------------------------------------------------------------------------------------- commands

demo: $(VENV)/.run-stamp
	@$(BIN)/getpatter demo

test: $(VENV)/.dev-stamp
	@echo "== fast: no socket, no clock"
	@$(BIN)/python -m pytest -q -n $(WORKERS) $(FAST)
ifneq ($(strip $(SLOW)),)
	@echo "== real sockets, examples, documentation"
	@$(BIN)/python -m pytest -q -n $(WORKERS) $(SLOW)
endif
ifneq ($(strip $(BROWSER)),)
	@echo "== browser"
	@$(BIN)/python -m pytest -q $(BROWSER)
endif

fast: $(VENV)/.dev-stamp
	@$(BIN)/python -m pytest -q $(FAST)

check: $(VENV)/.dev-stamp
	@echo "== format" && $(BIN)/ruff format --check .
	@echo "== lint" && $(BIN)/ruff check .
	@echo "== spelling" && $(BIN)/codespell src docs README.md CHANGELOG.md CONTRIBUTING.md
	@echo "== types (mypy)" && $(BIN)/mypy
	@echo "== types (basedpyright)" && $(BIN)/basedpyright
	@echo "== layers" && $(BIN)/lint-imports

fmt: $(VENV)/.dev-stamp
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

bench: $(VENV)/.dev-stamp
	@set -e; for bench in $(BENCH); do \
	  echo; echo "== $$bench"; $(BIN)/python -m benchmarks.$$bench $(if $(QUICK),--quick); \
	done

# CARRIER=telnyx chooses one.
matrix: $(VENV)/.dev-stamp
	@set -e; for table in $(SCENARIOS); do \
	  $(BIN)/python -m benchmarks.$$table $(if $(CARRIER),--carrier $(CARRIER)); \
	done

cover: $(VENV)/.dev-stamp
	@$(BIN)/coverage erase
	@GETPATTER_TEST_SLOWNESS=5 $(BIN)/coverage run -m pytest -q $(FAST) $(SLOW)
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report

# One resolution for every supported Python and system, with the hash of each file. No address of a
# registry gets into the lists: whoever installs from them uses the registry that pip is set up for.
UV_COMPILE = $(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --system-certs

lock: $(BIN)/python
	@test -x $(VENV)-lock/bin/uv || { $(BIN)/python -m venv $(VENV)-lock && $(VENV)-lock/bin/pip --quiet install uv; }
	@$(UV_COMPILE) $(LOCK) --extra offline --extra dev pyproject.toml -o requirements/dev.txt
	@$(UV_COMPILE) $(LOCK) -c requirements/dev.txt --extra offline pyproject.toml -o requirements/run.txt
	@$(UV_COMPILE) $(LOCK) -c requirements/dev.txt requirements/build.in -o requirements/build.txt

clean:
	rm -rf $(VENV) $(VENV)-lock build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
