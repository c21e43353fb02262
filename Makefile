PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PLOTS_INSTALLED := .venv/.plots-installed
FUZZ_INSTALLED := .venv/.fuzz-installed
OLDEST_INSTALLED := .oldest/.installed
BETWEEN_INSTALLED := .between/.installed
DEBIAN_POSTGRES := /usr/lib/postgresql/15/bin
DEBIAN_REDIS := /usr/bin/redis-server

# One file after the other on each core; files with the most tests start first.
RUN_TESTS = $(BIN)/python -m pytest -n logical --dist=loadfile

.PHONY: help install demo up up-distributed test test-slow test-faults test-airflow test-oldest test-between test-servers test-pooler test-debian coverage soak hammer fuzz bench bench-small dist docs screenshots lint format clean

help:
	@echo 'make demo         materialize real data through Airflow, on embedded servers'
	@echo 'make up           the same with a whole Airflow and its UI, until Ctrl-C'
	@echo 'make up-distributed a full run in parts: two Celery workers, a Redis Cluster, until Ctrl-C'
	@echo 'make test         the tests that every change needs'
	@echo 'make test-slow    the tests beside Feast and dbt, of the commands, of planted faults, and of both distributions in clean environments'
	@echo 'make test-faults  the tests in which stores fail, processes are killed and input is hostile'
	@echo 'make test-airflow the tests in which Airflow itself runs DAGs, or is looked at (Debian packages chromium, chromium-driver)'
	@echo 'make test-oldest  the tests that meet Airflow, with the oldest Airflow, libraries and Redis that we support'
	@echo 'make test-between the tests of the provider, with the Airflow between the oldest and the newest'
	@echo 'make test-servers what may differ by Redis server, on Redis 6.2 and 8.2; all other tests are on Valkey 8.1'
	@echo 'make test-pooler  the tests behind PgBouncer (Debian package pgbouncer)'
	@echo 'make test-debian  what meets Postgres, and what may differ by Redis server, on Debian packages postgresql-15 and redis-server'
	@echo 'make coverage     the tests of make test, and the lines that they do not run'
	@echo 'make soak         everything that happens to a view, at once, for MINUTES=30: fails where anything grows'
	@echo 'make hammer       readers of three views beside builds, switches and removals, for MINUTES=30, and 100 runs killed'
	@echo 'make fuzz         damaged rows that coverage leads to, for MINUTES=30 in each layout'
	@echo 'make bench        measurements, beside Feast and others: benchmarks/README.md'
	@echo 'make bench-small  the same, as small as can be: whether the benchmark works'
	@echo 'make docs         write measured figures, licences, and what commands print, into the pages that show them'
	@echo 'make dist         both distributions, in dist/: built, their metadata checked, the licences of what they install'
	@echo 'make screenshots  write the pictures of the pages in Airflow (Debian packages chromium, chromium-driver)'
	@echo 'make lint         formatting, lint rules, walls between rooms, types'
	@echo 'make install      the environment alone, in .venv'

install: $(INSTALLED)

$(INSTALLED): pyproject.toml engine/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, for example: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo 'Installing into .venv (a minute or two, once)'
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable ./engine --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	@exec $(BIN)/python -m demo

up: $(INSTALLED)
	@exec $(BIN)/python -m demo.up

up-distributed: $(INSTALLED)
	@exec $(BIN)/python -m demo.distributed

test: $(INSTALLED)
	@exec $(RUN_TESTS) -m 'not (airflow or faults or pooler or slow)' $(PYTEST_ARGS)

test-slow: $(INSTALLED)
	@exec $(RUN_TESTS) -m slow $(PYTEST_ARGS)

test-faults: $(INSTALLED)
	@exec $(RUN_TESTS) --dist=worksteal -m faults $(PYTEST_ARGS)

test-airflow: $(INSTALLED)
	@exec $(RUN_TESTS) -m airflow $(PYTEST_ARGS)

# "airflow dags test" of the oldest Airflow does not find modules beside a DAG file.
test-oldest: $(OLDEST_INSTALLED)
	@TEST_REDIS=redis-6.2 PYTHONPATH=$(CURDIR)/dags_examples exec $(subst $(BIN),.oldest/bin,$(RUN_TESTS)) -m oldest $(PYTEST_ARGS)

$(OLDEST_INSTALLED): pyproject.toml engine/pyproject.toml constraints-oldest.txt
	@$(PYTHON) -m venv --clear .oldest
	@.oldest/bin/pip install --quiet --quiet --disable-pip-version-check --constraint constraints-oldest.txt --editable ./engine --editable '.[test]'
	@touch $@

# A smoke run: the oldest and the newest Airflow have all their tests. Identities meet the clouds' libraries, not Airflow.
test-between: $(BETWEEN_INSTALLED)
	@exec $(subst $(BIN),.between/bin,$(RUN_TESTS)) tests/provider \
		--ignore=tests/provider/test_dag_versions.py --ignore=tests/provider/hooks/test_identities.py \
		tests/acceptance/test_airflow.py::test_the_example_dag_materializes_and_finds_fresh_features $(PYTEST_ARGS)

$(BETWEEN_INSTALLED): pyproject.toml engine/pyproject.toml constraints-between.txt
	@$(PYTHON) -m venv --clear .between
	@.between/bin/pip install --quiet --quiet --disable-pip-version-check --constraint constraints-between.txt --editable ./engine --editable '.[test]'
	@touch $@

# On Redis 6.2, what test-oldest does not run there.
test-servers: $(INSTALLED)
	@TEST_REDIS=redis-6.2 TEST_LAYOUTS=msgpack $(RUN_TESTS) --dist=worksteal -m 'servers and not oldest' $(PYTEST_ARGS)
	@TEST_REDIS=redis-8.2 TEST_LAYOUTS='msgpack hash' exec $(RUN_TESTS) --dist=worksteal -m servers $(PYTEST_ARGS)

test-pooler: $(INSTALLED)
	@exec $(RUN_TESTS) --dist=load -m pooler $(PYTEST_ARGS)

# What may differ by Redis server, and what meets Postgres and is not slow; in one layout. Redis 7.0 takes its collation
# from the environment.
ON_DEBIAN = LC_ALL=en_US.UTF-8 TEST_LAYOUTS=msgpack TEST_POSTGRES_PROGRAMS=$(DEBIAN_POSTGRES) TEST_REDIS=$(DEBIAN_REDIS)

test-debian: $(INSTALLED)
	@$(ON_DEBIAN) $(RUN_TESTS) --dist=worksteal -m servers $(addprefix tests/,faults layouts online) $(PYTEST_ARGS)
	@$(ON_DEBIAN) exec $(RUN_TESTS) --dist=worksteal -m 'servers or not (airflow or faults or pooler or slow)' \
		$(addprefix tests/,materialization offline types) $(PYTEST_ARGS)

coverage: $(INSTALLED)
	@exec $(RUN_TESTS) --cov --cov-report=term:skip-covered -m 'not (airflow or faults or pooler or slow)' $(PYTEST_ARGS)

MINUTES ?= 30

hammer: $(INSTALLED)
	@$(BIN)/python -m tests.endurance.hammer --minutes $(MINUTES)
	@KILLS=100 exec $(BIN)/python -m pytest -n 0 tests/faults/test_killed_builds.py $(PYTEST_ARGS)

soak: $(INSTALLED)
	@exec $(BIN)/python -m tests.endurance.soak --minutes $(MINUTES)

fuzz: $(FUZZ_INSTALLED)
	@for layout in msgpack hash json feast; do \
		$(BIN)/python -m tests.endurance.fuzz $$layout -max_total_time=$$((60 * $(MINUTES))) || exit; done

$(FUZZ_INSTALLED): $(INSTALLED)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable ./engine --editable '.[fuzz]'
	@touch $@

bench: $(PLOTS_INSTALLED)
	@exec $(BIN)/python -m benchmarks

bench-small: $(INSTALLED)
	@BENCH_SMALL=1 exec $(BIN)/python -m benchmarks

docs: $(INSTALLED)
	@$(BIN)/python -m benchmarks.figures
	@$(BIN)/python -m demo.licences
	@exec $(BIN)/python -m demo.command_guide

dist: $(INSTALLED)
	@rm -rf dist
	@for project in engine .; do (cd $$project && exec $(CURDIR)/$(BIN)/python -m hatchling build --directory $(CURDIR)/dist) || exit; done
	@$(BIN)/python -m twine check --strict dist/*
	@exec $(BIN)/python -m demo.licences --list

screenshots: $(INSTALLED)
	@exec $(BIN)/python -m demo.screenshots

$(PLOTS_INSTALLED): $(INSTALLED)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable ./engine --editable '.[bench]'
	@touch $@

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .oldest .between .dbt .servers .node build dist .coverage .mypy_cache .pytest_cache .ruff_cache
