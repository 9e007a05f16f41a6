# make help lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: bench-merge
bench-merge: ## time every merging method (CPU: against mergekit's command line; GPU: at Gemma-2-9B size)
	python benchmarks/bench_merge.py
