# Every target makes .venv by itself when it is needed; nothing but Python 3.11 and make is.
.DEFAULT_GOAL := help
.PHONY: help setup demo test labs lint sim planted bench fuzz clean

SEEDS ?= 200
START ?= 1
MARKS ?=
FOLDER ?=
INPUTS ?= 1000000

# PYTHON=/some/python3.12 makes the environment with that one.
CANDIDATES := $(or $(PYTHON),python3.11 python3)
BIN := .venv/bin
READY := .venv/.ready
FITS := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

help:
	@echo "make setup     the environment in .venv: the package and what it is developed with"
	@echo "make demo      three nodes count words while one is killed (FOLDER=... for other text)"
	@echo "make test      all tests"
	@echo "make labs      the MIT course labs' tests of Raft and the store: bounds and figures"
	@echo "make lint      style, types, import contracts, sizes and documents"
	@echo "make sim       simulated clusters under faults (SEEDS=$(SEEDS) START=$(START))"
	@echo "make planted   bugs planted on purpose, each of which the simulation must catch"
	@echo "make fuzz      all parsers, INPUTS=$(INPUTS) in all"
	@echo "make bench     the figures of this machine"
	@echo "make clean     removes .venv and what tools have cached; never the data of a cluster"

$(READY): pyproject.toml constraints.txt
	@python=; for candidate in $(CANDIDATES); do \
	  if "$$candidate" -c '$(FITS)' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "quorate needs Python 3.11 or newer with its venv module, and none of" \
	    "'$(CANDIDATES)' is one: install it, or name one with 'make PYTHON=...'." >&2; exit 1; \
	fi; \
	"$$python" -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(READY)

demo: $(READY)
	@$(BIN)/python examples/demo.py $(FOLDER)

# One process a core; tests/conftest.py says who runs beside whom.
test: $(READY)
	@$(BIN)/pytest -n auto --maxprocesses 4

labs: $(READY)
	@$(BIN)/python tests/labs/table.py

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest tests/tidy

# Seeds in a row mix all workloads.  MARKS=1: an error if a mark in the source was never hit.
sim: $(READY)
	@$(BIN)/python -m quorate.simulator --seeds $(SEEDS) --start $(START) \
	  $(if $(MARKS),--require-marks)

planted: $(READY)
	@$(BIN)/python -m quorate.simulator.planted

fuzz: $(READY)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	  $(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[fuzz]' || \
	  echo "atheris cannot be installed here: no input is guided by coverage" >&2
	@PYTHONPATH=tests $(BIN)/python -m fuzz --inputs $(INPUTS)

bench: $(READY)
	@$(BIN)/python bench/run.py

clean:
	rm -rf .venv build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache \
	  .import_linter_cache .hypothesis
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +
