PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PLOTS_INSTALLED := .venv/.plots-installed

.PHONY: help install demo up test bench bench-small lint format clean

help:
	@echo 'make demo     materialize real data through Airflow, on embedded servers'
	@echo 'make up       the same with a whole Airflow and its UI, until Ctrl-C'
	@echo 'make test     the tests'
	@echo 'make bench    measurements, beside Feast and others: benchmarks/README.md'
	@echo 'make lint     formatting, lint rules, types'
	@echo 'make install  the environment alone, in .venv'

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, for example: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo 'Installing into .venv (a minute or two, once)'
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	@exec $(BIN)/python -m demo

up: $(INSTALLED)
	@exec $(BIN)/python -m demo.up

test: $(INSTALLED)
	@exec $(BIN)/python -m pytest -n logical --dist=loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

bench: $(PLOTS_INSTALLED)
	@exec $(BIN)/python -m benchmarks

bench-small: $(INSTALLED)
	@BENCH_SMALL=1 exec $(BIN)/python -m benchmarks

$(PLOTS_INSTALLED): $(INSTALLED)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .servers .node build dist .coverage .mypy_cache .pytest_cache .ruff_cache
