# Everything a developer or a CI runs; needs Python >= 3.11, make and gcc.
# Variables: PYTHON (interpreter for the environment), VENV (its folder), TORCH (which torch to install),
# PTYCHOPINN (a checkout of it, with its dependencies in .venv), WORKERS (processes of the in-process tests).

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
DEMO ?= runs/demo
MINUTES ?= 45
PTYCHOPINN ?= ../PtychoPINN
DEMO_FLAGS ?= --devices 2

# In-process tests use two processes; those with real ranks need the cores for themselves.
WORKERS ?= 2
SPREAD := -n $(WORKERS) --dist worksteal

# Tests, checks and documentation see no GPU and use one thread in each process.
CALM := CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install format lint type imports test-fast test-lowest coverage test test-all demo docs bench bench-network bench-ptychopinn \
	bench-gpu test-gpu pretrain clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## Make the environment: torch first, then this package with its tools
	@echo "Installed in $(VENV). Next: 'make demo' (a simulated scan, from patterns to an object), or with a scan of your own:"
	@echo "  . $(BIN)/activate; ptycho-dist inspect SCAN    # says what is in it, and what to run"

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old; Python >= 3.11 is needed. Name one: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.torch: $(VENV)/.python
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install '$(TORCH)'
	touch $@

$(VENV)/.installed: $(VENV)/.torch setup.cfg pyproject.toml
	$(BIN)/python -m pip install -e '.[dev]'
	-$(BIN)/python -m pip install --no-deps ptychodus # the reference reader of products; its test skips without it
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install -e '.[docs]'
	touch $@

$(VENV)-ptychi/.installed:
	$(PYTHON) -m venv $(VENV)-ptychi
	$(VENV)-ptychi/bin/python -m pip install -q '$(TORCH)'
	echo '$(TORCH)' > $(VENV)-ptychi/constraints.txt
	$(VENV)-ptychi/bin/python -m pip install -q -c $(VENV)-ptychi/constraints.txt ptychi
	touch $@

format: $(VENV)/.installed ## Format the source and sort its imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

lint: $(VENV)/.installed imports ## Style rules, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(VENV)/.installed ## Types, strictly
	$(BIN)/mypy

imports: $(VENV)/.installed ## Who may import whom
	$(BIN)/lint-imports

test-fast: $(VENV)/.installed ## In-process tests of a few seconds each
	$(CALM) $(BIN)/python -m pytest tests/torch $(SPREAD) -m "not slow"

test-lowest: $(VENV)/.python ## In-process tests with the oldest versions that setup.cfg admits (torch: TORCH)
	test -x $(VENV)-lowest/bin/python || $(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install -q '$(TORCH)'
	$(VENV)-lowest/bin/python -m pip install -q -r tests/lowest.txt -e .
	$(CALM) $(VENV)-lowest/bin/python -m pytest tests/torch $(SPREAD) -o filterwarnings=default

test-gpu: $(VENV)/.installed ## Tests of what needs a GPU (the others hide it)
	$(BIN)/python -m pytest tests/torch -m gpu -rs

coverage: $(VENV)/.installed ## Lines of the package that the in-process tests run; fails under 90 %
	mkdir -p runs
	$(CALM) $(BIN)/python -m coverage run -m pytest -q tests/torch -m "not exhaustive"
	$(BIN)/python -m coverage report

test: lint type ## All checks, and all tests but the exhaustive ones
	$(CALM) $(BIN)/python -m pytest tests/torch $(SPREAD) -m "not exhaustive"
	$(CALM) $(BIN)/python -m pytest tests/launch -m "not exhaustive"

test-all: lint type ## All checks and all tests
	$(CALM) $(BIN)/python -m pytest tests/torch $(SPREAD)
	$(CALM) $(BIN)/python -m pytest tests/launch

demo: $(VENV)/.installed ## Simulate a scan, train on two ranks, reconstruct, refine, evaluate
	$(BIN)/ptycho-dist demo $(DEMO) --overwrite $(DEMO_FLAGS)

docs: $(VENV)/.docs ## Documentation: its examples run, then HTML in docs/_build/html; warnings are errors
	$(CALM) $(BIN)/python -m pytest -q tests/torch/test_documentation.py
	$(CALM) $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	$(CALM) $(BIN)/python -m pytest -q tests/torch/test_site.py
	@echo "Open docs/_build/html/index.html."

pretrain: $(VENV)/.installed ## Train the network that ships with the package (MINUTES of one processor)
	$(CALM) $(BIN)/python -m pretraining.run --minutes $(MINUTES)

bench: $(VENV)/.installed $(VENV)-ptychi/.installed ## Speeds, the refinement against pty-chi, positions; fails where a claim is broken
	-$(BIN)/python -m benchmarks.training_speed
	-$(BIN)/python -m benchmarks.loader_speed
	-$(BIN)/python -m benchmarks.refinement --ptychi-python $(VENV)-ptychi/bin/python
	-$(BIN)/python -m benchmarks.positions
	$(BIN)/python -m benchmarks.guard

bench-network: $(VENV)/.installed $(VENV)-ptychi/.installed ## When the network pays: a matrix of scans, and the pages that tell it
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.network --ptychi-python $(VENV)-ptychi/bin/python
	$(BIN)/python -m benchmarks.guard

bench-ptychopinn: $(VENV)/.installed ## Training and prediction against PtychoPINN (PTYCHOPINN: its checkout, with a .venv)
	-$(BIN)/python -m benchmarks.peers_training --ptychopinn-dir $(PTYCHOPINN)
	-$(BIN)/python -m benchmarks.peers_prediction --ptychopinn-dir $(PTYCHOPINN)
	$(BIN)/python -m benchmarks.guard

bench-gpu: $(VENV)/.installed ## What a GPU reaches of its limits (FLAGS="--device cpu": a dry run)
	$(BIN)/python -m benchmarks.gpu_limits $(FLAGS)

clean: ## Remove what the targets made, but not the environment and not runs/
	rm -rf docs/_api docs/_build docs/auto_gallery build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find ptycho_dist tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
