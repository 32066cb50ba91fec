"""The dashboards in Superset: what `make bi` starts, asked as a browser asks and looked at in one.

On DuckDB, and on PostgreSQL as a user who may read the marts without personal columns.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from playwright.sync_api import APIRequestContext, APIResponse, Browser, Page

from pipeline.dashboards import SUPERSET, assets
from pipeline.warehouse import Postgres
from support.built import DAY, BuiltWarehouses
from support.clone import REPO
from support.commands import install
from support.one_run import own
from support.project import DuckDBWarehouse, PostgresWarehouse, Project, Warehouse, answer
from tools.servers import free_port

LAST_DAY = DAY
NOW = "date '2026-10-22' and date '2026-11-20'"
BEFORE = "date '2026-09-22' and date '2026-10-21'"
YEAR_BEFORE = "date '2025-10-22' and date '2025-11-20'"
READER, READER_PASSWORD = own("bi_reader"), "p@ss:w/rd #1%?&"
ENVIRONMENT = Path(os.environ.get("BI_VENV") or REPO / ".venv-bi").absolute()
SCREENSHOTS = REPO / "target" / "screenshots"
pytestmark = pytest.mark.long

DASHBOARDS = ("sales-last-30-days", "customers-and-receivables")
# Superset's pages ask one other server, which no setting ends; our header forbids it.
FORBIDDEN = "gateway.scarf.sh"


@dataclass(frozen=True)
class Ratio:
    """A metric that is one number by another, of a query for both, rounded half up."""

    metric: str
    sql: str
    places: int


def sold(days: str, amount: str = "revenue_amount") -> str:
    return f"sum(case when order_date between {days} then {amount} else 0 end)"


def change(metric: str, days: str) -> Ratio:
    sql = f"select {sold(NOW)} - {sold(days)}, {sold(days)} from marts.fact_orders where is_revenue"
    return Ratio(metric, sql, 4)


COUNTED = f"from marts.fact_orders where is_revenue and order_date between {NOW}"
BY_SEGMENT = """
    count(*) as customers, sum(order_count) as orders, sum(revenue_amount) as revenue,
    round(sum(revenue_amount) / nullif(sum(order_count), 0), 2) as average_order_value
    from marts.customer_segments
"""
UNMATCHED = (
    "count(*) as rows_without_match, sum(difference_amount) as difference"
    " from marts.payment_matches where match_status <> 'Matched'"
)
# What each chart must show, of facts where they can say it: the rows of each of its queries.
EXPECTED: dict[str, tuple[str | Ratio, ...]] = {
    "The 30 days": (
        "select distinct first_date, as_of_date, data_through_date from marts.sales_last_30_days",
    ),
    "Revenue": (f"select sum(revenue_amount) as revenue {COUNTED}",),
    "Against 30 days before": (change("revenue_change", BEFORE),),
    "Against a year earlier": (change("revenue_change_year", YEAR_BEFORE),),
    "Gross margin": (f"select sum(gross_margin_amount) as gross_margin {COUNTED}",),
    "Orders": (f"select count(distinct order_number) as orders {COUNTED}",),
    "Average order value": (
        Ratio(
            "average_order_value",
            f"select sum(revenue_amount), count(distinct order_number) {COUNTED}",
            2,
        ),
    ),
    "Revenue by day": (
        f"""
        select days.order_date as day,
            (select coalesce(sum(revenue_amount), 0) from marts.fact_orders as facts
             where is_revenue and facts.order_date = days.order_date) as "Last 30 days",
            (select coalesce(sum(revenue_amount), 0) from marts.fact_orders as facts
             where is_revenue and facts.order_date = days.order_date - 30) as "30 days before"
        from (select distinct order_date from marts.sales_daily) as days
        where days.order_date between {NOW}
        """,
    ),
    "Revenue by product line": (
        f"""
        select product_line, {sold(NOW)} as revenue, {sold(BEFORE)} as revenue_before
        from marts.fact_orders left join marts.dim_products using (product_version_key)
        where is_revenue group by product_line
        """,
    ),
    "Revenue by region": (
        f"""
        select region, {sold(NOW)} as revenue, {sold(BEFORE)} as revenue_before
        from marts.fact_orders left join marts.dim_locations using (location_key)
        where is_revenue group by region
        """,
    ),
    "Product lines and regions in figures": (
        """
        select product_line, region, unit_count, revenue_amount, revenue_amount_before,
            revenue_change_percent, revenue_amount_year_before, revenue_change_year_percent,
            gross_margin_amount
        from marts.sales_last_30_days
        """,
    ),
    "Top products": (
        f"""
        select product_name_now as product_name, product_code,
            product_line_at_order as product_line,
            sum(revenue_amount) as revenue, sum(gross_margin_amount) as gross_margin,
            sum(quantity_ordered) as units, count(*) as orders
        from marts.orders_obt where is_revenue and order_date between {NOW}
        group by 1, 2, 3
        """,
    ),
    "Orders by hour of arrival (UTC)": (
        """
        select hour_of_day, sum(order_count) as orders from marts.sales_by_arrival_hour
        where not is_first_load and hour_of_day is not null group by hour_of_day
        """,
    ),
    "The day of the figures": (
        "select distinct as_of_date, data_through_date from marts.customer_receivables",
    ),
    "Open receivables": (
        "select sum(open_amount) as open_receivables from marts.customer_receivables",
    ),
    "Overdue": (
        """
        select sum(overdue_1_to_30_amount + overdue_31_to_60_amount + overdue_61_to_90_amount
            + overdue_over_90_amount) as overdue from marts.customer_receivables
        """,
    ),
    "Overdue share": (
        Ratio(
            "overdue_share",
            "select sum(overdue_amount), sum(open_amount) from marts.customer_receivables",
            4,
        ),
    ),
    "Over the credit limit": (
        """
        select count(*) as customers_over_limit from marts.customer_receivables
        where open_amount > credit_limit
        """,
    ),
    "Customers by segment and churn risk": (
        """
        select segment,
            nullif(sum(case when churn_risk = 'High' then 1 else 0 end), 0) as "High",
            nullif(sum(case when churn_risk = 'Low' then 1 else 0 end), 0) as "Low",
            nullif(sum(case when churn_risk = 'Medium' then 1 else 0 end), 0) as "Medium",
            nullif(sum(case when churn_risk is null then 1 else 0 end), 0) as "None yet"
        from marts.customer_segments group by segment
        """,
    ),
    "Segments in figures": (
        f"select segment, {BY_SEGMENT} group by segment",
        f"select {BY_SEGMENT}",
    ),
    "Open receivables by age": (
        """
        select '0 (not due)' as days_overdue, sum(not_due_amount) as open_receivables
        from marts.customer_receivables
        union all select '1 to 30', sum(overdue_1_to_30_amount) from marts.customer_receivables
        union all select '31 to 60', sum(overdue_31_to_60_amount) from marts.customer_receivables
        union all select '61 to 90', sum(overdue_61_to_90_amount) from marts.customer_receivables
        union all select '91 and more', sum(overdue_over_90_amount) from marts.customer_receivables
        """,
    ),
    "Orders and payments by month": (
        """
        select month_start_date, ordered_amount as ordered, payment_amount as paid
        from marts.payments_monthly where month_start_date is not null
        """,
        """
        select month_start_date, balance_amount as balance
        from marts.payments_monthly where month_start_date is not null
        """,
    ),
    "Balance and credit limit used": (
        """
        select customer_name, territory, ordered_amount, paid_amount, balance_amount,
            overdue_amount, oldest_due_date, credit_limit, credit_limit_used_percent,
            is_over_credit_limit
        from marts.customer_receivables
        """,
    ),
    "What does not match": (
        f"select match_status, {UNMATCHED} group by match_status",
        f"select {UNMATCHED}",
    ),
    "What does not match, one by one": (
        """
        select match_status, customer_name_now as customer_name, order_number, order_date,
            order_amount, check_number, payment_date, payment_amount, difference_amount
        from marts.payment_matches
        left join (select customer_key, customer_name as customer_name_now
            from marts.dim_customers_current) as customers using (customer_key)
        where match_status <> 'Matched'
        """,
    ),
}


class Dashboards:
    """A `make bi` that runs: scripts/dashboards.py in a process group of its own."""

    def __init__(self, project: Path, variables: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "scripts/dashboards.py", "--port", str(self.port)],
            cwd=project,
            env={**os.environ, **variables, "BI_VENV": str(ENVIRONMENT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        waiting: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, args=(waiting,), daemon=True).start()
        while (line := waiting.get(timeout=600)) is not None:
            self.lines.append(line)
            if line.startswith("The dashboards are at"):
                return
        pytest.fail(f"make bi ended:\n{self.output}")

    def _read(self, waiting: queue.Queue[str | None]) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            waiting.put(line)
        waiting.put(None)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def password(self) -> str | None:
        """What was printed, if it was."""
        found = re.search(r"^User admin, password (\S+)", self.output, re.MULTILINE)
        return found[1] if found else None

    def interrupt(self) -> int:
        """Ctrl-C, as a terminal sends it to all of the group; the exit status."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(timeout=60)

    def alive(self) -> bool:
        """Whether any process of the group is left."""
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@dataclass
class Seen:
    """What a browser asked and showed of the dashboards."""

    requests: dict[str, dict[str, Any]] = field(default_factory=dict)  # chart -> what it asks
    answers: dict[str, list[Any]] = field(default_factory=dict)  # chart -> rows of each query
    texts: dict[str, str] = field(default_factory=dict)  # dashboard -> what a person reads
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Served:
    """Dashboards over a warehouse, and who may log in."""

    dashboards: Dashboards
    warehouse: Warehouse
    password: str


@pytest.fixture(scope="module")
def superset() -> None:
    """The environment of `make bi`, installed unless it is there."""
    install("bi-environment", "BI_VENV", ENVIRONMENT)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), as_of=LAST_DAY)


@pytest.fixture(scope="module")
def warehouses(project: Project, built: BuiltWarehouses) -> dict[str, Warehouse]:
    """A shop of which a second load saw more, in both warehouses."""
    return {
        target: built.copy(target, "changed", "dashboards", project.folder).warehouse
        for target in ("duckdb", "postgres")
    }


@pytest.fixture(scope="module")
def passwords() -> dict[Path, str]:
    """What each Superset printed when it was new: it says it once."""
    return {}


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def served(
    request: pytest.FixtureRequest,
    superset: None,
    project: Project,
    warehouses: dict[str, Warehouse],
    passwords: dict[Path, str],
) -> Iterator[Served]:
    warehouse = warehouses[request.param]
    variables = {"TARGET": warehouse.target, **warehouse.variables}
    if isinstance(warehouse, PostgresWarehouse):
        create_reader(warehouse, project)
        variables |= {"BI_PGUSER": READER, "BI_PGPASSWORD": READER_PASSWORD}
    dashboards = Dashboards(project.folder, variables)
    if dashboards.password:
        passwords[project.folder] = dashboards.password
    try:
        yield Served(dashboards, warehouse, passwords[project.folder])
    finally:
        dashboards.interrupt()


def create_reader(warehouse: PostgresWarehouse, project: Project) -> None:
    """A user who may read of the marts what is not personal, and nothing else."""
    server = warehouse.server
    server.execute(f"drop role if exists {READER}")
    server.execute(f"create role {READER} login password '{READER_PASSWORD}'")
    warehouse.query(f"grant usage on schema marts to {READER}; select 1")
    for node in project.manifest(warehouse)["nodes"].values():
        if node["resource_type"] == "model" and node["config"]["schema"] == "marts":
            names = [
                name
                for name, column in node["columns"].items()
                if not column["config"]["meta"]["personal_data"]
            ]
            table = f"marts.{node['name']}"
            warehouse.query(f"grant select ({', '.join(names)}) on {table} to {READER}; select 1")


@pytest.fixture(scope="module")
def seen(served: Served, browser: Browser, request: pytest.FixtureRequest) -> Seen:
    """Both dashboards, opened by a person who logs in; with pictures for whoever wants to look."""
    seen = Seen()
    with browser.new_context(viewport={"width": 1600, "height": 2400}) as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        watch(page, seen)
        page.goto(f"{served.dashboards.url}/login/")
        page.fill("#username", "admin")
        page.fill("#password", served.password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/login" not in url)
        for slug in DASHBOARDS:
            page.goto(f"{served.dashboards.url}/superset/dashboard/{slug}/")
            seen.texts[slug] = read(page)
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            picture = SCREENSHOTS / f"{slug}-{served.warehouse.target}.png"
            page.screenshot(path=picture, full_page=True)
    return seen


def watch(page: Page, seen: Seen) -> None:
    """Note what charts ask and are told, and everything that goes wrong."""

    def answered(response: Any) -> None:
        if response.status >= 400:
            seen.problems.append(f"{response.status} {response.url}")
        if "/api/v1/chart/data" not in response.url:
            return
        asked = json.loads(response.request.post_data)
        form = asked["form_data"]
        if response.ok and "slice_id" in form and form.get("viz_type") != "filter_select":
            name = names[form["slice_id"]]
            seen.requests[name] = asked
            seen.answers[name] = rows_of(response.body())

    def said(message: Any) -> None:
        if message.type == "error" and FORBIDDEN not in message.text:
            seen.problems.append(message.text)

    def charts(response: Any) -> None:
        if re.search(r"/api/v1/dashboard/[^/]+/charts$", response.url):
            names.update({chart["id"]: chart["slice_name"] for chart in response.json()["result"]})

    names: dict[int, str] = {}
    page.on("response", charts)
    page.on("response", answered)
    page.on("console", said)
    page.on("pageerror", lambda error: seen.problems.append(str(error)))


def read(page: Page) -> str:
    """Wait until every chart of the dashboard is drawn; the text of the page."""
    page.wait_for_selector("[data-test=chart-grid-component]")
    page.wait_for_function(
        """() => {
            const charts = [...document.querySelectorAll('[data-test=chart-grid-component]')];
            const busy = '.loading, [data-test=loading-indicator], .ant-spin-spinning';
            return charts.length > 5 && !document.querySelector(busy) && charts.every(chart =>
                chart.querySelector('[data-test=slice-container], .ant-alert, .ant-empty'));
        }"""
    )
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2000)  # lines and bars grow to where they belong
    return page.inner_text("body")


def rows_of(body: bytes) -> list[Any]:
    """The rows of each query in an answer, with numbers as they are written."""
    return [query["data"] for query in json.loads(body, parse_float=Decimal)["result"]]


def expected_rows(warehouse: Warehouse, query: str | Ratio) -> list[dict[str, Any]]:
    """What a query says, in the form in which Superset answers."""
    if isinstance(query, Ratio):
        ((above, below),) = answer(warehouse, query.sql)[1]
        exact = Decimal(above) / Decimal(below)
        return [{query.metric: exact.quantize(Decimal(10) ** -query.places, ROUND_HALF_UP)}]
    names, rows = answer(warehouse, query)
    return [dict(zip(names, map(in_json, row), strict=True)) for row in rows]


def in_json(value: Any) -> Any:
    """Days as milliseconds since 1970, doubles as what they are written as."""
    if isinstance(value, date):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()) * 1000
    return Decimal(repr(value)) if isinstance(value, float) else value


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in an order of their own; numbers that are equal look alike."""

    def key(row: dict[str, Any]) -> str:
        return repr(sorted((name, plain(value)) for name, value in row.items()))

    return sorted(rows, key=key)


def plain(value: Any) -> str:
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        return str(Decimal(value).normalize() + 0)
    return str(value)


def logged_in(served: Served, browser: Browser) -> tuple[APIRequestContext, dict[str, str]]:
    """A client of the API: logged in, with the header that its session's changes need."""
    api = browser.new_context(base_url=served.dashboards.url).request
    login = {"username": "admin", "password": served.password, "provider": "db"}
    answer = api.post("/api/v1/security/login", data=login)
    assert answer.ok, answer.text()
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    token = api.get("/api/v1/security/csrf_token/", headers=bearer).json()["result"]
    return api, {**bearer, "X-CSRFToken": token, "Referer": served.dashboards.url}


def test_each_chart_shows_what_the_marts_say(served: Served, seen: Seen, browser: Browser) -> None:
    assert set(seen.answers) == set(EXPECTED)
    api, headers = logged_in(served, browser)
    for name, queries in EXPECTED.items():
        expected = [in_order(expected_rows(served.warehouse, query)) for query in queries]
        assert all(expected), f"{name} would be compared with nothing"
        answer = api.post("/api/v1/chart/data", data=seen.requests[name], headers=headers)
        assert answer.ok, f"{name}: {answer.text()}"
        for found in (seen.answers[name], rows_of(answer.body())):
            assert [in_order(rows) for rows in found] == expected, name


def test_tables_begin_with_the_largest(seen: Seen) -> None:
    for name, column in {
        "Top products": "revenue",
        "Product lines and regions in figures": "revenue_amount",
        "Balance and credit limit used": "balance_amount",
        "What does not match, one by one": "difference_amount",
    }.items():
        amounts = [row[column] for row in seen.answers[name][0]]
        assert amounts == sorted(amounts, reverse=True), name


def test_pages_are_whole_and_ask_nobody_else(seen: Seen) -> None:
    assert seen.problems == []
    sales, customers = (seen.texts[slug] for slug in DASHBOARDS)
    for text in (sales, customers):
        assert not re.search(r"\b(error|unexpected|went wrong|no data|no results)\b", text, re.I)
        assert "2026-11-20" in text
    for title in EXPECTED:
        assert title in sales or title in customers
    # Money to the cent, in dollars; changes with their sign.
    ((revenue,),) = (row.values() for row in seen.answers["Revenue"][0])
    ((change,),) = (row.values() for row in seen.answers["Against 30 days before"][0])
    ((receivables,),) = (row.values() for row in seen.answers["Open receivables"][0])
    assert f"${revenue:,.2f}" in sales
    assert f"{change * 100:+,.1f}%".replace("-", "−") in sales  # noqa: RUF001
    assert f"${receivables:,.2f}" in customers


def test_changes_need_a_token_and_pages_have_their_headers(
    served: Served, browser: Browser
) -> None:
    api, headers = logged_in(served, browser)
    without = {name: value for name, value in headers.items() if name != "X-CSRFToken"}
    refused = api.post("/api/v1/dashboard/", data={"dashboard_title": "x"}, headers=without)
    assert refused.status == 400 and "CSRF" in refused.text()
    made = api.post("/api/v1/dashboard/", data={"dashboard_title": "x"}, headers=headers)
    assert made.status == 201, made.text()
    number = made.json()["id"]
    assert api.delete(f"/api/v1/dashboard/{number}", headers=headers).ok

    stranger = browser.new_context(base_url=served.dashboards.url).request
    assert stranger.get("/api/v1/chart/").status == 401
    assert stranger.post("/api/v1/chart/data", data={}).status in (400, 401)
    login = stranger.get("/login/")
    assert "scarf" not in login.headers["content-security-policy"]
    assert "'unsafe-eval'" not in login.headers["content-security-policy"]
    assert login.headers["x-frame-options"] == "DENY"
    assert login.headers["x-content-type-options"] == "nosniff"
    assert login.headers["referrer-policy"] == "strict-origin-when-cross-origin"
    cookie = cookie_of(login)
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    # Passwords that everybody knows.
    for password in ("admin", "password", ""):
        tried = {"username": "admin", "password": password, "provider": "db"}
        assert stranger.post("/api/v1/security/login", data=tried).status in (400, 401)


def cookie_of(answer: APIResponse) -> str:
    (cookie,) = (h["value"] for h in answer.headers_array if h["name"].lower() == "set-cookie")
    return cookie


def test_nobody_but_this_machine_can_connect(served: Served) -> None:
    for address, reachable in {"127.0.0.1": True, "127.0.0.2": False}.items():
        with socket.socket() as client:
            client.settimeout(5)
            status = client.connect_ex((address, served.dashboards.port))
            assert (status == 0) == reachable, address


def test_what_superset_keeps_is_private_and_has_no_password(
    served: Served, project: Project
) -> None:
    state = project.folder / ".superset"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    files = [path for path in state.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"secret_key", "superset.db", "superset.log"}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        for secret in (served.password, READER_PASSWORD):
            assert secret.encode() not in path.read_bytes(), path
    assert READER_PASSWORD not in served.dashboards.output


def test_the_warehouse_cannot_be_written(served: Served, browser: Browser) -> None:
    api, headers = logged_in(served, browser)
    (database,) = api.get("/api/v1/database/", headers=headers).json()["result"]
    for sql in ("create table marts.mine (a integer)", "delete from marts.payments_monthly"):
        asked = {"database_id": database["id"], "sql": sql, "schema": "marts"}
        assert not api.post("/api/v1/sqllab/execute/", data=asked, headers=headers).ok
    assert answer(served.warehouse, "select count(*) from marts.payments_monthly")[1] > [(0,)]


def test_a_build_can_write_while_dashboards_are_open(
    served: Served, seen: Seen, browser: Browser
) -> None:
    if not isinstance(served.warehouse, DuckDBWarehouse):
        pytest.skip("PostgreSQL lets all read and write")
    api, headers = logged_in(served, browser)
    asked = seen.requests["Revenue"]
    with duckdb.connect(str(served.warehouse.path)):  # not read-only: as dbt and the loader
        answer = api.post("/api/v1/chart/data", data=asked, headers=headers)
        assert "The warehouse is being built" in answer.text()
    again = api.post("/api/v1/chart/data", data=asked, headers=headers)
    assert rows_of(again.body()) == seen.answers["Revenue"]


def test_second_start_keeps_the_password_and_takes_changed_charts(
    superset: None,
    project: Project,
    warehouses: dict[str, Warehouse],
    passwords: dict[Path, str],
    browser: Browser,
) -> None:
    variables = warehouses["duckdb"].variables
    chart = project.folder / "bi/superset/charts/sales_revenue.yaml"
    first = Dashboards(project.folder, variables)
    assert first.interrupt() == 0
    assert not first.alive()
    if first.password:  # this test alone
        passwords[project.folder] = first.password
    second = Dashboards(project.folder, variables)
    assert second.interrupt() == 0
    assert "password" not in second.output and "up to date" not in second.output
    before = chart.read_text("utf-8")
    chart.write_text(before.replace("slice_name: Revenue", "slice_name: Turnover"), "utf-8")
    third = Dashboards(project.folder, variables)
    try:
        assert "password" not in third.output and "up to date" in third.output
        served = Served(third, warehouses["duckdb"], passwords[project.folder])
        api, headers = logged_in(served, browser)
        found = api.get("/api/v1/chart/?q=(page_size:100)", headers=headers).json()["result"]
        assert {one["slice_name"] for one in found} == {*EXPECTED, "Turnover"} - {"Revenue"}
    finally:
        chart.write_text(before, "utf-8")
        third.interrupt()


Mistake = tuple[dict[str, str], tuple[str, ...]]


@pytest.mark.parametrize(
    "mistake",
    [
        ({"DUCKDB_PATH": "nowhere.duckdb"}, ("nowhere.duckdb", "make build")),
        ({"DUCKDB_PATH": "empty.duckdb"}, ("empty.duckdb", "sales_last_30_days", "make build")),
        ({"DUCKDB_PATH": "text.duckdb"}, ("text.duckdb", "cannot be read")),
        ({"TARGET": "postgres", "PGHOST": "127.0.0.1", "PGPORT": "9"}, ("127.0.0.1:9", "refused")),
        ({"TARGET": "oracle"}, ("TARGET=oracle",)),
        ({"BI_VENV": "nowhere"}, ("nowhere", "make bi")),
    ],
    ids=lambda mistake: "-".join(mistake[0].values()),
)
def test_mistakes_are_one_sentence(mistake: Mistake, superset: None, project: Project) -> None:
    variables, words = mistake
    with duckdb.connect(str(project.folder / "empty.duckdb")):
        pass
    (project.folder / "text.duckdb").write_text("no database")
    assert_one_sentence(started(project, free_port(), variables), *words)


def test_a_taken_port_is_one_sentence(
    superset: None, project: Project, warehouses: dict[str, Warehouse]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        failed = started(project, port, warehouses["duckdb"].variables)
    assert_one_sentence(failed, f"Port {port}", f"PORT={port + 1}")


def started(
    project: Project, port: int, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/dashboards.py", "--port", str(port)]
    environment = {**os.environ, "BI_VENV": str(ENVIRONMENT), **variables}
    return subprocess.run(
        command, cwd=project.folder, env=environment, capture_output=True, text=True
    )


def assert_one_sentence(failed: subprocess.CompletedProcess[str], *words: str) -> None:
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith("make bi: ")
    for word in words:
        assert word in line


def datasets() -> dict[str, dict[str, Any]]:
    found = [yaml.safe_load(path.read_text("utf-8")) for path in (SUPERSET / "datasets").iterdir()]
    return {dataset["table_name"]: dataset for dataset in found}


def test_metrics_add_up_only_what_can_be_added_up(project: Project, tmp_path: Path) -> None:
    nodes = project.manifest(DuckDBWarehouse(tmp_path / "none.duckdb"))["nodes"].values()
    marts = {
        node["name"]: {name: c["config"]["meta"] for name, c in node["columns"].items()}
        for node in nodes
        if node["resource_type"] == "model" and node["config"]["schema"] == "marts"
    }
    compared = 0
    for name, dataset in datasets().items():
        read = re.findall(r"\bmarts\.(\w+)", dataset["sql"] or f"marts.{name}")
        assert read and set(read) <= set(marts), name
        columns = {c: meta for mart in read for c, meta in marts[mart].items()}
        for metric in dataset["metrics"]:
            for column in re.findall(r"SUM\((\w+)\)", metric["expression"]):
                if column in columns:  # others are named in the dataset's own SQL
                    assert columns[column]["additive"], (name, metric["metric_name"])
                    compared += 1
        if not dataset["sql"]:
            physical = {c["column_name"] for c in dataset["columns"] if not c.get("expression")}
            assert physical <= set(columns), name
            assert not any(columns[column]["personal_data"] for column in physical), name
    assert compared > 10


def test_another_schema_and_warehouse_are_rendered() -> None:
    rendered = assets(Postgres.dialect, "ann_marts")
    files = {name: yaml.safe_load(text) for name, text in rendered.items()}
    assert files["databases/warehouse.yaml"]["sqlalchemy_uri"] == "postgresql+psycopg2:///Warehouse"
    of_sets = [content for name, content in files.items() if name.startswith("datasets/")]
    assert {content["schema"] for content in of_sets} == {"ann_marts"}
    for content in of_sets:
        assert not re.search(r'(?<!")\bmarts\.', content["sql"] or "")
