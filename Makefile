# Everything lives in .venv; every target may be repeated.
PYTHON ?= python3
BIN := .venv/bin
RESULTS ?= results/bench
STAMP := .venv/.installed
TOOLS := .venv/.tools

# Some images set it; every process would then compile all that it imports: 29 s instead of 8.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup tools bench bench-all test conformance lint perf clean

setup: $(STAMP)

# PyTorch first and pinned: another package would pull the newest build with all of CUDA. Where the
# index has no build that suits: make setup TORCH_INDEX=... (pytorch.org names one for every CUDA and
# for none). benchmark/records/builds.py chooses the rest by what the NVIDIA driver runs, if there is one.
$(STAMP): pyproject.toml constraints.txt benchmark/records/builds.py
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt $(TORCH_INDEX:%=--index-url %) torch
	$(BIN)/pip install --quiet --no-deps --editable .
	$(BIN)/python benchmark/records/builds.py > .venv/requirements.txt
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --requirement .venv/requirements.txt
	touch $(STAMP)

# What tests and lint need besides.
tools: $(TOOLS)

$(TOOLS): $(STAMP)
	$(BIN)/python benchmark/records/builds.py dev > .venv/requirements.txt
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --requirement .venv/requirements.txt
	touch $(TOOLS)

bench: setup
	$(BIN)/python run_bench.py run smoke --results $(RESULTS)

bench-all: setup
	$(BIN)/python run_bench.py run smoke-all --results results/bench-all

test: tools
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --ignore tests/perf -n auto --dist loadfile \
		--no-loadscope-reorder

# Every detector, and every method on one student of each; `make test` has one detector.
conformance: setup
	OMP_NUM_THREADS=1 $(BIN)/python run_bench.py check-detector all
	OMP_NUM_THREADS=1 $(BIN)/python run_bench.py check-method all

lint: tools
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

perf: tools
	$(BIN)/python -m pytest tests/perf -s -o faulthandler_timeout=0

clean:
	rm -rf .venv .cache
