# Everything here is an ordinary command; `make -n <target>` shows it.
# SOURCE, TARGET, DUCKDB_PATH, PG* and REDSHIFT_* reach the commands through the environment. `make` also puts
# the variables of its own command line there. A dollar sign in a URL is %24.

VENV ?= .venv
BI_VENV ?= .venv-bi
AIRFLOW_VENV ?= .venv-airflow
DAGSTER_VENV ?= .venv-dagster
PYTHON_IN_VENV = "$(VENV)/bin/python"
export VENV BI_VENV AIRFLOW_VENV DAGSTER_VENV

.DEFAULT_GOAL := help
.PHONY: help build runs run report watch alert-test undo-load roles test test-long redshift-check metrics docs bi airflow dagster lint bench bench-loader bench-live clean requirements runtime-environment docs-environment metrics-environment dev-environment bi-environment airflow-environment dagster-environment

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile
	@echo
	@echo '  make build SOURCE=mysql://user:password@host:3306/shop TARGET=postgres'
	@echo '      SOURCE       the shop: mysql://, postgresql://, sqlite:/// or file:/// (default: a sample shop)'
	@echo '      SOURCE_PASSWORD  its password, to keep it out of the URL'
	@echo '      LOAD_CONFIG  a file with team settings for the shop (default: loader.yml, if it exists)'
	@echo '      ALLOW_OTHER_SOURCE  1: load it although the warehouse holds a shop with another address'
	@echo '      TARGET       the warehouse: duckdb (default), postgres or redshift'
	@echo '      DUCKDB_PATH  the file of the DuckDB warehouse (default: warehouse.duckdb)'
	@echo '      BUILD        all: build and test everything (default: what has changed since the last green build)'
	@echo '      DUCKDB_MEMORY_LIMIT  memory of DuckDB in a build, such as 1GB (default: 2500MB; larger data goes to disk)'
	@echo '      POSTGRES_WORK_MEM  memory of each sort and hash of a build in PostgreSQL (default: 32MB; larger data goes to disk)'
	@echo '      TESTS        all: test all rows; new: in large tables, test only rows that no green build has'
	@echo '                   tested (default for a shop with a million rows)'
	@echo '      WAIT         seconds to wait for another run into the same warehouse (default: none, exit code 75)'
	@echo '      QUIET        1: one line when all is green'
	@echo '      LOG_FORMAT   json: a line of JSON for each step, warning and failure (default: text)'
	@echo '      AS_OF_DATE   the day that the marts take for today, such as 2026-11-20 (default: today)'
	@echo '      PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE   the PostgreSQL warehouse'
	@echo '      LOADER_PGUSER LOADER_PGPASSWORD   the login with which the loader writes there (default: as above)'
	@echo '      BI_PGUSER BI_PGPASSWORD   the login with which make bi reads PostgreSQL (default: as above)'
	@echo '      REDSHIFT_HOST REDSHIFT_USER REDSHIFT_PASSWORD ...   Amazon Redshift: see docs/redshift.md'

build: runtime-environment ## load the shop, build and test what has changed, write the pages in target/site
	@$(PYTHON_IN_VENV) scripts/build.py

watch: runtime-environment ## build once, then let raw tables and marts follow the shop (WATCH=status, WATCH=unwatch, WATCH=--raw-only)
	@exec $(PYTHON_IN_VENV) scripts/watch.py $(WATCH)

runs: LAST ?= 20
runs: runtime-environment ## list the last runs of all commands, the newest first (LAST=20; JSON=1 for programs)
	@$(PYTHON_IN_VENV) scripts/runs.py --last "$(LAST)" $(AS_JSON)

run: runtime-environment ## show one run, with what became of each model and test (ID=...; JSON=1 for programs)
	@$(PYTHON_IN_VENV) scripts/runs.py --id "$(ID)" $(AS_JSON)

AS_JSON = $(if $(filter-out 0,$(JSON)),--json)

alert-test: runtime-environment ## send a test message to every channel of alerts: in loader.yml
	@$(PYTHON_IN_VENV) scripts/alert_test.py

roles: runtime-environment ## print who may see what as SQL: roles and their rights (APPLY=1 runs it)
	@$(PYTHON_IN_VENV) scripts/roles.py $(if $(filter-out 0,$(APPLY)),--apply)

undo-load: runtime-environment ## take the versions of a load back out of the history (LOAD=..., then BECAUSE="..." to do it)
	@$(PYTHON_IN_VENV) scripts/undo_load.py $(LOAD) $(if $(BECAUSE),--apply "$(BECAUSE)")

report: runtime-environment ## write target/site/report.html: sales and receivables, one page, no service
	@$(PYTHON_IN_VENV) scripts/report.py

test: dev-environment ## run the tests of every change (PYTEST=... for options)
	@$(PYTHON_IN_VENV) -m tools.servers --install || true
	@$(SIDE_BY_SIDE) -m "not long" $(PYTEST)

test-long: dev-environment ## run all other tests: about 40 minutes on two cores
	@$(PYTHON_IN_VENV) -m tools.servers --install || true
	@$(SIDE_BY_SIDE) -m long $(PYTEST)

redshift-check: dev-environment ## run those of the tests that stand for Amazon Redshift (no AWS account needed)
	@$(PYTHON_IN_VENV) -m tools.servers --install || true
	@$(SIDE_BY_SIDE) tests/python/redshift $(PYTEST)

# A process that has no tests left gets the next, those that take long first: see tests/python/support/one_run.py.
SIDE_BY_SIDE = $(PYTHON_IN_VENV) -m pytest --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

metrics: metrics-environment ## list the metrics, or query them (QUERY="--metrics revenue --group-by metric_time__year")
	@$(PYTHON_IN_VENV) scripts/metrics.py $(QUERY)

docs: PORT ?= 8080
docs: docs-environment ## draw lineage and diagram, and serve all pages on localhost (PORT=8080)
	@exec $(PYTHON_IN_VENV) scripts/catalog.py --port "$(PORT)"

bi: PORT ?= 8088
bi: runtime-environment bi-environment ## open the dashboards in Apache Superset on localhost (PORT=8088)
	@exec $(PYTHON_IN_VENV) scripts/dashboards.py --port "$(PORT)"

airflow: PORT ?= 8089
airflow: runtime-environment airflow-environment ## run load and build by Apache Airflow, on localhost (PORT=8089, SHOP_DAG=models)
	@exec $(PYTHON_IN_VENV) scripts/airflow_server.py --port "$(PORT)"

dagster: PORT ?= 8087
dagster: runtime-environment dagster-environment ## the same by Dagster, on localhost (PORT=8087)
	@exec $(PYTHON_IN_VENV) scripts/dagster_server.py --port "$(PORT)"

lint: dev-environment ## check the project's rules, style and types: dbt-bouncer, sqlfluff, ruff, mypy
	@$(PYTHON_IN_VENV) scripts/build.py --prepare
	@"$(VENV)/bin/dbt" --quiet parse
	@"$(VENV)/bin/dbt-bouncer" run
	@$(PYTHON_IN_VENV) -m sqlfluff lint --disable-progress-bar models analyses tests/singular
	@$(PYTHON_IN_VENV) -m ruff check
	@$(PYTHON_IN_VENV) -m ruff format --check
	@$(PYTHON_IN_VENV) -m mypy

bench: dev-environment ## measure load and build at scale 1 to 10,000 beside plain SQL (BENCH="--scales 1 10"; else half an hour or more)
	@$(PYTHON_IN_VENV) -m tools.servers --install || true
	@$(PYTHON_IN_VENV) scripts/build.py --prepare
	@$(PYTHON_IN_VENV) -m tools.benchmark $(BENCH)

bench-loader: dev-environment ## measure the loader at scale 1,000 (PEERS=1: other tools beside it; minutes)
	@$(PYTHON_IN_VENV) -m tools.servers --install || true
	@$(PYTHON_IN_VENV) -m tools.benchmark_loader $(if $(PEERS),--peers .peers) $(BENCH)

bench-live: dev-environment ## measure how long a commit takes to raw tables and marts (BENCH="--scale 1 --minutes 1"; else an hour; PEERS=1: Debezium too)
	@$(PYTHON_IN_VENV) -m tools.benchmark_live $(if $(PEERS),--peers .peers) $(BENCH)

clean: ## remove what a build made: sample shop, warehouse.duckdb, catalog, packages (not .venv*, .superset, .airflow, .dagster)
	@rm -rf target logs dbt_packages shop.sqlite* warehouse.duckdb*
	@if cmp -s profiles.yml profiles.example.yml; then rm profiles.yml; fi

requirements: dev-environment ## pin the newest versions that requirements/*.in allow
	@$(PYTHON_IN_VENV) -m pip install --quiet --disable-pip-version-check uv
	@$(call pin,dev)
	@$(call pin,runtime,--constraints requirements/dev.txt)
	@$(call pin,docs,--constraints requirements/dev.txt)
	@$(call pin,redshift,--constraints requirements/dev.txt)
	@$(call pin,metrics,--constraints requirements/dev.txt)
	@$(call pin,superset)
	@$(call pin,airflow)
	@$(call pin,dagster)
	@$(call pin,next-duckdb,--no-deps)
	@$(call pin,next-dbt,--no-deps)

pin = $(PYTHON_IN_VENV) -m uv pip compile --quiet --universal --generate-hashes --no-strip-extras \
	--no-header --no-emit-index-url --python-version 3.11 --upgrade $(2) requirements/$(1).in \
	--output-file requirements/$(1).txt

# Redshift needs more packages.
runtime-environment:
	@sh scripts/environment.sh requirements/$(if $(filter redshift,$(TARGET)),redshift,runtime).txt

metrics-environment: runtime-environment
	@sh scripts/environment.sh requirements/metrics.txt

docs-environment: runtime-environment
	@sh scripts/environment.sh requirements/docs.txt

dev-environment: runtime-environment
	@sh scripts/environment.sh requirements/dev.txt

# Superset pins other versions than dbt, and has no packages for Python 3.13.
bi-environment:
	@VENV="$(BI_VENV)" PYTHON="$${PYTHON:-python3.11 python3.12}" sh scripts/environment.sh requirements/superset.txt

# Both have other pins than dbt, which they start in the project's own environment.
airflow-environment:
	@VENV="$(AIRFLOW_VENV)" sh scripts/environment.sh requirements/airflow.txt

dagster-environment:
	@VENV="$(DAGSTER_VENV)" sh scripts/environment.sh requirements/dagster.txt
