PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
BACKEND ?= jax
MODEL ?= text
# .venv has no plugin of an accelerator: the CPU is an explicit choice.
export JAX_PLATFORMS ?= cpu
BIN := .venv/bin
PIP := -m pip install --quiet --disable-pip-version-check
# Keeps freed memory, which halves the time of a training step: glibc would give it back to the kernel each time.
KEEP := GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=8589934592:glibc.malloc.arena_max=1

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## the project's own .venv, at the versions of requirements.lock
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) --no-deps -r requirements.lock
	$(BIN)/python $(PIP) --no-deps --editable .
	@touch $@

run: setup ## serve the embedded model (PORT, HOST, BACKEND, MODEL)
	@$(BIN)/python -m api --backend $(BACKEND) --model reference/embedded/$(MODEL) --served-model-name tiny-$(MODEL) --explain --host $(HOST) --port $(PORT)

# Each of the two workers has a core: NumPy's threads of one would compete with the other.
test: setup check ## lint, types, import rules, then every test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope

lanes: setup test-newer .venv-tpu/ready .venv-gpu/ready .venv-ray/ready ## the tests that take minutes: deployment, a wheel, processes that fail, a newer Python
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m lane -n 2 --dist loadscope

# Python 3.12 and newer have another version of JAX than 3.11.
NEWER ?= $(shell for v in 3.14 3.13 3.12; do for p in python$$v $$(pyenv root 2>/dev/null)/versions/$$v.*/bin/python; do \
	$$p -c '' 2>/dev/null && echo $$p && exit; done; done)
test-newer: ## every test on a newer Python (NEWER), if this machine has one
ifeq ($(NEWER),)
	@echo "no Python 3.12, 3.13 or 3.14: the tests run on $(PYTHON) only"
else
	$(NEWER) -m venv .venv-newer
	.venv-newer/bin/python $(PIP) --no-deps -r requirements.lock
	.venv-newer/bin/python $(PIP) --no-deps --editable .
	OPENBLAS_NUM_THREADS=1 .venv-newer/bin/python -m pytest -n 2 --dist loadscope
endif

check: setup ## ruff, mypy and import-linter
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

tiny-model: setup ## train the embedded model again from its seed
	$(KEEP) $(BIN)/python -m jax_backend.training.text

vision-model: setup ## train the embedded model that sees, again from its seed
	$(KEEP) $(BIN)/python -m jax_backend.training.vision

goldens: .venv-goldens/ready ## regenerate tests/goldens from torch and transformers
	.venv-goldens/bin/python -m tests.goldens.make
.venv-goldens/ready: requirements-goldens.txt
	$(PYTHON) -m venv .venv-goldens
	.venv-goldens/bin/python $(PIP) -r requirements-goldens.txt
	@touch $@

docs: setup ## the documentation site, in build/docs/html; a warning or a broken link is an error
	$(BIN)/python -m docs.site

tpu: .venv-tpu/ready ## compile large models for TPUs, which need not be there: docs/tpu.md
	PYTHONPATH=.venv-tpu JAX_PLATFORMS=cpu $(BIN)/python -m benchmarks.tpu --out docs/tpu.md

gpu: .venv-gpu/ready ## compile large models for GPUs, which need not be there: docs/gpu.md
	PYTHONPATH=.venv-gpu JAX_PLATFORMS=cpu $(BIN)/python -m benchmarks.gpu --out docs/gpu.md

# The compilers of both, at the versions for the JAX of .venv.
COMPILERS_tpu := libtpu
COMPILERS_gpu := jax-cuda13-plugin jax-cuda13-pjrt nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt
.venv-%/ready: .venv/ready requirements-accelerators.lock
	rm -rf .venv-$*
	$(BIN)/python $(PIP) --no-deps --constraint requirements-accelerators.lock --target .venv-$* $(COMPILERS_$*)
	@touch $@

.venv-ray/ready: requirements-ray.txt .venv/ready
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python $(PIP) --no-deps -r requirements.lock
	.venv-ray/bin/python $(PIP) -r requirements-ray.txt
	.venv-ray/bin/python $(PIP) --no-deps --editable .
	@touch $@

.PHONY: help setup run test lanes test-newer check docs tiny-model vision-model goldens tpu gpu
