# `make` or `make help` lists the targets. No target needs root.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
UV := 0.13.8
BIN := .venv/bin
STAMP := .venv/.made-from-lock

##@ The stack
demo: $(STAMP) ## Start the stack, load data, train, predict; DATA=rows.csv, ROWS=20000, USE_CASE=vehicle_insurance
	@$(ASKED) $(BIN)/updraft demo $(if $(DATA),--data '$(DATA)') $(if $(ROWS),--rows '$(ROWS)') $(if $(USE_CASE),--use-case '$(USE_CASE)')

demo-drift: $(STAMP) ## Go round the loop: requests drift, an alarm, a training with its cause, a canary, bad feedback, a roll back
	@$(ASKED) $(BIN)/updraft demo-drift

up: $(STAMP) ## Start MongoDB, S3, Airflow and the service; AIRFLOW_PORT, SERVING_PORT, MONGODB_PORT, S3_PORT; STARTUP_SECONDS=900; WITH=postgres,kafka,mlflow
	@$(ASKED) $(BIN)/updraft up

# WITH= drops what an earlier WITH has added; without WITH the same stores start again.
ASKED = $(if $(filter-out undefined,$(origin WITH)),UPDRAFT_WITH='$(WITH)')

down: ## Stop every process; data stays
status: ## Show each process
clean: ## Stop every process and remove the stack's data (.updraft)
down status clean:
	@if [ -x $(BIN)/updraft ]; then $(BIN)/updraft $@; else echo 'There is no .venv, so no stack was started here.'; fi

login: ## Print the URLs and Airflow's login, of `make up` or of Docker
	@if docker compose ps --all --quiet secrets 2>/dev/null | grep -q .; then $(COMPOSE_SECRETS) login; \
	elif [ -x $(BIN)/updraft ]; then $(BIN)/updraft login; else echo 'There is no .venv, so no stack was started here.'; fi

##@ Docker
compose-up: ## Build the images, check .env, start everything: docker compose up --build --wait
	@UPDRAFT_COMMIT=$$(git rev-parse HEAD 2>/dev/null) docker compose build
	@$(COMPOSE_SECRETS) check
	@docker compose up --detach --wait

compose-down: ## Stop it; data stays in its volumes. `docker compose down --volumes` removes them
	@docker compose --profile '*' down

compose-test: $(STAMP) ## Run docker-compose.yaml under a name of its own: train, kill, start again; skipped without Docker
	@UPDRAFT_COMPOSE_TEST=1 $(BIN)/pytest -o log_cli=true -o log_cli_level=WARNING tests/compose $(ARGS)

COMPOSE_SECRETS = docker compose --progress quiet run --rm --no-deps -T secrets python -m updraft.compose_secrets /secrets

##@ Work on it
quick: $(STAMP) ## Run the tests that take about a minute: no server, no Airflow, no public data, nothing slow; ARGS='-k registry' picks some
	@$(PYTEST) --numprocesses auto -m 'not (server or airflow or stack or real or compose or slow or peers)' $(ARGS)

test: $(STAMP) ## Run all tests, also those that start the whole stack; ARGS='-k registry' picks some, ARGS=-n0 in one process
	@$(PYTEST) --numprocesses $$(($$(nproc) + 2)) $(ARGS)

# A worker for each core, and two more where three wait for Airflow: tests/support/lanes.py says which tests share one.
# pytest keeps what it rewrites only where bytecode may be written.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --dist loadscope --no-loadscope-reorder

lint: $(STAMP) ## Check style, formatting, types and use cases
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/updraft check

format: $(STAMP) ## Sort imports and format the code
	@$(BIN)/ruff check --fix --select I
	@$(BIN)/ruff format

bench: $(STAMP) ## Measure the pipeline beside the way of tutorials: seconds and memory of each stage; BIG=1 adds 4,000,000 rows, GROWTH=1 goes from 50,000 to 10,000,000; ROWS=50000, SIZES=1000,9000, AIRFLOW=0, OUT=folder, SCRATCH=folder
	@BIG='$(BIG)' GROWTH='$(GROWTH)' ROWS='$(ROWS)' SIZES='$(SIZES)' AIRFLOW='$(AIRFLOW)' OUT='$(OUT)' SCRATCH='$(SCRATCH)' $(BIN)/python -m tests.bench_pipeline

bench-memory: $(STAMP) ## Measure what fits take of memory, by estimator and columns, beside what is stated; ONLY=Ridge ROWS=50000,150000
	@ONLY='$(ONLY)' $(if $(ROWS),ROWS='$(ROWS)') $(BIN)/python -m tests.bench_training_memory

bench-sources: $(STAMP) ## Measure the sources with 400,000 and 4,000,000 rows: rows in a second, memory; a few minutes
	@$(BIN)/python -m tests.bench_sources

bench-etl: $(STAMP) ## Measure an ETL with 400,000 and 4,000,000 rows: each stage, and loads into each kind of store; half an hour
	@$(BIN)/python -m tests.bench_etl

bench-serving: $(STAMP) ## Measure the service beside MLflow, FastAPI, BentoML and a constant route; needs wrk; ROUNDS=3 SECONDS=3 MODELS=reference_forest,…
	@ROUNDS='$(ROUNDS)' SECONDS='$(SECONDS)' MODELS='$(MODELS)' OUT='$(OUT)' $(BIN)/python -m tests.bench_serving

pictures: $(STAMP) ## Take README's pictures again, from the running demo; needs chromium
	@$(BIN)/python docs/take_pictures.py

venv: $(STAMP) ## Create .venv from requirements-dev.txt

lock: $(STAMP) ## Compile requirements*.txt, also those of serving/; UPGRADE=1 takes the newest versions
	$(COMPILE) pyproject.toml --group serving-full --group embedded --group dev -o requirements-dev.txt
	$(COMPILE) pyproject.toml -c requirements-dev.txt -o requirements.txt
	$(COMPILE) --group serving-full -c requirements-dev.txt -o serving/requirements-full.txt
	$(COMPILE) --group serving --no-emit-package scipy -c requirements-dev.txt -o serving/requirements.txt
	$(COMPILE) --group shipper --no-emit-package scipy -c requirements-dev.txt -o serving/requirements-shipper.txt

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Does nothing while the stamp is newer than the requirements.
$(STAMP): requirements-dev.txt pyproject.toml
	@$(MAKE) --no-print-directory check
	@echo 'Creating .venv (once; a few minutes) …'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV)
	@VIRTUAL_ENV='$(CURDIR)/.venv' $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements-dev.txt
	@VIRTUAL_ENV='$(CURDIR)/.venv' $(BIN)/uv pip install --quiet --no-deps -e .
	@$(BIN)/python -m compileall -qq include serving dags plugins || true
	@touch $@

# Print the missing packages of Debian or Ubuntu; exit with 1 when there are any.
missing:
	@packages=; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || packages+=' python3'; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || packages+=' python3-venv'; \
	command -v git >/dev/null || packages+=' git'; \
	command -v mongod >/dev/null || $(PYTHON) -c 'import ctypes; ctypes.CDLL("libcurl.so.4")' 2>/dev/null \
		|| ldconfig -p 2>/dev/null | grep -q 'libcurl\.so\.4 ' || packages+=' libcurl4'; \
	$(PYTHON) -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null \
		|| ldconfig -p 2>/dev/null | grep -q 'libgomp\.so\.1 ' || packages+=' libgomp1'; \
	echo $$packages; test -z "$$packages"

check:
	@packages=$$($(MAKE) --no-print-directory missing 2>/dev/null) || \
		{ echo "Missing on this machine; install it with: sudo apt install $$packages" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is too old: Python 3.11 or newer is needed; make PYTHON=python3.12 names another" >&2; exit 1; }

.PHONY: demo demo-drift up down status login clean compose-up compose-down compose-test quick test lint format bench bench-etl bench-sources bench-serving pictures venv lock help missing check
