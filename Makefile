# Everything lives in .venv; every target may be repeated.
PYTHON ?= python3
BIN := .venv/bin
RESULTS ?= results/bench
STAMP := .venv/.installed
TOOLS := .venv/.tools

.PHONY: setup tools bench bench-all test lint perf clean

setup: $(STAMP)

# PyTorch first and pinned: another package would pull the newest build with all of CUDA.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch numpy setuptools
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $(STAMP)

# What tests and lint need besides.
tools: $(TOOLS)

$(TOOLS): $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(TOOLS)

bench: setup
	$(BIN)/python run_bench.py run smoke --results $(RESULTS)

bench-all: setup
	$(BIN)/python run_bench.py run smoke-all --results results/bench-all

test: tools
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --ignore tests/perf -n auto --dist loadfile \
		--no-loadscope-reorder

lint: tools
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

perf: tools
	$(BIN)/python -m pytest tests/perf -s

clean:
	rm -rf .venv .cache
