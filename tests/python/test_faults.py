"""Faults of every kind, planted one at a time: dbt must go red, and name the test that knows why.

The warehouse and the project are those of the sample shop, which is green. A fault that no test
finds would be one that reaches the people who read the marts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from project import DuckDBWarehouse, PostgresWarehouse, Project, Warehouse
from sample_source import create_shop
from servers import PostgresServer

CUSTOMER = "(select min(customernumber) from customers)"
ORDER = "(select min(ordernumber) from orders)"
# A row that the loader did not write is also one that its audit does not know.
AUDIT = "raw_rows_match_the_load_audit"


@dataclass(frozen=True)
class Fault:
    """Something wrong in the raw tables (`sql`), in the project (`edits`), or both."""

    name: str
    fails: set[str]  # exactly these, of what dbt runs before it stops
    select: str
    sql: str = ""
    edits: Sequence[tuple[str, str, str]] = ()
    exclude: str = "test_type:unit"  # they do not read the warehouse

    def __str__(self) -> str:
        return self.name


def arrival(name: str, table: str, sql: str, *fails: str, depth: int = 2) -> Fault:
    """Something wrong in a raw table; dbt builds and tests what lies so far behind it."""
    return Fault(name, set(fails), f"source:classicmodels.{table}+{depth}", sql)


ARRIVALS = [
    arrival(
        "product line twice",
        "productlines",
        "insert into productlines select * from productlines where productline = 'Ships'",
        "raw_productlines_key_is_unique_and_not_null",
        AUDIT,
    ),
    arrival(
        "customer twice",
        "customers",
        f"insert into customers select * from customers where customernumber = {CUSTOMER}",
        "raw_customers_key_is_unique_and_not_null",
        AUDIT,
    ),
    arrival(
        "order line whose order is gone",
        "orderdetails",
        f"update orderdetails set ordernumber = 1 where ordernumber = {ORDER}",
        "order_lines_belong_to_a_known_order",
    ),
    arrival(
        "order line of an unknown product",
        "orderdetails",
        f"update orderdetails set productcode = 'S0_0' where ordernumber = {ORDER}"
        " and orderlinenumber = 1",
        "order_lines_have_a_known_product",
    ),
    arrival(
        "order of an unknown customer",
        "orders",
        f"update orders set customernumber = 1 where ordernumber = {ORDER}",
        "orders_belong_to_a_known_customer",
    ),
    arrival(
        "payment of an unknown customer",
        "payments",
        "update payments set customernumber = 1"
        " where customernumber = (select min(customernumber) from payments)",
        "payments_belong_to_a_known_customer",
    ),
    arrival(
        "customer with an unknown representative",
        "customers",
        f"update customers set salesrepemployeenumber = 1 where customernumber = {CUSTOMER}",
        "customers_have_a_known_sales_rep_or_none",
    ),
    arrival(
        "employee whose manager is gone",
        "employees",
        "update employees set reportsto = 1"
        " where employeenumber = (select max(employeenumber) from employees)",
        "employees_report_to_a_known_manager_or_nobody",
    ),
    arrival(
        "employee of an unknown office",
        "employees",
        "update employees set officecode = '99'"
        " where employeenumber = (select max(employeenumber) from employees)",
        "employees_work_at_a_known_office",
    ),
    arrival(
        "product whose line is gone",
        "products",
        "update products set productline = 'Spaceships'"
        " where productcode = (select min(productcode) from products)",
        "products_belong_to_a_known_product_line",
    ),
    arrival(
        "negative price",
        "orderdetails",
        f"update orderdetails set priceeach = -0.01 where ordernumber = {ORDER}",
        "order_prices_are_not_negative",
    ),
    arrival(
        "quantity of zero",
        "orderdetails",
        f"update orderdetails set quantityordered = 0 where ordernumber = {ORDER}",
        "order_quantities_are_positive",
    ),
    arrival(
        "negative quantity",
        "orderdetails",
        f"update orderdetails set quantityordered = -5 where ordernumber = {ORDER}",
        "order_quantities_are_positive",
    ),
    arrival(
        "payment of nothing",
        "payments",
        "update payments set amount = 0"
        " where checknumber = (select min(checknumber) from payments)",
        "payment_amounts_are_positive",
    ),
    arrival(
        "new status",
        "orders",
        f"update orders set status = 'Returned' where ordernumber = {ORDER}",
        "order_statuses_are_known",
    ),
    arrival(
        "territory that offices did not have",
        "offices",
        "update offices set territory = 'LATAM' where officecode = '1'",
        "office_territories_are_known",
    ),
    arrival(
        "country that is not in the seed",
        "customers",
        f"update customers set country = 'Ruritania' where customernumber = {CUSTOMER}",
        "every_country_is_in_the_seed",
        depth=4,
    ),
    arrival(
        "key that is null",
        "customers",
        "alter table customers alter customernumber drop not null;"
        f"update customers set customernumber = null where customernumber = {CUSTOMER}",
        "raw_customers_key_is_unique_and_not_null",
    ),
    arrival(
        "required value that is only blanks",
        "customers",
        f"update customers set city = '  ' where customernumber = {CUSTOMER}",
        "customers_have_their_required_values",
    ),
    arrival(
        "money that became a float and lost a cent",
        "orderdetails",
        "alter table orderdetails alter priceeach type double precision;"
        f"update orderdetails set priceeach = 55.089999 where ordernumber = {ORDER}"
        " and orderlinenumber = 1",
        "raw_money_is_exact",
    ),
    arrival(
        "line number twice in an order",
        "orderdetails",
        f"update orderdetails set orderlinenumber = 1 where ordernumber = {ORDER}",
        "fact_orders_line_numbers_are_unique",
        depth=4,
    ),
    arrival(
        "order shipped before it was placed",
        "orders",
        "update orders set shippeddate = orderdate - 1"
        " where ordernumber = (select min(ordernumber) from orders where shippeddate is not null)",
        "orders_are_not_shipped_before_ordered",
    ),
    arrival(
        "order of next year",
        "orders",
        "update orders set orderdate = orderdate + 1000, requireddate = requireddate + 1000"
        " where ordernumber = (select max(ordernumber) from orders where shippeddate is null)",
        "orders_are_not_dated_in_the_future",
    ),
    arrival(
        "row without a stamp",
        "orders",
        "alter table orders alter _loaded_at drop not null;"
        f"update orders set _loaded_at = null where ordernumber = {ORDER}",
        "raw_orders_rows_are_stamped",
    ),
    arrival(
        "rows deleted behind the loader's back",
        "payments",
        "delete from payments where customernumber = (select min(customernumber) from payments)",
        AUDIT,
    ),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('shop') / 'shop.sqlite'}"
    create_shop(url)
    return url


@pytest.fixture(scope="module")
def duckdb_built(project: Project, shop: str) -> Warehouse:
    """The sample shop, loaded, built and green."""
    return built(project, shop, DuckDBWarehouse(project.folder / "warehouse.duckdb"))


@pytest.fixture(scope="module")
def postgres_built(project: Project, shop: str, postgres: PostgresServer) -> Warehouse:
    return built(project, shop, PostgresWarehouse(postgres, "faults"))


def built(project: Project, shop: str, warehouse: Warehouse) -> Warehouse:
    warehouse.load(shop)
    outcome = project.dbt(warehouse, "build")
    assert outcome.green and not outcome.failed, outcome
    warehouse.keep()
    return warehouse


def plant(fault: Fault, project: Project, warehouse: Warehouse) -> None:
    warehouse.restore()
    if fault.sql:
        warehouse.query(fault.sql)
    with project.edited(fault.edits):
        outcome = project.dbt(
            warehouse, "build", "--select", fault.select, "--exclude", fault.exclude
        )
    assert not outcome.green
    assert outcome.failed == fault.fails


@pytest.mark.parametrize("fault", ARRIVALS, ids=str)
def test_what_arrives_wrong_is_named(
    fault: Fault, project: Project, duckdb_built: Warehouse
) -> None:
    plant(fault, project, duckdb_built)
