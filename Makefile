# SlimWorks. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
ROOT ?= slimworks-demo
# CPython 3.11 first, 3.10 second: TFX 1.16 has wheels for no newer one.
PYTHON ?= $(shell for p in python3.11 python3.10 python3 python; do \
  command -v $$p >/dev/null 2>&1 && \
  $$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 10)))' 2>/dev/null && \
  { command -v $$p; break; }; done)
TAG = $(shell $(PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])')
# Compiled modules make `import tensorflow` three times quicker; some shells forbid writing them.
export PYTHONDONTWRITEBYTECODE :=
SLIMWORKS_SHARED ?= ../shared
export SLIMWORKS_SHARED

# Two files of tests at once; a file's tests share what its fixtures set up.
SIDE_BY_SIDE := -n 2 --dist loadfile

.PHONY: help setup demo test test-all test-slow engines test-engines check format bench docs measure-networks compile lock protos clean

help:  ## This list
	@echo "SlimWorks: labelled photos in, a gated model behind TensorFlow Serving out."
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | \
	  column -t -s '|'

setup: $(VENV)/.ready  ## Install everything that is locked into .venv

$(VENV)/.ready: requirements-setup.lock $(wildcard requirements-dev-*.lock) setup.py pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
	  echo "Error: SlimWorks needs Python 3.11 (or 3.10); found: $$(python3 --version 2>&1 || echo none)." >&2; \
	  echo "Fix:   install it, or name it: make PYTHON=/path/to/python3.11 demo" >&2; exit 2; fi
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 10)))'; then \
	  echo "Error: $(PYTHON) is $$($(PYTHON) --version 2>&1); SlimWorks needs Python 3.11 or 3.10." >&2; \
	  echo "Fix:   name another: make PYTHON=/path/to/python3.11 demo" >&2; exit 2; fi
	@if ! command -v c++ >/dev/null && ! command -v g++ >/dev/null && ! command -v clang++ >/dev/null; then \
	  echo "Error: no C++ compiler; pyfarmhash, which TensorFlow Data Validation needs, has no wheel." >&2; \
	  echo "Fix:   apt-get install g++ (Debian), dnf install gcc-c++ (Fedora), xcode-select --install (macOS)" >&2; exit 2; fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-setup.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements-dev-$(TAG).lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

demo: setup  ## Handwritten digits to a served, gated model (about 2 minutes)
	$(BIN)/python -m slimworks.pipeline.demo --root $(ROOT)

test: setup  ## Fast tests: no network, no cluster
	$(BIN)/python -m pytest -m "not slow and not engine" -q $(SIDE_BY_SIDE)

test-all: setup engines  ## Every test, the slow ones and those of the engines too
	$(BIN)/python -m pytest -q

test-slow: setup  ## Only the slow tests (kills, whole pipelines, big networks)
	$(BIN)/python -m pytest -m "slow and not engine" -q $(SIDE_BY_SIDE)

engines: setup  ## What engine tests run on (Flink, servers of file systems), into .engines
	@for fetch in tests/engines/fetch_*.sh; do PYTHON=$(BIN)/python sh $$fetch .engines || exit; done

test-engines: setup engines  ## Tests on Flink and on real servers of file systems
	$(BIN)/python -m pytest -m engine -q

check: setup  ## Format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## Benchmarks, one JSON line each
	@for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

docs: setup  ## Generated pages: docs/networks.md
	$(BIN)/python -m slimworks.components.nets.page docs/networks.json docs/networks.md

measure-networks: setup  ## Measure every network on this CPU again (half an hour), then the page
	$(BIN)/python benchmarks/networks.py --all --output docs/networks.json
	$(MAKE) docs

compile: setup  ## The demo's pipeline as Kubeflow Pipelines YAML
	$(BIN)/slimworks compile --data /workspace/digits --output build/pipeline.kfp.yaml

lock:  ## Resolve the locks again (needs uv)
	for v in 3.10 3.11; do t=py$${v/./}; \
	  uv pip compile --quiet --no-header --upgrade --python-version $$v --generate-hashes --extra pipeline pyproject.toml -o requirements-$$t.lock; \
	  uv pip compile --quiet --no-header --upgrade --python-version $$v --generate-hashes --extra pipeline --extra onnx --extra tflite --extra dev pyproject.toml -o requirements-dev-$$t.lock; done
	echo uv | uv pip compile --quiet --no-header --upgrade --generate-hashes - -o requirements-setup.lock

clean:  ## Remove what was built, but not runs
	rm -rf $(VENV) .engines build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage
