# Every target makes .venv by itself when it is needed; nothing but Python 3.11 and make is.
.DEFAULT_GOAL := help
.PHONY: help setup demo test labs lint sim planted bench clean

SEEDS ?= 200
START ?= 1
# Simulations of files and word count cost more: a tenth as many, and at least 5.
WORDS_SEEDS ?= $(shell echo $$(( $(SEEDS) < 50 ? 5 : $(SEEDS) / 10 )))
FOLDER ?=

# PYTHON=/some/python3.12 makes the environment with that one.
CANDIDATES := $(or $(PYTHON),python3.11 python3)
BIN := .venv/bin
READY := .venv/.ready
FITS := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

help:
	@echo "make setup     the environment in .venv: the package and what it is developed with"
	@echo "make demo      three nodes count words while one is killed (FOLDER=... for other text)"
	@echo "make test      all tests"
	@echo "make labs      the Raft tests of the MIT course labs: a table of bounds and figures"
	@echo "make lint      style, types, import contracts, sizes and documents"
	@echo "make sim       simulated clusters under faults (SEEDS=$(SEEDS) START=$(START))"
	@echo "make planted   bugs planted on purpose, each of which the simulation must catch"
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

test: $(READY)
	@$(BIN)/pytest

labs: $(READY)
	@$(BIN)/python tests/labs/table.py

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest tests/tidy

sim: $(READY)
	@failed=0; \
	$(BIN)/python -m quorate.simulator --seeds $(SEEDS) --start $(START) || failed=1; \
	echo "files and word count:"; \
	$(BIN)/python -m quorate.simulator --workload words --seeds $(WORDS_SEEDS) \
	  --start $(START) || failed=1; \
	exit $$failed

planted: $(READY)
	@$(BIN)/python -m quorate.simulator.planted

bench: $(READY)
	@$(BIN)/python bench/run.py

clean:
	rm -rf .venv build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache \
	  .import_linter_cache .hypothesis
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +
