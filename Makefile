# Only Python 3.11 or later and make must be installed. The first use of a target installs everything
# else into .venv, or what the demo needs into .venv-demo.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_VENV := .venv-demo
DEMO_READY := $(DEMO_VENV)/.ready
NEWEST := .venv-newest
NEWEST_READY := $(NEWEST)/.ready
PEERS_VENV := .venv-peers
PEERS_READY := $(PEERS_VENV)/.ready
# How many processes run tests in parallel; each runs whole files.
export WORKERS ?= 2

# The tests of code that depends on the version of Python.
CORE_TESTS := tests/ledger tests/fleet tests/callsites tests/watching tests/readings tests/adapters tests/contract tests/behaviour tests/stateful

.PHONY: help demo test check format generate oldest matrix newest-python pythons peers soak \
	every-bytecode mutate test-alerts-mutants bench attack docs clean

help:
	@echo "make demo      run real pools under load on an embedded PostgreSQL, with live metrics"
	@echo "make test      run all tests, against real servers"
	@echo "make check     run ruff (format and lint), import-linter, and mypy --strict"
	@echo "make format    let ruff format the code and fix what it can"
	@echo "make soak      do 200,000 random operations on every kind of pool (SOAK=...)"
	@echo "make every-bytecode  interrupt and pause poolscope at each of its bytecodes in turn"
	@echo "make mutate    show that the tests find deliberate faults"
	@echo "make test-alerts-mutants  show that the promtool tests find changes of the rules"
	@echo "make attack    attack what poolscope serves and shares, for some 20 minutes (ATTACK='silent')"
	@echo "make bench     measure what poolscope costs, beside alternatives (BENCH='--quick sqlalchemy')"
	@echo "make oldest    run the tests with the oldest supported libraries"
	@echo "make matrix    run the tests with every supported minor release of the libraries"
	@echo "make newest-python  run the core tests with the newest Python that is available"
	@echo "make pythons   run the core tests with each installed Python, from 3.11 on"
	@echo "make peers     run the libraries' own tests unwatched and watched (PEERS='--run asyncpg')"
	@echo "make generate  write the generated files: pages of docs, dashboards and alerts"
	@echo "make docs      build the site of the documentation in site/ (DOCS=serve shows it while you write)"
	@echo "make clean     remove .venv, .venv-demo and the files of tools"
	@echo
	@echo "DEMO='--seconds 20' make demo and TESTS='tests/ledger -x' make test pass options."
	@echo "WORKERS=0 make test runs the tests in one process, for a debugger."

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "poolscope needs Python 3.11 or later; $(PYTHON) is older (set PYTHON=...)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		pip hatchling editables setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--no-build-isolation --editable . --group dev
	@touch $@

# Of what pip says: the packages, as each is looked up or downloaded, and when all are.
define NAMES_OF_PACKAGES
/^Collecting/ {
  sub(/[^[:alnum:]._-].*/, "", $$2)
  if (width + length($$2) > 90) { printf "\n"; width = 0 }
  width += length($$2) + 1
  printf " %s", $$2
  fflush()
}
/^Installing collected packages/ { printf "\nUnpacking them ...\n"; fflush() }
endef
export NAMES_OF_PACKAGES

# It says what it does, as it takes half a minute the first time.
$(DEMO_READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "poolscope needs Python 3.11 or later; $(PYTHON) is older (set PYTHON=...)"; exit 1; }
	@echo "Making a virtual environment in $(DEMO_VENV) ..."
	@$(PYTHON) -m venv --clear $(DEMO_VENV)
	@echo "Installing what builds poolscope ..."
	@$(DEMO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		hatchling editables
	@echo "Installing poolscope with a web server, an embedded PostgreSQL, and their drivers:"
	@$(DEMO_VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt \
		--no-build-isolation --editable '.[demo]' | awk "$$NAMES_OF_PACKAGES"
	@test -x $(DEMO_VENV)/bin/poolscope # which is not there if pip has failed
	@touch $@

demo: $(DEMO_READY)
	@$(DEMO_VENV)/bin/poolscope demo $(DEMO)

test: $(READY)
	scripts/install-tools.sh
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--group servers || echo "without a C compiler there is no uWSGI; its tests are skipped"
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(TESTS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: $(READY)
	$(BIN)/python scripts/soak.py $(SOAK)

attack: $(READY)
	$(BIN)/python -m scripts.attack $(ATTACK)

bench: $(READY)
	$(BIN)/python benchmarks/exporter_scrape.py
	$(BIN)/python benchmarks/strange_files.py
	$(BIN)/python -m benchmarks.scrapers
	$(BIN)/python benchmarks/run.py $(BENCH)

every-bytecode: $(READY)
	BYTECODE_STEP=1 $(BIN)/python -m pytest -n $(WORKERS) -k bytecode --dist loadfile --timeout 7200 $(or $(TESTS),tests/ledger tests/adapters)

mutate: $(READY)
	$(BIN)/python scripts/mutate.py

test-alerts-mutants: $(READY)
	$(BIN)/python -m scripts.mutate_alerts

oldest: $(READY)
	BYTECODE_STEP=$${BYTECODE_STEP:-29} $(BIN)/nox --session 'tests(oldest)' -- $(TESTS)

matrix: $(READY)
	$(BIN)/nox --session tests -- $(TESTS)

$(NEWEST_READY): pyproject.toml constraints.txt scripts/newest-python.sh
	python=$$(PYTHON='$(PYTHON)' scripts/newest-python.sh) && "$$python" -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		pip hatchling editables setuptools
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--no-build-isolation --editable . --group dev
	@touch $@

newest-python: $(NEWEST_READY)
	$(NEWEST)/bin/python --version
	BYTECODE_STEP=$${BYTECODE_STEP:-29} $(NEWEST)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(or $(TESTS),$(CORE_TESTS))

pythons: $(READY)
	PATH="$$(scripts/newest-python.sh --folders)$$PATH" $(BIN)/nox --session pythons \
		--no-error-on-missing-interpreters -- $(or $(TESTS),$(CORE_TESTS))

$(PEERS_READY): pyproject.toml constraints.txt scripts/peers/requirements.txt
	$(PYTHON) -m venv --clear $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		pip hatchling editables
	$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--no-build-isolation --editable '.[sqlalchemy,asyncpg,aiohttp]' -r scripts/peers/requirements.txt
	@touch $@

peers: $(PEERS_READY)
	$(PEERS_VENV)/bin/python -m scripts.peers $(PEERS)

generate: $(READY)
	$(BIN)/python scripts/metrics_reference.py > docs/metrics.md
	$(BIN)/python scripts/commands_reference.py > docs/reference/commands.md
	$(BIN)/poolscope dashboards --out dashboards --path /var/lib/grafana/dashboards/poolscope
	$(BIN)/poolscope alerts --out alerts

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs $(or $(DOCS),build) --strict

clean:
	rm -rf $(VENV) $(DEMO_VENV) $(NEWEST) $(PEERS_VENV) .peers .python .nox .mypy_cache .pytest_cache .ruff_cache dist site
