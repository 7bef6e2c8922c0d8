# `make` alone prints what there is.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
SOURCE ?= s3://synthetic-archive/
CONFIG ?= config/local.toml
BIN := .venv/bin
READY := .venv/.ready
# The `aws` program, which the tests run, needs other versions than the project does: an environment within the other.
AWS := .venv/aws
AWS_READY := $(AWS)/.ready
AWS_LOCK := tests/aws_cli/requirements.lock

export UV_PYTHON_DOWNLOADS := never
# Every start would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
  --no-header --no-annotate --python-version 3.11 --upgrade

# A folder of videos is looked at for real; everything else is taken as the config file says.
ANALYST := $(if $(filter s3://% %.csv %.jsonl,$(SOURCE)),,MODWORKER_LOCAL__ANALYST=onnx)

SLOW := tests/docs/test_commands.py tests/test_benchmarks.py

.PHONY: help run test test-slow test-cluster check reference fuzz soak mutants lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY) ## moderate a made-up archive, or the videos of a folder: make run SOURCE=path/to/videos
	@$(ANALYST) $(BIN)/modworker backfill "$(SOURCE)" --config $(CONFIG) || { code=$$?; \
	  if [ $$code -eq 1 ]; then echo "(some videos could not be moderated; \`status\` shows why)"; else exit $$code; fi; }

test: $(READY) $(AWS_READY) ## run the tests, but for those that the next two targets run
	@$(BIN)/python -m pytest -n 4 --dist worksteal --ignore tests/cluster $(addprefix --ignore ,$(SLOW))

test-slow: $(READY) $(AWS_READY) ## type every command of the documents, and see that every benchmark runs
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(SLOW)

test-cluster: $(READY) ## run lanes and score frames on a Ray cluster of this machine, and kill nodes
	@$(BIN)/python -m pytest -W default tests/cluster

check: $(READY) ## lint, types, and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

reference: $(READY) ## write docs/reference anew from the code
	@$(BIN)/python -m tests.docs.reference

fuzz: $(READY) ## send 100,000 malformed requests to a local service: make fuzz SEED=2
	@$(BIN)/python -m tests.local.fuzz --requests 100000 $(if $(SEED),--seed $(SEED))

soak: $(READY) ## prove what docs/reliability.md says, for two hours: make soak SCALE=0.1
	@$(BIN)/python -m tests.soak $(if $(SCALE),--scale $(SCALE)) $(if $(SEED),--seed $(SEED))

mutants: $(READY) ## see that the tests catch wrong versions of the program
	@$(BIN)/python -m tests.mutants

lock: $(READY) ## pin every dependency anew, with hashes
	@$(COMPILE) --all-extras --group dev pyproject.toml --output-file requirements.lock
	@$(COMPILE) tests/aws_cli/requirements.in --output-file $(AWS_LOCK)

clean: ## remove the virtual environment and the data of `make run`
	@rm -rf .venv .modworker

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "modworker needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

$(AWS_READY): $(AWS_LOCK) | $(READY)
	@test -x $(AWS)/bin/python || $(BIN)/python -m venv --without-pip $(AWS)
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(AWS)/bin/python $(AWS_LOCK)
	@touch $@
