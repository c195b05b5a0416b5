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

# The tests that touch time, which test-later runs again on later days: what reads a clock, here or at the emulator. Left
# out: what is pure (no clock reaches it), the long draws of kills, storms, bills and races (the same clocks again, for
# minutes more), and the real model, browsers and notebooks (programs with clocks of their own).
# names of tests in a folder of tests
files = $(patsubst %,tests/$(1)/test_%.py,$(2))
LATER := tests/ledger $(addprefix tests/test_,model_rules.py models.py cli.py testing.py) \
	$(call files,run,adopt clicks ends gone history listing loop notice outlook overload polling prune search snapshot) \
	$(call files,run,tries unheard views) $(call files,backends,anthropic batch faults local pages paying reading silence) \
	$(call files,emulator,command control life limits messages processing schedule sdk server) \
	$(call files,progress,bar choose log pace summary words)
# times of files are not moved, and this one compares them with the clock
LATER += --deselect tests/ledger/test_folder.py::test_a_large_ledger_is_backed_up_once_an_hour
LATER_TESTS = $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not full and not model" $(LATER)
# tests/later mends what libfaketime breaks of Python; monotonic clocks and the times of files stay as they are
FAKETIME = $(firstword $(wildcard /usr/lib/*/faketime/libfaketimeMT.so.1))
MOVED = FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 LD_PRELOAD=$(FAKETIME) PYTHONPATH=$(CURDIR)/tests/later

.PHONY: demo test test-later later test-browser browser check test-full storm bench clean
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
	$(MOVED) FAKETIME=+100d $(LATER_TESTS)
	$(MOVED) FAKETIME=+400d $(LATER_TESTS)
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
