# Everything is set up in .venv by the targets themselves; needs Python >= 3.11 and make.
#
#   make run          start dctop here        (make run ARGS="--theme light")
#   make test         all tests               (make test ARGS="tests/probes -k cpu")
#   make check        formatting, lint, types, tests
#   make bench        benchmarks, side by side with btop, htop, nvitop and glances
#   make bench-gpu    what watching GPUs costs, on a simulated driver, beside nvitop, gpustat and nvtop
#   make trials       recordings against kills, power cuts, damage: hundreds of times
#   make drill        plants every fault, judges and scores the diagnosis: docs/DIAGNOSIS.md (about 25 minutes)
#   make healthy      healthy runs for an hour (MINUTES=600 KEEP=folder): false alarms an hour, into the same page
#   make screenshots  the pictures of the README, from real runs
#   make report-pictures  a report in a headless Chromium, light and dark
#   make clean        remove everything made here
#
# PYTHON=/path/to/python chooses the interpreter the environment is made with.

SHELL := /bin/sh
.DEFAULT_GOAL := run
.PHONY: run test check format lint types bench bench-gpu trials drill healthy screenshots report-pictures docs clean base train dev

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
ARGS ?=
MINUTES ?= 60
KEEP ?= build/healthy
OK := import sys; sys.exit(sys.version_info < (3, 11))
FIND := for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c '$(OK)' 2>/dev/null && { echo $$p; break; }; done
PYTHON ?= $(shell $(FIND))

# The editable install is a tree of links, one a file: it is renewed when the set of files changes. What is
# done is marked by stamps whose names are hashes of what it was done for.
HASH := cksum | cut -d' ' -f1
FILES := find probes engine tui -name __pycache__ -prune -o -type f -print
DEPS := $(shell { echo '$(CURDIR)'; cat pyproject.toml constraints.txt; } | $(HASH))
TREE := $(shell { echo '$(DEPS)'; $(FILES) | LC_ALL=C sort; } | $(HASH))
EXTRAS := import tomllib; o = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	print(*(r.replace(" ", "") for r in o["train"] + o["dev"]))
HAS_TORCH := import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)

run: base train
	@exec $(VENV)/bin/dctop $(ARGS)

test: dev
	@$(PY) -m pytest $(ARGS)

check: lint types test

format: dev
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

lint: dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

types: dev
	MYPYPATH=$$(echo build/__editable__.*) $(PY) -m mypy -p dctop

bench: dev
	@$(PY) tests/benchmarks/bench_peers.py --install $(ARGS)

bench-gpu: dev
	@$(PY) tests/benchmarks/bench_gpu.py --install $(ARGS)

trials: dev
	@$(PY) tests/benchmarks/trials_recording.py $(ARGS)

drill: dev
	@$(PY) -m tests.faults.drill --out docs/DIAGNOSIS.md $(ARGS)

healthy: dev
	@$(PY) -m tests.faults.healthy --minutes $(MINUTES) --keep $(KEEP) --out docs/DIAGNOSIS.md $(ARGS)

screenshots: dev
	@$(PY) screenshots/make.py $(ARGS)

report-pictures: dev
	@$(PY) screenshots/report.py $(ARGS)

docs: dev
	$(PY) -m dctop.engine.metrics.doc > docs/METRICS.md
	$(PY) -m dctop.engine.rules.doc > docs/RULES.md

clean:
	rm -rf $(VENV) .venv-bench build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf ./*.egg-info

base: $(VENV)/.tree-$(TREE)
train: base $(VENV)/.train-$(DEPS)
dev: base $(VENV)/.dev-$(DEPS)

$(VENV)/bin/python:
	@test -n '$(PYTHON)' || { echo 'dctop: no Python >= 3.11 found: install one or name it: make PYTHON=/path/to/python' >&2; exit 1; }
	@'$(PYTHON)' -c '$(OK)' || { echo 'dctop: $(PYTHON) is older than Python 3.11 or does not run: make PYTHON=/path/to/python' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "dctop: this Python cannot make environments: apt-get install python$$('$(PYTHON)' -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv" >&2; exit 1; }
	@echo 'dctop: setting up $(VENV) (once)'
	@'$(PYTHON)' -m venv $(VENV)

$(VENV)/.build-$(DEPS): | $(VENV)/bin/python
	@rm -f $(VENV)/.build-*
	@$(PIP) install -q -c constraints.txt setuptools wheel
	@touch $@

# No build isolation: linking a changed tree anew asks no registry.
$(VENV)/.tree-$(TREE): | $(VENV)/.build-$(DEPS)
	@rm -rf build/__editable__.* $(VENV)/.tree-*
	@$(PIP) install -q -c constraints.txt --no-build-isolation --config-settings editable_mode=strict -e .
	@touch $@

# torch is large and not built for every platform: without it the dashboard still runs.
$(VENV)/.train-$(DEPS): | $(VENV)/.build-$(DEPS)
	@rm -f $(VENV)/.train-*
	@if $(PY) -c '$(HAS_TORCH)'; then touch $@; \
	else echo 'dctop: installing torch, for training from the screen (once)'; \
	$(PIP) install -c constraints.txt torch && touch $@ || \
	echo 'dctop: torch cannot be installed here: all but training works, `make run` tries again' >&2; fi

$(VENV)/.dev-$(DEPS): | $(VENV)/.build-$(DEPS)
	@rm -f $(VENV)/.dev-*
	@echo 'dctop: installing what tests and checks need (once)'
	@$(PIP) install -q -c constraints.txt $$($(PY) -c '$(EXTRAS)')
	@touch $@
