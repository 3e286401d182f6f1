# make demo      see it work: needs Python 3.11 or newer and libgomp, nothing else (ARGS=--exit ends by itself)
# make test      everything: lint, types, import contracts, all tests on real servers
# make unit      the tests without I/O, and those of every rule and channel
# make stateful  ten thousand sequences of what can happen, against an oracle (minutes; SEQUENCES=50000 for more)
# make stories   play the stories of tests/stories, and write down what really follows
# make lint      ruff; `make format` repairs what it can
# make types     mypy
# make contracts who may import whom
# make bench     the benchmarks (ARGS are passed on)
# make lock      pin the dependencies again, from pyproject.toml
# make clean     remove .venv and what was generated

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
ARGS ?=
WORKERS ?= auto
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3

.PHONY: help
help: ## this text
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

# ------------------------------------------------------------------------------------------------------ what is there

# What pip cannot bring is looked for before anything is downloaded, and named with the command that installs it.

define PYTHON_OK
import sys
sys.exit(sys.version_info < (3, 11))
endef

define VENV_OK
import ensurepip, venv
endef

define GOMP_OK
import ctypes, ctypes.util, sys
if sys.platform == "linux":
    ctypes.CDLL("libgomp.so.1")
elif not (ctypes.util.find_library("omp") or ctypes.util.find_library("gomp")):
    sys.exit(1)
endef

export PYTHON_OK VENV_OK GOMP_OK

define FIND_PYTHON
python=""; \
for name in $(PYTHONS); do \
  if "$$name" -c "$$PYTHON_OK" >/dev/null 2>&1; then python=$$name; break; fi; \
done; \
if [ -z "$$python" ]; then \
  echo "Python 3.11 or newer is needed, and none of these is one: $(PYTHONS)." >&2; \
  echo "Install it: apt-get install -y python3 python3-venv   (Debian 12, Ubuntu 24.04 or newer; else https://www.python.org/downloads/)" >&2; \
  exit 1; \
fi
endef

.PHONY: prerequisites
prerequisites:
	@$(FIND_PYTHON); \
	"$$python" -c "$$GOMP_OK" >/dev/null 2>&1 || { \
	  echo "libgomp is missing: LightGBM needs it, and pip cannot bring it." >&2; \
	  echo "Install it: apt-get install -y libgomp1   (Fedora: dnf install -y libgomp; macOS: brew install libomp)" >&2; \
	  exit 1; }; \
	[ -x $(BIN)/python ] || "$$python" -c "$$VENV_OK" >/dev/null 2>&1 || { \
	  echo "$$python cannot make virtual environments: its venv or ensurepip module is missing." >&2; \
	  echo "Install it: apt-get install -y python3-venv   (for another version than the system's: $$python-venv)" >&2; \
	  exit 1; }

# The tests run real servers. As root on Debian or Ubuntu they are installed here, without being started.
.PHONY: servers
servers:
	@export PATH="$$PATH:$$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)"; \
	missing=""; \
	have() { for name in "$$@"; do command -v "$$name" >/dev/null 2>&1 && return; done; return 1; }; \
	{ have alertmanager prometheus-alertmanager && have amtool; } || missing="$$missing prometheus-alertmanager"; \
	have prometheus || missing="$$missing prometheus"; \
	{ have postgres && have initdb; } || missing="$$missing postgresql"; \
	have chromium chromium-browser google-chrome || missing="$$missing chromium"; \
	$(FIND_PYTHON); \
	"$$python" -c "$$GOMP_OK" >/dev/null 2>&1 || missing="$$missing libgomp1"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! have apt-get; then \
	  echo "The tests need real servers. Install them: apt-get update && apt-get install -y$$missing" >&2; exit 1; \
	fi; \
	echo "Installing$$missing"; \
	policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then \
	  printf '#!/bin/sh\nexit 101\n' > $$policy; chmod +x $$policy; trap "rm -f $$policy" EXIT; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing </dev/null

# ---------------------------------------------------------------------------------------------------- the environment

.venv/.made: | prerequisites
	@$(FIND_PYTHON); \
	echo "Making .venv with $$("$$python" --version)"; \
	"$$python" -m venv --clear .venv; \
	touch $@

.venv/.runtime: requirements.lock .venv/.made | prerequisites
	@echo "Installing what the sidecar needs (once)"
	@$(PIP) install --require-hashes -r requirements.lock
	@touch $@

.venv/.package: pyproject.toml .venv/.runtime
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.package
	@echo "Installing what its tests need (once)"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# ------------------------------------------------------------------------------------------------------------- to run

.PHONY: demo
demo: prerequisites .venv/.package
	@$(BIN)/python -m sidecar demo $(ARGS)

.PHONY: test
test: servers
	@$(MAKE) --no-print-directory lint types contracts
	$(BIN)/pytest -n $(WORKERS) $(ARGS)

.PHONY: unit
unit: .venv/.dev
	$(BIN)/pytest -n $(WORKERS) tests/unit tests/conformance $(ARGS)

.PHONY: stories
stories: .venv/.dev
	$(BIN)/python -m tests.stories

.PHONY: stateful
stateful: .venv/.dev
	SEQUENCES=$${SEQUENCES:-10000} $(BIN)/pytest -n $(WORKERS) tests/stateful $(ARGS)

.PHONY: lint
lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: .venv/.dev
	$(BIN)/mypy

.PHONY: contracts
contracts: .venv/.dev
	$(BIN)/lint-imports

.PHONY: bench
bench: servers .venv/.dev
	$(BIN)/python -m benchmarks.ingest $(ARGS)

# --no-emit-*: which index the packages came from is nobody's business but that machine's
LOCK := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options --build-deps-for=editable

.PHONY: lock
lock: .venv/.dev
	$(LOCK) --extra train --output-file requirements.lock pyproject.toml
	$(LOCK) --extra train --extra cluster --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

.PHONY: clean
clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
