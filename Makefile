# make help lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
