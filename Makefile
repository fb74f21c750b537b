# One way to do each thing. Needs GNU make and Python 3.11 to 3.13; everything else is installed into .venv/.
# Another interpreter: make test PYTHON=python3.13. Arguments for a program: make demo ARGS=--help.

SHELL := /bin/sh
PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# A file's tests stay together, because their shared fixtures are slow to start; tests/conftest.py says which files come first.
IN_PROCESSES := -n 4 --dist loadfile --no-loadscope-reorder
# Large packages that the demo and the UI do not need: most of the download.
ONLY_FOR_TESTS := mypy playwright pyspark ruff uv
# A stamp is written last, so an environment whose making was interrupted is made again.
DEPENDENCIES := $(VENV)/.dependencies-installed
RUNS := $(VENV)/.ready
READY := $(VENV)/.tests-ready
LIVE := .live/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo ui test suite quick test-compat live mutants lint docs bench lock wheel release clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(RUNS) ## Fine-tune, deploy and evaluate a model offline: the example DAG in Airflow against Local Bedrock.
	@exec $(BIN)/python -m scripts.demo $(ARGS)

ui: $(RUNS) ## Start Airflow's UI with the example DAGs and Local Bedrock, on loopback; Ctrl-C stops both.
	@exec $(BIN)/python -m scripts.ui $(ARGS)

test: $(READY) ## Check everything: lint and suite, side by side.
	@exec $(MAKE) --no-print-directory --jobs=2 lint suite

suite: $(READY) ## Run the whole test suite, in four processes: tests that start Airflow wait most of the time.
	@exec $(BIN)/python -m pytest $(IN_PROCESSES) $(ARGS)

quick: $(READY) ## Run the tests that need no Airflow and no server: under two minutes, for use while you work.
	@exec $(BIN)/python -m pytest $(IN_PROCESSES) $(ARGS) tests/unit

test-compat: $(READY) ## Run the tests under managed Airflow's pins; ARGS: a row of docs/compatibility.md, or all.
	@exec $(BIN)/python -m scripts.compat $(ARGS)

live: $(READY) $(LIVE) ## Play what people, kills and Clears do to jobs in a real Airflow; the tables go to docs/live.md.
	@exec $(BIN)/python -m scripts.live --write $(ARGS)

mutants: $(READY) ## Change the package in one place at a time, and say which changes no test notices; ARGS=--help.
	@exec $(BIN)/python -m scripts.mutants $(ARGS)

lint: $(READY) ## Check style, format, words and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/prose.py README.md CHANGELOG.md CONTRIBUTING.md docs airflow_bedrock dags tests scripts benchmarks
	$(BIN)/mypy

docs: $(READY) ## Build the documentation's site into build/site/, and check its links; ARGS=serve shows it while you write.
	@NO_MKDOCS_2_WARNING=1 exec $(BIN)/python -m mkdocs $(or $(ARGS),build --strict)

bench: $(READY) ## Run all benchmarks; the figures go to benchmarks/results/.
	@exec $(BIN)/python -m benchmarks $(ARGS)

lock: ## Write constraints.txt and the compat pins again; ARGS=--upgrade moves to the newest versions.
	@PYTHON="$(PYTHON)" exec scripts/lock.sh $(ARGS)

wheel: $(READY) ## Build the wheel and the source distribution into dist/.
	@exec $(BIN)/python -m build --no-isolation --outdir dist

release: $(READY) ## Build what is published into dist/, and check it: wheel, source distribution, bill of materials.
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m scripts.sbom dist/airflow-bedrock.cdx.json

clean: ## Remove what make made: .venv, .venv-compat, .live, .demo, .ui, dist and caches.
	rm -rf $(VENV) .venv-compat .live .demo .ui .cache dist build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find airflow_bedrock benchmarks dags scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEPENDENCIES): constraints.txt
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit( \
		"airflow-bedrock needs Python 3.11 to 3.13; $(PYTHON) is %s. Name another, for example: " \
		"make test PYTHON=python3.12" % sys.version.split()[0])'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	@awk '!/^ / {split($$1, pin, "=="); keep = !index(" $(ONLY_FOR_TESTS) ", " " pin[1] " ")} keep' $< >$(VENV)/demo.txt
	@echo "Installing $$(grep -c == $(VENV)/demo.txt) packages into $(VENV): some minutes, this once."
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/demo.txt
	@touch $@

# Packages that the image of docker-compose.yaml has in addition to this environment; only what needs Celery sees them.
$(LIVE): scripts/live/requirements.txt $(DEPENDENCIES)
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --target $(@D) -r $<
	@touch $@

$(RUNS): $(DEPENDENCIES) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(READY): $(RUNS) constraints.txt
	@echo "Installing what tests, documentation and releases need in addition, this once."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r constraints.txt
	@touch $@
