# make help lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

bench-grade: $(READY) ## compare the grader with EvalPlus 0.3.1; DATA names the folder of the benchmark files
	@$(BIN)/python -m benchmarks.bench_grade --data $(or $(DATA),../shared/data)
