# make sample   64 images drawn from fashion-unet, the bundled network, with 40 model calls each, in out/
# make test     everything that is tested
# make lint     formatting, lint and types
# make bench    overhead and plan building, as ratios
#
# Without make: python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e ".[dev]"; then the commands below.

PYTHON ?= python3
BIN := .venv/bin
OUT ?= out

.PHONY: sample test lint bench

.venv/base: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

.venv/dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch .venv/base $@

.venv/bench: .venv/dev
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev,bench]"
	touch $@

sample: .venv/base
	$(BIN)/seeds sample --outdir $(OUT) --seeds 0-63 --steps 13 --resume

test: .venv/dev
	$(BIN)/pytest -n 2

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/bench
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/build.py
