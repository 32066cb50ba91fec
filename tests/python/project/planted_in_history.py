"""Faults in what remembers: each is planted, and rounds of the known story must see it.

    python -m pytest -n 0 -s tests/python/project/planted_in_history.py

says in which round each was seen. It takes half an hour and more, so neither `make test` nor `make
test-long` runs it: run it after a change of the story or of how marts remember.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from support.planned_rounds import KNOWN_ROUNDS, KNOWN_SEED, PLANNED
from support.project import DuckDBWarehouse, Project
from support.story import AS_OF, MANY_EVENTS, begun

MARTS = "models/marts/core"
ORDERS, PAYMENTS = f"{MARTS}/fact_orders.sql", f"{MARTS}/fact_payments.sql"
LIFE = f"{MARTS}/fact_order_life.sql"
CUSTOMERS, EMPLOYEES = f"{MARTS}/dim_customers.sql", f"{MARTS}/dim_employees.sql"
PRODUCTS = f"{MARTS}/dim_products.sql"
SNAPSHOTS = "snapshots/_snapshots.yml"
CHANGED, NEW = "macros/changed_since_last_build.sql", "macros/incremental/new_versions.sql"
CHANGED_ROWS = "macros/incremental/get_incremental_changed_rows_sql.sql"
WHOLE = "macros/incremental/get_incremental_whole_sql.sql"
MERGED, MILESTONES = "macros/merged_versions.sql", "macros/order_milestones.sql"
EMPLOYEE_VERSIONS = "'employee_version_key': [ref('dim_employees'), 'employee_key'],\n"
OF_EMPLOYEES = (
    "greatest(named_employees.dbt_valid_from, offices.dbt_valid_from, managers.dbt_valid_from)"
)

# By fault: the file, what stands there, and what is planted.
FAULTS: dict[str, tuple[str, str, str]] = {
    # What a fact must make again
    "changed orders": (ORDERS, "    ref('int_orders_tracked'),\n        '(", "    '("),
    "gone orders": (ORDERS, "        '(' ~ gone_orders ~ ') as gone_orders',\n", ""),
    "new versions of employees, lines": (ORDERS, EMPLOYEE_VERSIONS, ""),
    "new versions of employees, payments": (PAYMENTS, EMPLOYEE_VERSIONS, ""),
    "a version that is newer under its key": (
        CHANGED,
        "    or known._loaded_at {{ is_before }} {{ new }}._loaded_at\n",
        "",
    ),
    "versions of the newest load": (NEW, "'_loaded_at >= ' ~ since", "'_loaded_at > ' ~ since"),
    "gone lines": (ORDERS, "['order_number', 'product_code']", "['product_code', 'product_code']"),
    "gone payments": (
        PAYMENTS,
        "['customer_number', 'check_number']",
        "['check_number', 'check_number']",
    ),
    "gone lines of the newest load": (CHANGED_ROWS, ">= {{ watermark() }}", "> {{ watermark() }}"),
    "gone rows of a table that is calculated as a whole": (
        WHOLE,
        "    {{ remove_rows(arg_dict, condition, before) }}\n",
        "",
    ),
    # How new a row is
    "lines stamped without orders": (
        ORDERS,
        "order_details._loaded_at, orders._loaded_at, gone",
        "order_details._loaded_at, gone",
    ),
    "lines stamped without gone orders": (
        ORDERS,
        "orders._loaded_at, gone_orders._loaded_at,",
        "orders._loaded_at,",
    ),
    "lines stamped without employees": (ORDERS, "employees._loaded_at, products", "products"),
    "payments stamped without employees": (PAYMENTS, ", employees._loaded_at)", ")"),
    "employees stamped without managers": (
        EMPLOYEES,
        OF_EMPLOYEES,
        OF_EMPLOYEES.replace(", managers.dbt_valid_from", ""),
    ),
    "employees stamped without offices": (
        EMPLOYEES,
        OF_EMPLOYEES,
        OF_EMPLOYEES.replace(" offices.dbt_valid_from,", ""),
    ),
    "products stamped without lines": (
        PRODUCTS,
        "greatest(products.dbt_valid_from, product_lines.dbt_valid_from)",
        "products.dbt_valid_from",
    ),
    "customers stamped without employees": (
        CUSTOMERS,
        "greatest(keyed_customers.dbt_valid_from, employees._loaded_at)",
        "keyed_customers.dbt_valid_from",
    ),
    "merged versions stamped as the newest": (MERGED, "min(_loaded_at) as", "max(_loaded_at) as"),
    # What a version is
    "orders without the day they are required": (SNAPSHOTS, "        - required_date\n", ""),
    "products without their price": (SNAPSHOTS, "        - msrp\n", ""),
    "employees without their manager": (SNAPSHOTS, "        - manager_employee_number\n", ""),
    "states": (SNAPSHOTS, "        - state\n", ""),
    "who is gone": ("dbt_project.yml", "+hard_deletes: new_record", "+hard_deletes: ignore"),
    "managers of other versions": (
        EMPLOYEES,
        "and least(named_employees.valid_to, offices.valid_to) > managers.valid_from",
        "and named_employees.valid_to > managers.valid_from",
    ),
    "employees by their newest version": (
        CUSTOMERS,
        "    where version_number = 1\n",
        "    where is_current\n",
    ),
    # The lives of orders
    "place of an order": (
        LIFE,
        "                or known.location_key <> new_customers.location_key\n",
        "",
    ),
    "customers of the newest load": (
        LIFE,
        "where {{ is_new_version(since) }}",
        "where _loaded_at > {{ since }}",
    ),
    "changed orders, lives": (
        LIFE,
        "where dbt_valid_from > {{ since }}\n",
        "where dbt_valid_from > {{ since }} and false\n",
    ),
    "shipped when it was last seen": (
        LIFE,
        "min(case when shipped_date is not null",
        "max(case when shipped_date is not null",
    ),
    "commits that a log told": (
        LIFE,
        "least(order_histories.first_seen_at, order_commits.committed_at)",
        "order_histories.first_seen_at",
    ),
    "clocks that are ahead": (
        LIFE,
        "least(order_histories.first_seen_at, order_commits.committed_at)",
        "coalesce(order_commits.committed_at, order_histories.first_seen_at)",
    ),
    "versions of no time": (LIFE, "    where dbt_valid_from < dbt_valid_to\n", ""),
    "no status": (
        LIFE,
        "coalesce(order_status, '') <> coalesce(status_before, '')",
        "order_status <> status_before",
    ),
    # Rules
    "revenue of cancelled orders": (
        ORDERS,
        "not coalesce(orders.is_cancelled, false) as is_revenue",
        "true as is_revenue",
    ),
    "days to ship": (MILESTONES, "shipped_date - order_date", "shipped_date - required_date"),
}
# Why no round can see these.
UNSEEN = {
    "employees by their newest version": "no value is another, only more is made again",
    "merged versions stamped as the newest": "no value is another, only more is made again",
    "place of an order": "only a load that is taken back replaces a first version under its key",
    "gone lines of the newest load": "a load's rows and its tombstones are there at once",
    "versions of no time": "only a load that arrives while orders are snapshot leaves one",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), as_of=AS_OF)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(fault: str, project: Project, tmp_path: Path) -> None:
    seen = ""
    with project.edited([FAULTS[fault]]):
        try:
            warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
            random = Random(KNOWN_SEED)
            with begun(project, warehouse, tmp_path, random) as story:
                story.play(random, KNOWN_ROUNDS, MANY_EVENTS, PLANNED)
        except (AssertionError, pytest.fail.Exception) as error:
            lines = str(error).splitlines()
            first, *said = [line for line in lines if not line.startswith("  ")]
            seen = f"{first} {' '.join(said)[:150]}"
    print(f"\n{fault}: {seen or UNSEEN.get(fault) or 'NOT SEEN'}")
    assert bool(seen) == (fault not in UNSEEN)
