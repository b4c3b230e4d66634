# make sample   64 images drawn from fashion-unet, the bundled network, with 20 model calls each, in out/
# make test     everything that is tested
# make test-oldest   the same, with the oldest versions that pyproject.toml allows
# make lint     formatting, lint and types
# make gpu      what needs a GPU: its tests and its numbers, with a torch that this machine has; make gpu PYTHON=/path/to/python MINUTES=4
# make docs     the pages and an API reference as a site, in site/index.html
# make bench    overhead and plan building, as ratios
#
# Without make: python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e ".[dev]"; then the commands below.

PYTHON ?= python3
BIN := .venv/bin
OUT ?= out
MINUTES ?= 4

.PHONY: sample test lint bench docs gpu test-oldest

.venv/base: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

.venv/dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch .venv/base $@

.venv-oldest/dev: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet -c constraints-oldest.txt -e ".[dev]"
	touch $@

.venv/bench: .venv/dev
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev,bench]"
	touch $@

.venv/docs: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e ".[docs]"
	touch .venv/base $@

sample: .venv/base
	$(BIN)/seeds sample --outdir $(OUT) --seeds 0-63 --nfe 20 --resume

test: .venv/dev
	$(BIN)/pytest -n 2

test-oldest: .venv-oldest/dev
	.venv-oldest/bin/pytest -n 2

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

bench: .venv/bench
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/build.py

# A torch with CUDA is gigabytes: it is taken from $(PYTHON), where it is, and never downloaded. So is all else that is there: then nothing is fetched.
GPU_NEEDS := import numpy, safetensors, PIL, click, tqdm, pytest, torch
.venv-gpu/ready: pyproject.toml
	@$(PYTHON) -c "import torch; raise SystemExit(not (torch.cuda.is_available() or torch.backends.mps.is_available()))" 2>/dev/null || \
		{ echo "make gpu: $(PYTHON) has no torch that sees a GPU. Name one that has: make gpu PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $$($(PYTHON) -c "$(GPU_NEEDS)" 2>/dev/null && echo --without-pip) .venv-gpu
	$(PYTHON) -c "import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])" > \
		$$(.venv-gpu/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/machine.pth
	.venv-gpu/bin/python -c "$(GPU_NEEDS)" 2>/dev/null || .venv-gpu/bin/pip install --quiet numpy safetensors pillow click tqdm pytest
	@.venv-gpu/bin/python -c "import diffusers" 2>/dev/null || .venv-gpu/bin/python -m pip install --quiet --retries 0 diffusers 2>/dev/null || \
		echo "make gpu: no diffusers here; the table leaves its schedulers out"
	touch $@

# The table is made although a test fails, and tests need no other plugins, nor that nobody warns: machines with a GPU are not always at hand.
gpu: .venv-gpu/ready
	@PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONPATH=. .venv-gpu/bin/python -m pytest tests/gpu -p no:cacheprovider -W default; tested=$$?; \
	PYTHONPATH=. .venv-gpu/bin/python benchmarks/device.py --minutes $(MINUTES) --json device.json && exit $$tested
