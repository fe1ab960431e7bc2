# Which Airflow; its versions of everything are in constraints/airflow-$(AIRFLOW).txt.
AIRFLOW ?= 3.3
PYTHON ?= python3
VENV := .venv-$(AIRFLOW)
BIN := $(VENV)/bin
comma := ,
CONSTRAINTS := constraints/airflow-$(AIRFLOW).txt
VERSIONS := $(patsubst constraints/airflow-%.txt,%,$(sort $(wildcard constraints/airflow-*.txt)))
ifeq ($(filter $(AIRFLOW),$(VERSIONS)),)
$(error There is no AIRFLOW=$(AIRFLOW); choose one of $(VERSIONS))
endif

# Compiled modules halve the time that each of Airflow's processes needs to start.
unexport PYTHONDONTWRITEBYTECODE
# Nothing of the user's own Airflow has a say.
export AIRFLOW_HOME := $(CURDIR)/$(VENV)/airflow

# Tests wait more than they compute. Four of pytest's processes are for those on Airflow's; tests/conftest.py says which runs what.
TWICE = $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN)) --dist loadfile
FOUR_MORE = $(shell expr 4 + $$(getconf _NPROCESSORS_ONLN)) --dist loadfile

.PHONY: help demo ui check test conformance googledags faults ha scale kills fuzz bench docs screenshots package lint types

help:  ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@echo "  AIRFLOW=… takes another version of Airflow than $(AIRFLOW): $(VERSIONS)"

demo: $(VENV)/$(if $(HA),cluster-,)ready  ## run the chain once and show what arrived where; HA=1 on Postgres and Celery
	$(BIN)/python -m demo.run $(if $(HA),cluster)

ui: $(VENV)/ready  ## keep the same running, with Airflow's UI; DAGS=folder shows yours beside the examples
	$(BIN)/python -m demo.ui $(if $(DAGS),'$(DAGS)')

check: lint $(VENV)/ready  ## what to run after a change: lint, types, the tests that are quick; make -C emulator check for the emulator's
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(TWICE) -m "not slow and not only_in_make_faults" tests/unit tests/provider

test: $(VENV)/ready  ## run the tests
	$(BIN)/python -m pytest -n $(FOUR_MORE)

test-lowest: export AIRFLOW_HOME := $(CURDIR)/.venv-lowest/airflow
test-lowest: .venv-lowest/ready  ## run the tests with the lowest versions that pyproject.toml allows
	$(LOWEST)/python -m pytest -n $(TWICE) tests/unit tests/provider

conformance:  ## have official clients work with the emulator, and count what came out right; needs Node and curl
	$(MAKE) -C emulator conformance

googledags: $(VENV)/ready  ## run the system tests of Airflow's Google provider on the emulator; DAG=part runs those with it in their name
	mkdir -p $(VENV)/googledags
	$(BIN)/python -m tests.google_dags.run $(DAG)

faults: $(VENV)/cluster-ready  ## kill, break and cancel everything, and show what became of it; on Postgres, where it is installed
	$(BIN)/python -m pytest -n $(TWICE) -m only_in_make_faults tests/provider
	$(BIN)/python -m pytest -n 3 --dist loadfile -o timeout=3600 -m "" $(addprefix tests/integration/test_,faults.py demo.py events.py)

ha: $(VENV)/cluster-ready  ## kill and restart parts of a cluster; needs Debian's postgresql and redis-server
	$(BIN)/python -m pytest -m only_in_make_ha tests/integration/test_cluster.py

scale: $(VENV)/cluster-ready  ## run a day of 2,700 tasks on a cluster that loses three parts a minute, three quarters of an hour; SCALE=10 runs a tenth
	SCALE='$(SCALE)' $(BIN)/python -W ignore -m tests.benchmarks.run scale

kills:  ## kill the emulator a hundred times while it writes
	$(MAKE) -C emulator kills

fuzz:  ## send the emulator whatever comes to mind, thirty times as much as make test does
	$(MAKE) -C emulator fuzz

docs: $(VENV)/docs-ready  ## build the documentation; a warning is an error
	$(BIN)/sphinx-build --quiet -W --keep-going -b html docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html."

bench: $(VENV)/ready  ## run all benchmarks, an hour and a half, and write docs/benchmarks-results.*; QUICK=1 sees only that all works
	$(BIN)/python -W ignore -m tests.benchmarks.run $(if $(QUICK),--quick)

screenshots: $(VENV)/docs-ready  ## take the documentation's pictures; needs Chromium, its driver and npm
	$(BIN)/python -m docs.screenshots
	$(BIN)/python -m docs.screenshots_emulator
	$(BIN)/python -m docs.screenshots_viewer

package: $(VENV)/ready  ## build the sdist, from it the wheel, and try that in an environment of its own
	rm -rf dist .venv-package
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv .venv-package
	$(BIN)/uv pip install --quiet --python .venv-package/bin/python --constraint $(CONSTRAINTS) dist/*.whl || \
	.venv-package/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) dist/*.whl
	.venv-package/bin/python -I tests/package.py

lint: $(VENV)/ready  ## look for mistakes, and for code that is not formatted
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready  ## check the types
	$(BIN)/mypy
	$(MAKE) -C emulator types

# uv takes seconds where pip takes minutes, and pip knows mirrors that uv does not.
define install
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --editable ./emulator --editable '.[$(1)]' || \
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ./emulator --editable '.[$(1)]'
endef

$(VENV)/ready: pyproject.toml emulator/pyproject.toml $(CONSTRAINTS)
	@echo "Making an environment with Airflow $(AIRFLOW) in $(VENV); that takes a minute or more …"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(call install,emulator$(comma)dev)
	rm -f $(VENV)/airflow-*.db  # what demo/stack.py copies, made by the versions before
	touch $@

# constraints/lowest.txt has the lowest versions of what pyproject.toml names, and what goes with them. The emulator asks for newer ones of
# these three, with which all of its own tests pass; for the provider's, the older ones are enough.
LOWEST := .venv-lowest/bin
.venv-lowest/ready: pyproject.toml emulator/pyproject.toml constraints/lowest.txt constraints/airflow-2.11.txt
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST)/python -m pip install --quiet uv==0.13.9
	grep -E '^(aiohttp|google-api-python-client|numpy)==' constraints/lowest.txt > .venv-lowest/override.txt
	grep -o '^[^#=]*==' constraints/lowest.txt | sed 's/^/^/' > .venv-lowest/names.txt
	grep -vf .venv-lowest/names.txt constraints/airflow-2.11.txt > .venv-lowest/tools.txt
	$(LOWEST)/uv pip install --quiet --python $(LOWEST)/python --override .venv-lowest/override.txt --constraint constraints/lowest.txt \
		--constraint .venv-lowest/tools.txt --editable ./emulator --editable '.[emulator,dev]'
	touch $@

$(VENV)/cluster-ready: $(VENV)/ready constraints/cluster.in
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --requirement constraints/cluster.in || \
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --requirement constraints/cluster.in
	touch $@

$(VENV)/docs-ready: $(VENV)/ready
	$(call install,emulator$(comma)dev$(comma)docs)
	touch $@
