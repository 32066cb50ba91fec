"""Each metric is what the shop itself says, and what the marts say that have the figure ready.

Money and counts are compared exactly. A rate is a double on every warehouse, made of two exact
parts: it is compared with the double that dividing them gives, without a tolerance.
"""

from __future__ import annotations

import re
import shlex
import shutil
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.factory import get_adapter_by_type
from dbt_metricflow.cli.dbt_connectors.adapter_backed_client import AdapterBackedSqlClient
from metricflow.engine.metricflow_engine import MetricFlowEngine, MetricFlowQueryRequest
from metricflow.validation.data_warehouse_model_validator import DataWarehouseModelValidator
from metricflow_semantic_interfaces.validations.semantic_manifest_validator import (
    SemanticManifestValidator,
)
from metricflow_semantics.model.dbt_manifest_parser import (
    parse_manifest_from_dbt_generated_manifest,
)
from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

from sample_shop.shop import create_shop
from support.built import DAY, BuiltWarehouses
from support.clone import REPO, copy_project
from support.commands import script
from support.dialect import refusals, traps
from support.offline import Unbuilt
from support.one_run import own
from support.project import DuckDBWarehouse, PostgresWarehouse, Project, Warehouse
from tools.servers import MariaDBServer, PostgresServer

AS_OF = DAY  # of the sample shop, and of docs/marts.md

Parts = tuple[Any, ...]  # one exact figure, or the two that are divided
Figures = dict[Any, Parts]  # by group

# -- the shop's own figures -----------------------------------------------------------------------

# Its tables and columns as the source spells them; `part` is what a group is made of.
LINES = """
    select {part}, {figure}
    from orderdetails d
    inner join orders o on o.orderNumber = d.orderNumber
    inner join products p on p.productCode = d.productCode
    group by 1
"""
ORDERS = "select {part}, {figure} from orders o group by 1"
BALANCES = """
    select {part}, {figure}
    from (
        select
            c.customerNumber,
            coalesce((
                select sum(d.quantityOrdered * d.priceEach)
                from orders o
                inner join orderdetails d on d.orderNumber = o.orderNumber
                where o.customerNumber = c.customerNumber and o.status <> 'Cancelled'
            ), 0) - coalesce((
                select sum(y.amount) from payments y where y.customerNumber = c.customerNumber
            ), 0) as balance
        from customers c
    ) o
    group by 1
"""
COUNTS = "o.status <> 'Cancelled'"
REVENUE = f"sum(case when {COUNTS} then d.quantityOrdered * d.priceEach else 0 end)"
MARGIN = f"sum(case when {COUNTS} then d.quantityOrdered * (d.priceEach - p.buyPrice) else 0 end)"
ORDER_COUNT = f"count(distinct case when {COUNTS} then o.orderNumber end)"
SHIPPED = f"sum(case when {COUNTS} and o.shippedDate is not null then 1 else 0 end)"
ON_TIME = f"sum(case when {COUNTS} and o.shippedDate <= o.requiredDate then 1 else 0 end)"
DAYS = f"sum(case when {COUNTS} then datediff(o.shippedDate, o.orderDate) end)"
SOURCE = {
    "revenue": (LINES, REVENUE),
    "margin": (LINES, MARGIN),
    "margin_rate": (LINES, f"{MARGIN}, {REVENUE}"),
    "orders": (LINES, ORDER_COUNT),
    "units": (LINES, f"sum(case when {COUNTS} then d.quantityOrdered else 0 end)"),
    "average_order_value": (LINES, f"{REVENUE}, {ORDER_COUNT}"),
    "active_customers": (LINES, f"count(distinct case when {COUNTS} then o.customerNumber end)"),
    "orders_shipped": (ORDERS, SHIPPED),
    "orders_on_time": (ORDERS, ON_TIME),
    "on_time_rate": (ORDERS, f"{ON_TIME}, {SHIPPED}"),
    "days_to_ship": (ORDERS, f"{DAYS}, {SHIPPED}"),
    "open_receivables": (BALANCES, "sum(greatest(o.balance, 0))"),
}
# By the metrics' dimension: what the source groups by.
BY_ALL = {"": "''", "customer__customer_number": "o.customerNumber"}
BY_ORDER = {**BY_ALL, "metric_time__month": "cast(date_format(o.orderDate, '%Y-%m-01') as date)"}
BY_LINE = {**BY_ORDER, "product__product_line": "p.productLine"}
GROUPS = {LINES: BY_LINE, ORDERS: BY_ORDER, BALANCES: BY_ALL}
QUESTIONS = [(metric, by) for metric, (rows, _) in SOURCE.items() for by in GROUPS[rows]]

# -- the marts' figures ---------------------------------------------------------------------------

ONCE = "(select distinct order_number, order_date, is_shipped, is_late, days_to_ship"
ONCE += " from marts.orders_obt where is_revenue) as o"
OBT = f"select cast(date_trunc('month', order_date) as date), {{}} from {ONCE} group by 1"
SHIPPED_ONCE = "sum(case when is_shipped then 1 else 0 end)"
ON_TIME_ONCE = "sum(case when is_shipped and not is_late then 1 else 0 end)"
DAILY = "select product_line, sum({}) from marts.sales_daily group by 1"
SEGMENTS = "select customer_number, {} from marts.customer_segments where order_count > 0"
# What is compared, by what, and the decimals that the mart rounds to; of percentages, times 100.
MARTS: dict[str, tuple[str, str, tuple[int, int] | None]] = {
    "revenue": (DAILY.format("revenue_amount"), "product__product_line", None),
    "margin": (DAILY.format("gross_margin_amount"), "product__product_line", None),
    "margin_rate": (
        "select product_code, gross_margin_percent from marts.product_performance"
        " where order_count > 0",
        "product__product_code",
        (2, 100),
    ),
    "orders": (DAILY.format("order_count"), "product__product_line", None),
    "units": (DAILY.format("unit_count"), "product__product_line", None),
    "average_order_value": (
        SEGMENTS.format("average_order_amount"),
        "customer__customer_number",
        (2, 1),
    ),
    "active_customers": (SEGMENTS.format("1"), "customer__customer_number", None),
    "orders_shipped": (OBT.format(SHIPPED_ONCE), "metric_time__month", None),
    "orders_on_time": (OBT.format(ON_TIME_ONCE), "metric_time__month", None),
    "on_time_rate": (
        OBT.format(f"{ON_TIME_ONCE}, {SHIPPED_ONCE}"),
        "metric_time__month",
        None,
    ),
    "days_to_ship": (
        OBT.format("sum(days_to_ship), count(days_to_ship)"),
        "metric_time__month",
        None,
    ),
    "open_receivables": (
        "select territory, sum(open_amount) from marts.customer_receivables group by 1",
        "customer__location__territory",
        None,
    ),
}


# -- two shops, two warehouses --------------------------------------------------------------------


class Metrics:
    """MetricFlow on the warehouse that dbt was run on last."""

    def __init__(self, project: Project, warehouse: Warehouse) -> None:
        self.project, self.warehouse = project, warehouse
        self.manifest = parse_manifest_from_dbt_generated_manifest(
            project.semantic_manifest(warehouse)
        )
        self.client = AdapterBackedSqlClient(get_adapter_by_type(warehouse.target))
        self.engine = MetricFlowEngine(SemanticManifestLookup(self.manifest), self.client)

    def sql(self, metric: str, by: str = "") -> str:
        request = MetricFlowQueryRequest.create(
            metric_names=[metric], group_by_names=[by] if by else []
        )
        return str(self.engine.explain(request).sql_statement.without_descriptions.sql)

    def ask(self, metric: str, by: str = "") -> dict[Any, Any]:
        """The values of a metric by group, as the warehouse's own driver gives them."""
        return {group(row[:-1]): row[-1] for row in self.warehouse.query(self.sql(metric, by))}


def group(row: Parts) -> Any:
    """What a row is grouped by; days as dates, nothing as an empty text."""
    value = row[0] if row else ""
    return value.date() if isinstance(value, datetime) else value


def figures(rows: list[Parts]) -> Figures:
    return {group(row[:1]): row[1:] for row in rows}


def divided(parts: Parts) -> Any:
    """The figure itself, or the double that dividing two gives; null by 0."""
    if len(parts) == 1:
        return parts[0]
    numerator, denominator = parts
    return float(numerator) / float(denominator) if denominator else None


# On PostgreSQL the statements are the same but for their spelling; `make metrics` is asked of both.
LONG = pytest.mark.long


@pytest.fixture(scope="module", params=["sample", pytest.param("real", marks=LONG)])
def shop(request: pytest.FixtureRequest, mariadb: MariaDBServer) -> tuple[str, str]:
    """The URL of a shop and its database, to ask it for its own figures."""
    name = own(f"metrics_{request.param}")
    url = mariadb.create_database(name)
    if request.param == "real":
        dump = request.getfixturevalue("classicmodels_sql")
        mariadb.load_file(dump, name)
    else:
        create_shop(url, as_of=AS_OF)
    return url, name


@pytest.fixture(scope="module")
def project(shop: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), as_of=AS_OF)


@pytest.fixture(scope="module", params=["duckdb", pytest.param("postgres", marks=LONG)])
def metrics(
    request: pytest.FixtureRequest,
    project: Project,
    shop: tuple[str, str],
    mariadb: MariaDBServer,
) -> Metrics:
    url, name = shop
    warehouse: Warehouse
    if request.param == "duckdb":
        warehouse = DuckDBWarehouse(project.folder / "warehouse.duckdb")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        warehouse = PostgresWarehouse(server, own("metrics"))
    warehouse.load(url)
    build(project, warehouse, "--select", "+orders_snapshot")
    # Of orders that were shipped, one goes from the shop and one is cancelled.
    (gone,), (cancelled,) = mariadb.execute(
        "select orderNumber from orders where status = 'Shipped' order by 1 desc limit 2", name
    )
    mariadb.execute(f"delete from orderdetails where orderNumber = {gone}", name)
    mariadb.execute(f"delete from orders where orderNumber = {gone}", name)
    mariadb.execute(f"update orders set status = 'Cancelled' where orderNumber = {cancelled}", name)
    warehouse.load(url)
    build(project, warehouse)
    return Metrics(project, warehouse)


def build(project: Project, warehouse: Warehouse, *selection: str) -> None:
    without_tests = ("--exclude-resource-type", "test", "unit_test")
    outcome = project.dbt(warehouse, "build", *selection, *without_tests)
    assert outcome.green, outcome


def test_every_metric_is_compared(metrics: Metrics) -> None:
    found = {metric.name for metric in metrics.manifest.metrics}
    assert found == SOURCE.keys() == MARTS.keys()


@pytest.mark.parametrize(("metric", "by"), QUESTIONS)
def test_a_metric_is_what_the_shop_says(
    metric: str, by: str, metrics: Metrics, shop: tuple[str, str], mariadb: MariaDBServer
) -> None:
    rows, figure = SOURCE[metric]
    asked = rows.format(part=GROUPS[rows][by], figure=figure)
    said = {key: divided(parts) for key, parts in figures(mariadb.execute(asked, shop[1])).items()}
    if rows is BALANCES and by:
        said[-1] = 0  # the unknown customer, whom the shop does not have
    assert said
    assert metrics.ask(metric, by) == said


@pytest.mark.parametrize("metric", MARTS)
def test_a_metric_is_what_the_marts_say(metric: str, metrics: Metrics) -> None:
    sql, by, rounded = MARTS[metric]
    ready = figures(metrics.warehouse.query(sql))
    assert ready
    if rounded:
        places, times = rounded
        numerator, denominator = RATIOS[metric]
        parts, wholes = metrics.ask(numerator, by), metrics.ask(denominator, by)
        found = {
            key: half_up(times * Decimal(parts[key]) / Decimal(whole), places)
            for key, whole in wholes.items()
            if whole
        }
    else:
        found = {key: value for key, value in metrics.ask(metric, by).items() if value is not None}
        # A group in which nothing counts is in the facts, and not in all marts.
        found = {key: value for key, value in found.items() if value or key in ready}
    assert found == {key: value for key, p in ready.items() if (value := divided(p)) is not None}


RATIOS = {"margin_rate": ("margin", "revenue"), "average_order_value": ("revenue", "orders")}


def half_up(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def test_balances_of_two_days_are_not_added_up(metrics: Metrics) -> None:
    warehouse = metrics.warehouse
    before = metrics.ask("open_receivables")
    columns = [
        name
        for (name,) in warehouse.query(
            "select column_name from information_schema.columns"
            " where table_schema = 'marts' and table_name = 'customer_receivables'"
        )
    ]
    earlier = ", ".join(f"{c} - 30" if c == "as_of_date" else c for c in columns)
    copy = f"insert into marts.customer_receivables ({', '.join(columns)})"
    warehouse.query(f"{copy} select {earlier} from marts.customer_receivables")
    try:
        assert metrics.ask("open_receivables") == before
        by_day = metrics.ask("open_receivables", "metric_time__day")
        assert len(by_day) == 2 and set(by_day.values()) == set(before.values())
    finally:
        warehouse.query(
            "delete from marts.customer_receivables"
            " where as_of_date < (select max(as_of_date) from marts.customer_receivables)"
        )


def test_no_metric_can_be_asked_by_personal_data(metrics: Metrics) -> None:
    nodes = metrics.project.manifest(metrics.warehouse)["nodes"]
    for model in metrics.manifest.semantic_models:
        mart = nodes[f"model.classicmodels.{model.node_relation.alias}"]
        personal = {
            name
            for name, column in mart["columns"].items()
            if column["config"]["meta"]["personal_data"]
        }
        for element in (*model.dimensions, *model.entities):
            used = set(re.findall(r"\w+", element.expr or element.name))
            assert not used & personal, f"{model.name}.{element.name}"


def test_metricflow_finds_nothing_wrong(metrics: Metrics) -> None:
    checked = SemanticManifestValidator().validate_semantic_manifest(metrics.manifest)
    assert checked.all_issues == ()
    in_warehouse = DataWarehouseModelValidator(sql_client=metrics.client)
    checks = (
        in_warehouse.validate_semantic_models,
        in_warehouse.validate_dimensions,
        in_warehouse.validate_entities,
        in_warehouse.validate_simple_metrics,
        in_warehouse.validate_metrics,
    )
    try:
        assert [issue for check in checks for issue in check(metrics.manifest).all_issues] == []
    finally:
        DuckDBConnectionManager.close_all_connections()  # or this process goes on holding the file


def test_redshift_has_what_metrics_ask_for(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.manifest(Unbuilt())
    metrics = Metrics(project, Unbuilt())
    statements = {metrics.sql(metric, by) for metric, by in QUESTIONS}
    statements |= {metrics.sql(metric, by) for metric, (_, by, _) in MARTS.items()}
    assert {sql: asked for sql in statements if (asked := refusals(sql) + traps(sql))} == {}


# -- make metrics ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project before any build."""
    return copy_project(tmp_path_factory.mktemp("clone"))


def test_make_metrics_lists_them(clone: Path) -> None:
    listed = script(clone, "metrics")
    assert (listed.status, listed.err) == (0, "")
    for name in SOURCE:
        assert re.search(rf"^{name}\n {{6}}\S", listed.out, re.MULTILINE), name
    assert "product__product_line" in listed.out and "metric_time" in listed.out
    assert not list(clone.glob("*.duckdb"))


def test_a_question_before_the_first_build(clone: Path) -> None:
    asked = script(clone, "metrics", "--metrics", "revenue")
    assert (asked.status, asked.out) == (1, "")
    assert asked.err == (
        "make metrics: warehouse.duckdb has no marts that can be read: run make build first.\n"
    )
    assert not list(clone.glob("*.duckdb"))


@pytest.mark.parametrize("kind", ["duckdb", pytest.param("postgres", marks=LONG)])
def test_the_page_shows_what_is_answered(
    kind: str, clone: Path, tmp_path: Path, built: BuiltWarehouses
) -> None:
    page = (REPO / "docs" / "marts.md").read_text("utf-8")
    (shown,) = re.findall(r'make metrics QUERY="(.+)"\n```\n\n```text\n((?:.+\n)+)```', page)
    # A copy of what is parsed already. In it the file is where it is without a setting, for dbt
    # parses all anew for another place.
    copy = Path(shutil.copytree(clone, tmp_path / "copy"))
    warehouse = built.copy(kind, "new", "readme", copy).warehouse
    variables = {"TARGET": kind, **warehouse.variables} if kind != "duckdb" else {}
    answer = script(copy, "metrics", *shlex.split(shown[0]), **variables)
    assert answer.status == 0, answer.out + answer.err
    assert [line.rstrip() for line in answer.out.splitlines()] == [
        line.strip() for line in shown[1].splitlines()
    ]
    mistaken = script(copy, "metrics", "--metrics", "revenu", **variables)
    assert mistaken.status == 1
    assert "'revenue'" in mistaken.out and "Traceback" not in mistaken.out + mistaken.err
