# make help lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: bench-survey
LITERATURE ?= ../shared/literature
bench-survey: ## Measure the survey agent on a world of reading lists
	PYTHONPATH=. $(PYTHON) benchmarks/bench_survey.py --topic "model merging" \
	  --world $(LITERATURE)/model_merging.jsonl $(LITERATURE)/federated_learning.jsonl
