# make        install everything into .venv
# make demo   play the story on the simulated league     (make demo DATA=folder  plays it on real feeds)
# make test   everything that CI runs
SHELL := /bin/bash
PY_MIN := 3.11
VENV := .venv
BIN := $(VENV)/bin
# Real feeds, when a folder is there; every test that needs them skips with a message when it is not.
NBPROPS_DATA ?= $(realpath $(wildcard ../shared/data))
export NBPROPS_DATA
export MPLBACKEND ?= agg

.PHONY: all install demo test test-full bench readme export lab clean

all: install

# A stamp keeps `make demo` from installing twice. The bytecode is compiled now, because the heavy imports take three times as long without it; the package's own is compiled, too, since it is installed as a link.
$(VENV)/.installed: setup.py settings.ini
	@python=$$(for p in python$$(cat .python-version) python3.13 python3.12 python3.11 python3; do \
	  command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done); \
	test -n "$$python" || { echo "nbprops needs Python $(PY_MIN) or later, and none was found. Mend: install Python 3.13"; exit 2; }; \
	echo "creating $(VENV) with $$($$python --version)"; $$python -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[all]'
	@$(BIN)/python -m compileall -q nbprops
	@touch $@

install: $(VENV)/.installed
	@echo "installed; try: make demo"

demo: $(VENV)/.installed
ifdef DATA
	@NBPROPS_HOME=$${NBPROPS_HOME:-.nbprops-real} $(BIN)/nbprops demo --data "$(DATA)"
else
	@NBPROPS_HOME=$${NBPROPS_HOME:-.nbprops} $(BIN)/nbprops demo
endif

# The suite starts hundreds of processes; each would compile a module that was edited since. A test that stands still for 25 minutes says where and fails; the lessons, which all count as one test, take about five.
test: $(VENV)/.installed
	@$(BIN)/python -m compileall -q nbprops
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --timeout 1500 -m "not full" tests

test-full: $(VENV)/.installed
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile tests

bench: $(VENV)/.installed
	@$(BIN)/python -m tests.benchmarks

readme: $(VENV)/.installed
	@$(BIN)/python -m tests.house readme

export: $(VENV)/.installed
	@$(BIN)/nbdev_clean && $(BIN)/nbdev_export && $(BIN)/python -m tests.house reports && $(BIN)/python -m tests.house readme

lab: $(VENV)/.installed
	@$(BIN)/jupyter lab nbs

clean:
	rm -rf $(VENV) .nbprops .nbprops-real build dist *.egg-info
