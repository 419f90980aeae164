.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
BACKEND ?= reference
MODEL ?= text
BIN := .venv/bin

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## the project's own .venv, at the versions of requirements.lock

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

run: setup ## serve the embedded model (PORT, HOST, BACKEND, MODEL)
	@$(BIN)/python -m api --backend $(BACKEND) --model reference/embedded/$(MODEL) --served-model-name tiny-$(MODEL) --host $(HOST) --port $(PORT)

test: setup check ## lint, types, import rules, then every test
	$(BIN)/python -m pytest

check: setup ## ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# glibc gives freed arrays back to the kernel; keeping them halves the time of a step on a CPU.
KEEP := GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=8589934592

tiny-model: setup ## train the embedded model again from its seed
	$(KEEP) $(BIN)/python -m jax_backend.embedded

goldens: .venv-goldens/ready ## regenerate tests/goldens from torch and transformers
	.venv-goldens/bin/python -m tests.goldens.make

.venv-goldens/ready: requirements-goldens.txt
	$(PYTHON) -m venv .venv-goldens
	.venv-goldens/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-goldens.txt
	@touch $@

.PHONY: help setup run test check tiny-model goldens
