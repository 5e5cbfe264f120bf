# SlimWorks. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
ROOT ?= slimworks-demo
# CPython 3.11 first, 3.10 second: the locked stack. PYTHON=python3.13 takes the newest (docs/stacks.md).
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
# Tests that need nothing but `make setup`; the others have targets of their own.
ORDINARY := not big and not engine and not container and not chaos and not notebook and not docs

.PHONY: help setup demo test test-all test-slow test-big test-docs screenshots test-chaos engines test-engines notebooks test-notebooks strip-notebooks base-image images test-containers newest-image test-newest check audit sbom check-k8s check-alerts format bench bench-smoke bench-gate docs site measure-networks compile lock protos clean

help:  ## This list
	@echo "SlimWorks: labelled photos in, a gated model behind TensorFlow Serving out."
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1|/' | \
	  column -t -s '|'

setup: $(VENV)/.ready  ## Install everything that is locked into .venv

# The lock of that Python.
LOCK = $(wildcard requirements-dev-$(TAG).lock requirements-newest-dev-$(TAG).lock)

$(VENV)/.ready: requirements-setup.lock $(wildcard requirements-*dev-*.lock) setup.py pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
	  echo "Error: SlimWorks needs Python 3.11 (or 3.10); found: $$(python3 --version 2>&1 || echo none)." >&2; \
	  echo "Fix:   install it, or name it: make PYTHON=/path/to/python3.11 demo" >&2; exit 2; fi
	@if [ -z "$(LOCK)" ]; then \
	  echo "Error: $(PYTHON) is $$($(PYTHON) --version 2>&1); there are locks for Python 3.10, 3.11 and 3.13." >&2; \
	  echo "Fix:   name another: make PYTHON=/path/to/python3.11 demo" >&2; exit 2; fi
	@if ! command -v c++ >/dev/null && ! command -v g++ >/dev/null && ! command -v clang++ >/dev/null; then \
	  echo "Error: no C++ compiler; pyfarmhash, which TensorFlow Data Validation needs, has no wheel." >&2; \
	  echo "Fix:   apt-get install g++ (Debian), dnf install gcc-c++ (Fedora), xcode-select --install (macOS)" >&2; exit 2; fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-setup.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

demo: setup  ## Handwritten digits to a served, gated model (about 2 minutes)
	$(BIN)/python -m slimworks.pipeline.demo --root $(ROOT)

test: setup  ## Fast tests: no network, no cluster
	$(BIN)/python -m pytest -m "not slow and $(ORDINARY)" -q $(SIDE_BY_SIDE)

test-all: setup $(VENV)/.notebooks-ready engines images newest-image  ## Every test: those of the engines and the containers too
	$(BIN)/python -m pytest -m "not chaos" -q
	$(MAKE) test-chaos

test-slow: setup  ## Only the slow tests (kills, whole pipelines, trainings)
	$(BIN)/python -m pytest -m "slow and $(ORDINARY)" -q --durations=40 $(SIDE_BY_SIDE)

test-big: setup  ## Large networks and long runs, one after the other
	$(BIN)/python -m pytest -m big -q

test-docs: setup  ## Every code block of the documents that can run here, in real folders
	$(BIN)/python -m pytest -m docs -q -n 2 --durations=15 tests/docs

screenshots: setup  ## Pictures of the documentation, taken anew: docs/screenshots (needs chromium)
	SLIMWORKS_SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest -m docs -q tests/docs/test_screenshots.py

# A mount namespace of its own: full disks and read-only folders, and nothing left mounted.
test-chaos: setup  ## Runs into kills, full disks, read-only folders and clock jumps (minutes)
	unshare $(if $(filter-out 0,$(shell id -u)),--user --map-root-user) --mount --propagation private \
	  $(BIN)/python -m pytest -m chaos -q -s tests/chaos

test-notebooks: $(VENV)/.notebooks-ready  ## Runs every cell of notebooks/, each in an empty folder
	$(BIN)/python -m pytest -m notebook -q -n 2 --dist load --durations=0 tests/notebooks

strip-notebooks: setup  ## Removes what notebooks put out, before a commit
	$(BIN)/jupyter nbconvert --clear-output --inplace notebooks/*.ipynb

notebooks: $(VENV)/.notebooks-ready  ## Opens notebooks/ in JupyterLab: docs/notebooks.md
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks

$(VENV)/.notebooks-ready: $(VENV)/.ready $(wildcard notebooks/requirements-*.lock)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r notebooks/requirements-$(TAG).lock
	touch $@

engines: setup  ## What engine tests run on (Flink, servers of file systems), into .engines
	@for fetch in tests/engines/fetch_*.sh; do PYTHON=$(BIN)/python sh $$fetch .engines || exit; done

test-engines: setup engines  ## Tests on Flink and on real servers of file systems
	$(BIN)/python -m pytest -m engine -q

base-image:  ## Debian's base of the images, where no registry can be reached (needs root)
	sh images/base_image.sh

images: $(if $(DEBIAN_BASE),,base-image)  ## Container images by podman or docker: docs/containers.md
	images/build.sh $(IMAGES)

# The machine's own certificates: a proxy may sign with one that Debian does not know.
BUNDLE := $(wildcard /etc/ssl/certs/ca-certificates.crt)
ENGINE ?= $(shell command -v podman || command -v docker)
NEWEST_IMAGE := localhost/slimworks-newest:dev
NEWEST = $(ENGINE) run --rm --network=none --volume=$(CURDIR):/source:ro \
  --volume=$(abspath $(SLIMWORKS_SHARED)):/shared:ro $(NEWEST_IMAGE)
test-containers newest-image: export IMAGE_BUILD_OPTIONS ?= --network=host $(BUNDLE:%=--secret=id=ca,src=%)
test-containers: setup images  ## Tests in real containers
	$(BIN)/python -m pytest -m container -q tests/containers

newest-image:  ## Debian 13 with Python 3.13 and the newest stack, where no registry can be reached (needs root)
	SUITE=trixie sh images/base_image.sh
	$(ENGINE) build --quiet $(IMAGE_BUILD_OPTIONS) --build-arg DEBIAN_BASE=localhost/slimworks-debian:trixie \
	  -f tests/newest/Dockerfile -t $(NEWEST_IMAGE) .

test-newest: setup newest-image  ## Fast tests and the demo on the newest stack; both stacks with each other
	$(NEWEST) python -m pytest -m "not slow and $(ORDINARY)" -q $(SIDE_BY_SIDE)
	$(NEWEST) python -m slimworks.pipeline.demo --root /tmp/demo
	$(BIN)/python -m pytest -m newest -q tests/newest

check: setup  ## Format, lint, types; licences and hashes of the locks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tests/audit/check_locks.py

build/audit-venv/ready: tests/audit/requirements.lock | setup
	$(PYTHON) -m venv build/audit-venv
	$(BIN)/uv pip install --quiet --python build/audit-venv/bin/python --require-hashes -r $<
	touch $@

audit: build/audit-venv/ready  ## Known vulnerabilities of what is locked; asks a public service
	$(BIN)/python tests/audit/audit.py --pip-audit build/audit-venv/bin/pip-audit \
	  --service $(or $(SERVICE),pypi) requirements*.lock images/locks/*.lock docs/site/*.lock tests/audit/*.lock

sbom: build/audit-venv/ready  ## What .venv is made of, as CycloneDX: build/sbom.json
	build/audit-venv/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
	  --output-file build/sbom.json $(BIN)/python
	$(BIN)/python tests/audit/check_locks.py --sbom build/sbom.json requirements-dev-$(TAG).lock

check-k8s: setup  ## Every overlay of k8s/, rendered: strict schemas and rules
	@for fetch in kustomize kubernetes_schemas; do \
	  PYTHON=$(BIN)/python sh tests/engines/fetch_$$fetch.sh .engines || exit; done
	$(BIN)/python tests/k8s/check_manifests.py $(DIGESTS) $(OVERLAYS)

check-alerts: setup  ## Prometheus' own promtool plays the alerts of k8s/ (builds it with Go: minutes)
	@sh tests/engines/build_promtool.sh .engines
	$(BIN)/python tests/k8s/check_alerts.py .engines/promtool-*

format: setup  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## Benchmarks, one JSON line each
	@for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

bench-smoke: setup  ## The same in a few minutes: that they run, not what they say
	$(BIN)/python benchmarks/ingest_memory.py --repeats 1 --sizes 200 600
	$(BIN)/python benchmarks/ingest_speed.py --images 200 --repeats 1
	$(BIN)/python benchmarks/ingest_growth.py --images 200 --repeats 1
	$(BIN)/python benchmarks/head_only.py --net mobilenet_v1_025 --images 64
	$(BIN)/python benchmarks/training_speed.py --nets mobilenet_v1_025:16:128 --rounds 1
	$(BIN)/python benchmarks/pipeline_overhead.py --repeats 1
	$(BIN)/python benchmarks/evaluation.py --net mobilenet_v1_025 --images 128 --repeats 1
	$(BIN)/python benchmarks/networks.py lenet
	$(BIN)/python benchmarks/serving_overhead.py --net mobilenet_v1_025 --requests 50
	$(BIN)/python benchmarks/serving_swaps.py --net mobilenet_v1_025 --swaps 2
	$(BIN)/python benchmarks/serving_memory.py --requests 2000 --swaps 5
	$(BIN)/python benchmarks/unknown_images.py --images-per-class 40
	$(BIN)/python benchmarks/scale.py --quick

bench-gate: setup  ## Faults injected into a small run: who catches each (a few minutes)
	$(BIN)/python benchmarks/gate_faults.py

docs: setup  ## Generated pages: docs/networks.md, docs/reference/, tables of docs/scale.md
	$(BIN)/python -m slimworks.components.nets.page docs/networks.json docs/networks.md
	$(BIN)/python benchmarks/scale.py --page docs/scale.md
	$(BIN)/python -m slimworks.pipeline.reference docs/reference

site: setup  ## The documentation as a website: build/site/index.html
	@test -f build/site-venv/ready || { $(PYTHON) -m venv build/site-venv && \
	  $(BIN)/uv pip install --quiet --python build/site-venv/bin/python --require-hashes \
	    -r docs/site/requirements.lock && touch build/site-venv/ready; }
	NO_MKDOCS_2_WARNING=1 build/site-venv/bin/mkdocs build --quiet --strict

measure-networks: setup  ## Measure every network on this CPU again (half an hour), then the page
	$(BIN)/python benchmarks/networks.py --all --output docs/networks.json
	$(MAKE) docs

compile: setup  ## The demo's pipeline as Kubeflow Pipelines YAML
	$(BIN)/slimworks compile --data /workspace/digits --output build/pipeline.kfp.yaml

# Wheels for an older glibc: so the newest stack stays out of the locked one's.
EXTRAS := --extra onnx --extra tflite --extra mlflow --extra dev
lock:  ## Resolve the locks again (needs uv)
	resolve() { uv pip compile --quiet --no-header --upgrade --generate-hashes --extra pipeline pyproject.toml "$$@"; }; \
	for v in 3.10 3.11; do on="--python-version $$v --python-platform x86_64-manylinux_2_36"; t=py$${v/./}; \
	  resolve $$on -o requirements-$$t.lock && resolve $$on $(EXTRAS) -o requirements-dev-$$t.lock || exit; \
	  uv pip compile --quiet --no-header --upgrade $$on --generate-hashes -c requirements-dev-$$t.lock --extra notebooks pyproject.toml -o notebooks/requirements-$$t.lock || exit; done; \
	on="--python-version 3.13 --python-platform x86_64-manylinux_2_39"; \
	resolve $$on -o requirements-newest-py313.lock && resolve $$on $(EXTRAS) -o requirements-newest-dev-py313.lock
	echo uv | uv pip compile --quiet --no-header --upgrade --generate-hashes - -o requirements-setup.lock
	uv pip compile --quiet --no-header --upgrade --python-version 3.10 --generate-hashes tests/audit/requirements.in -o tests/audit/requirements.lock
	sh images/locks/lock.sh

clean:  ## Remove what was built, but not runs
	rm -rf $(VENV) .engines build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage
