# Two commands are enough: `make run` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run test lint format lock clean sandbox-env sandbox-image sandbox-lock docker-engine docker-engine-down \
  bench-grade bench-generate bench-merge bench-candidate results-merge bench-survey bench-optimize bench-statistics

VENV := .venv
BIN := $(VENV)/bin
UV := .uv/bin/uv
READY := $(VENV)/.ready
SANDBOX_ENV := .state/agent-server
SANDBOX_READY := $(SANDBOX_ENV)/.ready
# Room that the packages need, torch's CUDA build above all.
DISK_GB := 9
# Each process of the tests has a database and models of its own.
TEST_PROCESSES ?= 4
# Where nobody may write bytecode every process compiles what it imports anew: 8.6 s in place of 5.6 for a worker's models.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 20

setup: $(READY) ## install everything into .venv, from the lock file

$(READY): requirements.lock pyproject.toml
	@set -euo pipefail; \
	python=; \
	for p in python3.12 python3.13 python3 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[23]*/bin/python; do \
	  if "$$p" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info < (3, 14))' 2>/dev/null; then python=$$p; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "make: Python 3.12 or 3.13 is needed and was not found. Install one (Debian: apt install python3.12 python3.12-venv; or pyenv install 3.12) and run make again." >&2; exit 3; fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then echo "make: $$python lacks the venv module. Install it (Debian: apt install python3-venv) and run make again." >&2; exit 3; fi; \
	free=$$(df -Pk . | awk 'NR==2 {print int($$4 / 1048576)}'); \
	if [ ! -x $(BIN)/python ] && [ "$$free" -lt $(DISK_GB) ]; then echo "make: about $(DISK_GB) GB of disk are needed here and $$free GB are free. Make room and run make again." >&2; exit 3; fi; \
	echo "Using $$("$$python" -c 'import sys; print(sys.executable, sys.version.split()[0])'); installing packages (minutes the first time) …"; \
	[ -x $(UV) ] || { "$$python" -m venv .uv && .uv/bin/pip install -q --disable-pip-version-check uv; }; \
	[ -x $(BIN)/python ] || $(UV) venv -q --python "$$("$$python" -c 'import sys; print(sys.executable)')" $(VENV); \
	$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements.lock; \
	$(UV) pip install -q --python $(BIN)/python --no-deps -e .; \
	touch $(READY)

run: $(READY) ## run the worked example end to end: Postgres, API, executor, worker, one run, report
	@$(BIN)/research-agent up --run examples/smollm-merge/sow.yaml

test: $(READY) $(SANDBOX_READY) ## run all tests, OpenHands in its sandboxes among them
	@$(BIN)/python -m pytest -q -n auto --maxprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

lint: $(READY) ## check style, types and the architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(READY) ## format the code
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

lock: ## resolve pyproject.toml into requirements.lock anew
	@$(UV) pip compile -q --universal --python-version 3.12 pyproject.toml --all-extras --group dev --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" -o requirements.lock

BASE_IMAGE := python:3.12-slim

sandbox-env: $(SANDBOX_READY) ## install OpenHands' agent server for bubblewrap sandboxes (about 700 MB)

$(SANDBOX_READY): docker/agent-server.lock | $(READY)
	@echo "Installing OpenHands' agent server into $(SANDBOX_ENV) (about a minute the first time) …"
	@[ -x $(SANDBOX_ENV)/bin/python ] || $(UV) venv -q --python "$$($(BIN)/python -c 'import sys; print(sys.base_prefix)')/bin/python3" $(SANDBOX_ENV)
	@$(UV) pip install -q --compile-bytecode --python $(SANDBOX_ENV)/bin/python --require-hashes -r docker/agent-server.lock
	@touch $(SANDBOX_READY)

sandbox-image: ## build the image of docker sandboxes (BASE_IMAGE=… to build from another)
	@docker build -t research-agent-openhands -f docker/openhands.Dockerfile --build-arg BASE_IMAGE=$(BASE_IMAGE) .

docker-engine: ## install and start a Docker engine from Debian's packages, with a base image for tests (root)
	@docker/local-engine.sh up

docker-engine-down: ## stop that engine and remove its images
	@docker/local-engine.sh down

sandbox-lock: ## resolve the agent server's environment into docker/agent-server.lock anew
	@$(UV) pip compile -q --universal --python-version 3.12 --group agent-server --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make sandbox-lock" -o docker/agent-server.lock

clean: ## remove the environment and the state (runs, database, artifacts)
	@rm -rf $(VENV) .uv .state .mypy_cache .pytest_cache .ruff_cache

# Measurements: each ends with one JSON line (or one a method) and names its machine. DATA and LITERATURE name the folders
# of benchmark files and reading lists.
DATA ?= ../shared/data
LITERATURE ?= ../shared/literature

bench-grade: $(READY) ## compare the grader with EvalPlus 0.3.1
	@$(BIN)/python -m benchmarks.bench_grade --data $(DATA)

bench-generate: $(READY) ## compare our generation with plain generate at batch 10
	@$(BIN)/python -m benchmarks.bench_generate

bench-merge: $(READY) ## time every merging method (CPU: against mergekit's command line; GPU: at Gemma-2-9B size)
	@PYTHONPATH=. $(BIN)/python benchmarks/bench_merge.py

bench-candidate: $(READY) ## time one candidate from recipe to pass@1 (GPU: at Gemma-2-9B size, with vLLM where it is installed; ENGINE=transformers, PLACEMENT=pinned)
	@[ -f .state/candidate/tokenizer.json ] || $(BIN)/python -m benchmarks.bench_candidate --prepare $(DATA)
	@$(BIN)/python -m benchmarks.bench_candidate $(if $(ENGINE),--engine $(ENGINE)) $(if $(PLACEMENT),--placement $(PLACEMENT))

results-merge: $(READY) ## score every applicable method on the small experts; write benchmarks/results/merge-small.md
	@$(BIN)/python -m benchmarks.results_merge

bench-survey: $(READY) ## measure the survey agent on a world of reading lists
	@PYTHONPATH=. $(BIN)/python benchmarks/bench_survey.py --topic "model merging" \
	  --world $(LITERATURE)/model_merging.jsonl $(LITERATURE)/federated_learning.jsonl

bench-optimize: $(READY) ## compare the search with plain CMA-ES (REAL=result.json of benchmarks.optimize_real, made on a GPU)
	@$(BIN)/python -m benchmarks.bench_optimize $(if $(REAL),--real $(REAL))

bench-statistics: $(READY) ## simulate coverage and error rates of the statistics
	@$(BIN)/python -m benchmarks.bench_statistics
