# Two commands are all a newcomer needs: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
BACKEND ?= local
SEED ?= 0
N ?= 24

# for tests in a real browser: Debian's names, and the one it is made from
HAS_CHROMIUM := { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null
# where there is one, and in CI, they fail where they cannot run; elsewhere they are skipped, and say so
BROWSER = if [ -n "$$CI" ] || $(HAS_CHROMIUM); then export DFBATCH_BROWSER=1; fi;

# what is measured, and what a person would look at, has the machine to itself
ALONE := tests/bench tests/browser
# a worker more than the two cores: tests wait for servers, processes and disks for half of their time
SIDE_BY_SIDE := -n 3 --dist worksteal $(ALONE:%=--ignore %)

# The tests that touch time, which test-later runs again on later days. Left out: what is pure (no clock reaches it), the
# long ones that draw kills, storms, bills or fuzz, with no other clock than those here (CI would take minutes more),
# the real model, browsers and notebooks (other programs, whose cookies and certificates have days of their own), and
# strace's (it may not look into a process whose clock is moved).
LATER := tests/run tests/backends tests/ledger tests/progress tests/emulator tests/test_cli.py tests/test_retirement.py \
	tests/test_models.py tests/test_testing.py tests/test_secrets.py tests/test_damage.py
TIMELESS := $(addprefix tests/run/,test_kills.py test_intervals.py test_alignment.py test_sheet.py test_planning.py) \
	$(addprefix tests/emulator/,test_kill.py test_sdk_suite.py test_malformed.py test_params.py)
# tests/later mends what libfaketime breaks of Python; monotonic clocks and the times of files stay as they are
FAKETIME = $(firstword $(wildcard /usr/lib/*/faketime/libfaketimeMT.so.1))
MOVED = FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 LD_PRELOAD=$(FAKETIME) PYTHONPATH=$(CURDIR)/tests/later

.PHONY: demo test test-later test-browser browser check test-full storm bench clean
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo: $(VENV)/.demo  ## label 24 news articles, by a model on this machine (BACKEND=anthropic with a key: by Claude)
	$(BIN)/python examples/bbc_topics.py --backend $(BACKEND) --seed $(SEED) --articles $(N)

test: $(VENV)/.test browser  ## all tests, long draws at a tenth
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not full"
	$(BROWSER) $(BIN)/python -m pytest -m "not full" $(ALONE)

test-later: $(VENV)/.test  ## the tests that touch time, 100 and 400 days from now (by Debian's faketime)
	@if [ -z "$(FAKETIME)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing faketime"; apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends faketime >/dev/null || true; fi
	@$(MAKE) --no-print-directory later

later:
ifneq ($(wildcard /usr/lib/*/faketime/libfaketimeMT.so.1),)
	$(MOVED) FAKETIME=+100d $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not full and not model" $(LATER) $(TIMELESS:%=--ignore %)
	$(MOVED) FAKETIME=+400d $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not full and not model" $(LATER) $(TIMELESS:%=--ignore %)
else
	@echo "NO FAKETIME: tests are not run on later days. As root, make installs it; else install Debian's faketime"
	@[ -z "$$CI" ]
endif

test-full: $(VENV)/.test browser  ## all tests, long draws whole
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)
	$(BROWSER) $(BIN)/python -m pytest $(ALONE)

test-browser: browser  ## the panel in real JupyterLab and Notebook 7
	$(BROWSER) $(BIN)/python -m pytest tests/browser

storm: $(VENV)/.test  ## ten thousand schedules of faults, deaths and restarts (about two hours)
	DFBATCH_STORM=10000 $(BIN)/python -m pytest -s tests/storm -m "not full"

bench: $(VENV)/.test  ## speed and memory against the official SDK, as ratios
	$(BIN)/python -m pytest -s tests/bench

check: $(VENV)/.test  ## ruff, mypy strict, the map, README blocks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_map.py tests/test_readme.py tests/test_exports.py

clean:  ## remove what make made
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

browser: $(VENV)/.test  # Debian's chromium where there is none and we are root
	@if ! $(HAS_CHROMIUM) && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing chromium"; apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null || true; fi
	@if $(HAS_CHROMIUM); then $(MAKE) --no-print-directory $(VENV)/.browser; \
		else echo "NO BROWSER: tests/browser is not run. As root, make installs chromium; else install it yourself"; fi

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "dfbatch needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[demo]"
	$(BIN)/dfbatch fetch-model
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[test]"
	$(BIN)/dfbatch fetch-model
	@touch $@

$(VENV)/.browser: pyproject.toml | $(VENV)/.test
	$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[browser]"
	@touch $@
