# Every recipe line is one command you could type yourself. `make` alone lists the targets.

PYTHON ?= $(shell for python in python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin
READY := .venv/.ready

# uv asks for a mirror under names of its own; a machine set up for pip has given these.
space := $() $()
comma := ,
ifdef PIP_INDEX_URL
export UV_INDEX_URL ?= $(PIP_INDEX_URL)
endif
ifdef PIP_EXTRA_INDEX_URL
export UV_EXTRA_INDEX_URL ?= $(PIP_EXTRA_INDEX_URL)
endif
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_FIND_LINKS)))
endif
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint fmt types unit proof chaos drills fuzz bench up down lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make the environment in .venv (first time: about 3 GB of download, most of it torch)

demo: setup ## run the whole loop and watch it; DATA=path.parquet takes your own events
	$(BIN)/headrace demo $(if $(DATA),--data $(DATA))

test: lint ## check and test everything, on real servers
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not e2e"
	$(BIN)/python -m pytest -m e2e

lint: types ## ruff, format, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup ## mypy, strict
	$(BIN)/mypy

unit: setup ## the fast tests, without servers
	$(BIN)/python -m pytest -m "not integration and not e2e and not slow"

proof: setup ## compare ten million values of every engine with the slow oracle, bit for bit (about 5 minutes)
	HEADRACE_EQUALITY_VALUES=10000000 $(BIN)/python -m pytest -s --timeout 3600 tests/property/test_equality.py

fuzz: setup ## throw a million hostile messages at the decoders, and requests at the API; INPUTS=n, REQUESTS=n
	$(BIN)/python -m tests.fuzz --inputs $(or $(INPUTS),1000000)
	HEADRACE_FUZZ_REQUESTS=$(or $(REQUESTS),2000) $(BIN)/python -m pytest --timeout 3600 tests/fuzz

chaos: setup ## let the stream die at random operations; SCHEDULES=1000 of them, SEED=1 the first
	HEADRACE_CHAOS_SCHEDULES=$(or $(SCHEDULES),1000) HEADRACE_CHAOS_SEED=$(or $(SEED),1) $(BIN)/python -m pytest --timeout 7200 tests/drills/test_crashes.py

drills: setup ## kill real servers and workers in random order; SCHEDULES=20 of them, SEED=1 the first, WORKERS=3 share each
	HEADRACE_DRILL_SCHEDULES=$(or $(SCHEDULES),20) HEADRACE_DRILL_SEED=$(or $(SEED),1) HEADRACE_DRILL_WORKERS=$(or $(WORKERS),0) $(BIN)/python -m pytest --timeout 7200 tests/drills/test_real_servers.py

fmt: setup ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## measure the stream beside Faust in the same run
	$(BIN)/headrace bench stream

up: setup ## start the embedded Kafka, Valkey and Temporal, and the MLflow page
	$(BIN)/headrace up --mlflow

down: setup ## stop them; data stays
	$(BIN)/headrace down

lock: $(BIN)/uv ## bring requirements.lock up to date with pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --quiet -o requirements.lock

$(READY): requirements.lock pyproject.toml | $(BIN)/uv
	@echo "Installing the locked packages. The first time this downloads about 3 GB, most of it torch with CUDA."
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/uv: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 was not found; install one, or name it: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
