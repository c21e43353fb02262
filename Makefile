PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PLOTS_INSTALLED := .venv/.plots-installed
FUZZ_INSTALLED := .venv/.fuzz-installed
OLDEST_INSTALLED := .oldest/.installed

OLDEST_TESTED := $(addprefix tests/, acceptance/test_airflow.py common/test_retry_budget.py faults/test_redis_faults.py \
	layouts/test_hash_layout.py offline/test_append.py offline/test_skip_scan.py online/read/test_many_readers.py \
	online/read/test_reading.py online/redis/test_clients.py online/write/test_writing_cluster.py \
	provider/test_cluster_connection.py provider/test_examples.py provider/test_hooks.py provider/test_operators.py \
	provider/test_push_operator.py provider/test_redis_address.py provider/test_sentinel.py test_errors.py \
	test_public_surface.py)

# What takes minutes, because Airflow's own processes run DAGs.
AIRFLOW_TESTED := $(addprefix tests/acceptance/test_, \
	asset_events.py beside_airflow.py operators.py secrets.py sensors.py whole_airflow.py)

# What takes minutes, because servers are broken, throttled and flooded.
FAULTS_TESTED := tests/faults $(addprefix tests/, layouts/test_fuzz_encoding.py layouts/test_fuzz_packing.py \
	online/read/test_fuzz_reading.py online/state/test_fuzz_state.py online/write/test_writing_cluster.py \
	types/test_fuzz_coercion.py)

# What needs PgBouncer: apt-get install pgbouncer.
POOLER_TESTED := tests/offline/test_pooler.py

RUN_TESTS = exec $(BIN)/python -m pytest -n logical --dist=loadfile --no-loadscope-reorder

.PHONY: help install demo up test test-faults test-airflow test-oldest test-pooler soak fuzz bench bench-small docs lint format clean

help:
	@echo 'make demo         materialize real data through Airflow, on embedded servers'
	@echo 'make up           the same with a whole Airflow and its UI, until Ctrl-C'
	@echo 'make test         the tests'
	@echo 'make test-faults  the tests in which stores fail, processes are killed and input is hostile'
	@echo 'make test-airflow the tests in which Airflow itself runs DAGs'
	@echo 'make test-oldest  what meets Airflow, with the oldest Airflow and libraries that we support'
	@echo 'make test-pooler  the tests behind PgBouncer, of the Debian package pgbouncer'
	@echo 'make soak         all that happens to a view, at once, for MINUTES=30: fails where anything grows'
	@echo 'make fuzz         damaged rows that coverage leads to, for MINUTES=30 in each layout'
	@echo 'make bench        measurements, beside Feast and others: benchmarks/README.md'
	@echo 'make docs         write measured figures into the pages that quote them'
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

test: $(INSTALLED)
	@$(RUN_TESTS) --cov --cov-report=term:skip-covered $(addprefix --ignore=,$(AIRFLOW_TESTED) $(FAULTS_TESTED) $(POOLER_TESTED)) $(PYTEST_ARGS)

test-faults: $(INSTALLED)
	@$(RUN_TESTS) $(FAULTS_TESTED) $(PYTEST_ARGS)

test-airflow: $(INSTALLED)
	@$(RUN_TESTS) $(AIRFLOW_TESTED) $(PYTEST_ARGS)

# What meets Airflow and libraries whose interfaces have changed, on the versions of September 2025. "airflow dags test"
# of that time does not find modules beside a DAG file.
test-oldest: $(OLDEST_INSTALLED)
	@PYTHONPATH=$(CURDIR)/dags_examples exec .oldest/bin/python -m pytest -n logical --dist=loadfile $(OLDEST_TESTED) $(PYTEST_ARGS)

$(OLDEST_INSTALLED): pyproject.toml engine/pyproject.toml constraints-oldest.txt
	@$(PYTHON) -m venv --clear .oldest
	@.oldest/bin/pip install --quiet --quiet --disable-pip-version-check --constraint constraints-oldest.txt --editable ./engine --editable '.[test]'
	@touch $@

test-pooler: $(INSTALLED)
	@$(RUN_TESTS) --dist=load $(POOLER_TESTED) $(PYTEST_ARGS)

MINUTES ?= 30

soak: $(INSTALLED)
	@exec $(BIN)/python -m tests.support.soak --minutes $(MINUTES)

fuzz: $(FUZZ_INSTALLED)
	@for layout in hash json feast; do \
		$(BIN)/python -m tests.support.fuzz $$layout -max_total_time=$$((60 * $(MINUTES))) || exit; done

$(FUZZ_INSTALLED): $(INSTALLED)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable ./engine --editable '.[fuzz]'
	@touch $@

bench: $(PLOTS_INSTALLED)
	@exec $(BIN)/python -m benchmarks

bench-small: $(INSTALLED)
	@BENCH_SMALL=1 exec $(BIN)/python -m benchmarks

docs: $(INSTALLED)
	@exec $(BIN)/python -m benchmarks.figures

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
	rm -rf .venv .oldest .servers .node build dist .coverage .mypy_cache .pytest_cache .ruff_cache
