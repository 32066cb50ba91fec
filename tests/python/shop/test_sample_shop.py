"""The sample shop: its counts, its planted faults, and the events that are played on it."""

import sqlite3
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sample_shop.cli import main
from sample_shop.databases import session
from sample_shop.events import KINDS, Player
from sample_shop.generate import Batch, Plan, batches
from sample_shop.schema import TABLES
from sample_shop.shop import ShopError, UsageError, create_shop, play_events
from sample_shop.words import COUNTRIES
from support.one_run import own
from tools.servers import MariaDBServer, PostgresServer

AS_OF = date(2026, 11, 20)
DayRows = list[dict[str, Any]]
Shop = dict[str, DayRows]


def read_shop(url: str) -> Shop:
    """All rows by table, in the order of their keys, in the same spelling for every database."""
    shop: Shop = {}
    with session(url, create=False) as database:
        for table in TABLES.values():
            rows = [
                {
                    column.name: common(value, column.type)
                    for column, value in zip(table.columns, row, strict=True)
                }
                for row in database.execute(f'select {table.column_list} from "{table.name}"')
            ]
            shop[table.name] = sorted(rows, key=lambda row: [row[k] for k in table.primary_key])
    return shop


def common(value: Any, type_: str) -> Any:
    if value is None:
        return None
    if type_.startswith("decimal"):
        cents = Decimal(str(value)) * 100
        assert cents == int(cents)
        return int(cents)
    return str(value) if type_ == "date" else value


def sqlite_url(directory: Path) -> str:
    return f"sqlite:///{directory / 'shop.sqlite'}"


@pytest.fixture(scope="module", params=[1, 7, 4711])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    url = sqlite_url(tmp_path_factory.mktemp("shop"))
    create_shop(url, seed=request.param, as_of=AS_OF)
    return read_shop(url)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A small shop in a file of its own."""
    url = sqlite_url(tmp_path)
    create_shop(url, as_of=AS_OF)
    return url


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    server: MariaDBServer | PostgresServer = request.getfixturevalue(request.param)
    return server.create_database(f"shop_{uuid4().hex}")


# The shop as it is made


def test_same_rows_and_events_on_every_database(
    tmp_path: Path, mariadb: MariaDBServer, postgres: PostgresServer
) -> None:
    urls = [
        sqlite_url(tmp_path),
        mariadb.create_database(own("same_rows")),
        postgres.create_database(own("same_rows")),
    ]
    written = [create_shop(url, seed=3, as_of=AS_OF) for url in urls]
    assert written[0] == written[1] == written[2]
    made = [read_shop(url) for url in urls]
    assert made[0] == made[1] == made[2]
    played = [play_events(url, 60, seed=5, as_of=date(2027, 1, 10)) for url in urls]
    assert played[0] == played[1] == played[2]
    changed = [read_shop(url) for url in urls]
    assert changed[0] == changed[1] == changed[2]
    assert changed[0] != made[0]


def test_seed_and_day_decide_the_rows() -> None:
    def rows(seed: int, as_of: date) -> list[Batch]:
        return list(batches(Plan(1, seed, as_of)))

    assert rows(1, AS_OF) == rows(1, AS_OF)
    assert rows(1, AS_OF) != rows(2, AS_OF)
    assert rows(1, AS_OF) != rows(1, date(2026, 11, 19))


def test_types_are_those_of_the_original(mariadb: MariaDBServer, postgres: PostgresServer) -> None:
    wanted = {
        (table.name, column.name, column.type, column.nullable)
        for table in TABLES.values()
        for column in table.columns
    }
    create_shop(mariadb.create_database(own("typed")))
    found = mariadb.execute(
        "select table_name, column_name, column_type, is_nullable = 'YES'"
        f" from information_schema.columns where table_schema = '{own('typed')}'"
    )
    assert wanted == {
        (
            table,
            name,
            type_.replace("int(11)", "int").replace("smallint(6)", "smallint"),
            bool(null),
        )
        for table, name, type_, null in found
    }
    url = postgres.create_database(own("typed"))
    create_shop(url)
    with session(url, create=False) as database:
        types = database.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid in ('products'::regclass, 'productlines'::regclass) and attnum > 0"
        )
        keys = database.execute(
            "select contype, count(*) from pg_constraint"
            " where connamespace = 'public'::regnamespace group by 1"
        )
    assert dict(types).items() >= {
        ("MSRP", "numeric(10,2)"),
        ("quantityInStock", "smallint"),
        ("image", "bytea"),
        ("htmlDescription", "text"),
        ("productLine", "character varying(50)"),
    }
    assert dict(keys).items() >= {("p", 8), ("f", 8)}


def test_counts(shop: Shop) -> None:
    counts = {table: len(rows) for table, rows in shop.items()}
    lines, payments = counts.pop("orderdetails"), counts.pop("payments")
    assert counts == {
        "offices": 7,
        "employees": 23,
        "productlines": 7,
        "products": 110,
        "customers": 122,
        "orders": 326,
    }
    assert 2_950 <= lines <= 3_050
    assert 255 <= payments <= 295


def test_scale_multiplies_and_products_grow_slowly(tmp_path: Path) -> None:
    written = create_shop(sqlite_url(tmp_path), scale=10, as_of=AS_OF)
    assert (written["customers"], written["orders"]) == (1_220, 3_260)
    assert 29_000 <= written["orderdetails"] <= 31_000
    assert 2_600 <= written["payments"] <= 2_900
    assert 110 < written["products"] < 330
    assert 23 < written["employees"] < 69


def test_memory_does_not_grow_with_the_shop() -> None:
    tracemalloc.start()
    rows = sum(len(batch) for _, batch in batches(Plan(30, 1, AS_OF)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows > 100_000
    assert peak < 6_000_000  # bytes; all rows would take five times that


def test_no_reference_leads_nowhere(shop: Shop) -> None:
    for table in TABLES.values():
        keys = [tuple(row[name] for name in table.primary_key) for row in shop[table.name]]
        assert len(set(keys)) == len(keys)
        for key in table.foreign_keys:
            parents = {row[key.target_column] for row in shop[key.target]}
            children = {row[key.column] for row in shop[table.name]}
            assert children - parents <= {None}, (table.name, key)


def test_dates_prices_and_lines_make_sense(shop: Shop) -> None:
    products = {row["productCode"]: row for row in shop["products"]}
    lines = defaultdict(list)
    for row in shop["orderdetails"]:
        lines[row["orderNumber"]].append(row["orderLineNumber"])
        product = products[row["productCode"]]
        assert product["buyPrice"] < product["MSRP"]
        assert 0.79 * product["MSRP"] < row["priceEach"] <= 1.05 * product["MSRP"]
        assert 10 <= row["quantityOrdered"] <= 100
    assert len(lines) == len(shop["orders"])
    assert all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in lines.values())
    for order in shop["orders"]:
        assert order["orderDate"] < order["requiredDate"]
        if order["shippedDate"]:
            assert order["orderDate"] <= order["shippedDate"] <= AS_OF.isoformat()
        assert (order["shippedDate"] is None) == (
            order["status"] in ("In Process", "On Hold", "Cancelled")
        )
    assert all(payment["paymentDate"] <= AS_OF.isoformat() for payment in shop["payments"])


def test_orders_spread_with_season_and_growth(shop: Shop) -> None:
    days = [order["orderDate"] for order in shop["orders"]]
    assert "2024-06-20" <= min(days) <= "2024-07-10"
    assert max(days) == "2026-11-20"
    months = Counter(day[:7] for day in days)
    assert len(months) == 30
    assert months["2025-11"] > months["2026-01"]
    assert sum(day > "2025-11-20" for day in days) > sum(day <= "2025-11-20" for day in days) * 0.8


@pytest.mark.parametrize("month", range(1, 13))
def test_last_thirty_days_show_something(month: int) -> None:
    as_of = date(2026, month, 15)
    rows: dict[str, list[Any]] = defaultdict(list)
    for table, batch in batches(Plan(1, 1, as_of)):
        rows[table] += batch
    recent = {
        row[0]: row[6] for row in rows["orders"] if (as_of - date.fromisoformat(row[1])).days < 30
    }
    product_lines = {row[0]: row[2] for row in rows["products"]}
    countries = {row[0]: row[10] for row in rows["customers"]}
    assert len(recent) >= 15
    assert len({product_lines[row[1]] for row in rows["orderdetails"] if row[0] in recent}) >= 4
    assert len({countries[customer] for customer in recent.values()}) >= 4


# The faults that are there on purpose


def test_customers_without(shop: Shop) -> None:
    customers = {row["customerNumber"]: row for row in shop["customers"]}
    buyers = {row["customerNumber"] for row in shop["orders"]}
    assert len(customers.keys() - buyers) == 24
    without = {n for n, row in customers.items() if row["salesRepEmployeeNumber"] is None}
    assert without - buyers
    assert without & buyers
    assert {None, ""} < {row["postalCode"] for row in customers.values()}
    assert {None, 0} < {row["creditLimit"] for row in customers.values()}


@pytest.mark.parametrize(
    ("table", "column"),
    [("customers", "addressLine2"), ("customers", "state"), ("orders", "comments")],
)
def test_empty_strings_mixed_with_nulls(shop: Shop, table: str, column: str) -> None:
    counts = Counter(row[column] for row in shop[table])
    assert counts[None] >= 5
    assert counts[""] >= 5
    assert len(counts) > 5


def test_a_postal_code_in_two_cities_fans_out(shop: Shop) -> None:
    buyers = {row["customerNumber"] for row in shop["orders"]}
    cities = defaultdict(set)
    for row in shop["customers"]:
        if row["postalCode"] and row["customerNumber"] in buyers:
            cities[row["postalCode"]].add(row["city"].strip())
    assert max(map(len, cities.values())) >= 2
    places = {(row["city"].strip(), row["state"]) for row in shop["customers"] if row["state"]}
    assert max(Counter(city for city, _ in places).values()) >= 2


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("customers", "customerName"),
        ("customers", "contactFirstName"),
        ("customers", "city"),
        ("customers", "country"),
        ("products", "productName"),
        ("products", "productVendor"),
    ],
)
def test_spaces_around(shop: Shop, table: str, column: str) -> None:
    values = [row[column] for row in shop[table]]
    assert any(value != value.strip() for value in values)
    assert sum(value != value.strip() for value in values) < len(values) / 10


def test_countries_are_known_once_trimmed(shop: Shop) -> None:
    assert {row["country"].strip() for row in shop["customers"]} == COUNTRIES.keys()
    assert {row["territory"] for row in shop["offices"]} == {"NA", "EMEA", "APAC", "Japan"}


def test_orders_of_all_kinds(shop: Shop) -> None:
    statuses = Counter(row["status"] for row in shop["orders"])
    assert statuses.keys() == {
        *("Shipped", "Cancelled", "In Process", "Resolved", "On Hold", "Disputed")
    }
    assert statuses["Shipped"] > 280
    late = [row for row in shop["orders"] if (row["shippedDate"] or "") > row["requiredDate"]]
    assert 3 <= len(late) <= 20


def test_odd_texts(shop: Shop) -> None:
    comments = [row["comments"] or "" for row in shop["orders"]]
    for odd in ("\n", "\r\n", "\t", '"', "'", "\\", "🚂", "配達", ";", ","):
        assert any(odd in comment for comment in comments), odd
    assert {"NULL", "\\N"} <= set(comments)
    assert any(comment.endswith("\\") for comment in comments)
    names = {row["contactFirstName"].strip() for row in shop["customers"]}
    assert {"Łukasz", "Søren"} <= names
    assert {"𠮷田", "D'Arcy"} <= {row["contactLastName"] for row in shop["customers"]}
    assert "東京" in {row["city"].strip() for row in shop["customers"]}
    descriptions = [row["productDescription"] for row in shop["products"]]
    for odd in ("\n", "\t", '"'):
        assert any(odd in description for description in descriptions), odd


def test_products_never_ordered(shop: Shop) -> None:
    ordered = {row["productCode"] for row in shop["orderdetails"]}
    assert len({row["productCode"] for row in shop["products"]} - ordered) == 1


def test_product_lines(shop: Shop) -> None:
    lines = {row["productLine"]: row for row in shop["productlines"]}
    assert {row["productLine"] for row in shop["products"]} == lines.keys()
    assert lines["Trains"]["htmlDescription"] is None
    assert lines["Trains"]["image"] is None
    assert lines["Planes"]["image"] == bytes(range(256))
    assert lines["Classic Cars"]["image"] == b""


def test_payments_do_not_match_orders(shop: Shop) -> None:
    ordered: Counter[int] = Counter()
    customer_of = {row["orderNumber"]: row["customerNumber"] for row in shop["orders"]}
    for row in shop["orderdetails"]:
        ordered[customer_of[row["orderNumber"]]] += row["quantityOrdered"] * row["priceEach"]
    paid: Counter[int] = Counter()
    for row in shop["payments"]:
        assert row["amount"] > 0
        paid[row["customerNumber"]] += row["amount"]
    assert any(paid[customer] > ordered[customer] for customer in ordered)
    assert any(paid[customer] == 0 for customer in ordered)
    assert any(paid[customer] == ordered[customer] for customer in ordered)


def test_employees_report_to_one_president(shop: Shop) -> None:
    boss = {row["employeeNumber"]: row["reportsTo"] for row in shop["employees"]}
    assert list(boss.values()).count(None) == 1
    for number in boss:
        chain = [number]
        while (above := boss[chain[-1]]) is not None:
            assert above not in chain
            chain.append(above)
    assert {row["officeCode"] for row in shop["employees"]} == {*"1234567"}


def test_nothing_is_copied_from_the_original(
    classicmodels_sql: Path, mariadb: MariaDBServer, shop: Shop
) -> None:
    original_url = mariadb.create_database(own("original"))
    mariadb.load_file(classicmodels_sql, own("original"))
    original = read_shop(original_url)
    assert len(original["orderdetails"]) == 2_996
    for table, column in (
        ("customers", "customerName"),
        ("customers", "phone"),
        ("customers", "addressLine1"),
        ("products", "productCode"),
        ("products", "productName"),
        ("products", "productDescription"),
        ("products", "productVendor"),
        ("productlines", "textDescription"),
        ("employees", "email"),
        ("offices", "addressLine1"),
        ("payments", "checkNumber"),
    ):
        assert not {row[column] for row in shop[table]} & {row[column] for row in original[table]}


def test_events_on_the_original(classicmodels_sql: Path, mariadb: MariaDBServer) -> None:
    url = mariadb.create_database(own("original_events"))
    mariadb.load_file(classicmodels_sql, own("original_events"))
    before = read_shop(url)
    events = play_events(url, 200, as_of=date(2005, 7, 31))
    assert {event.kind for event in events} == KINDS.keys()
    after = read_shop(url)
    assert len(after["orders"]) != len(before["orders"])
    test_no_reference_leads_nowhere(after)


# Events


def changes(before: Shop, after: Shop) -> dict[str, tuple[DayRows, DayRows]]:
    """What each table lost and gained; a changed row is in both."""
    found = {}
    for table, rows in before.items():
        known = {tuple(row.values()) for row in rows}
        kept = {tuple(row.values()) for row in after[table]}
        lost = [row for row in rows if tuple(row.values()) not in kept]
        gained = [row for row in after[table] if tuple(row.values()) not in known]
        if lost or gained:
            found[table] = (lost, gained)
    return found


def happen(url: str, kind: str) -> tuple[dict[str, tuple[DayRows, DayRows]], str]:
    """Play one event of `kind`; what changed, and what it says."""
    before = read_shop(url)
    with session(url, create=False) as database:
        player = Player(database, seed=1)
        player.day = date(2026, 11, 25)
        text = next(filter(None, (KINDS[kind].play(player) for _ in range(50))))
    return changes(before, read_shop(url)), text


def changed_columns(rows: tuple[DayRows, DayRows]) -> set[str]:
    (before,), (after,) = rows
    return {column for column in before if before[column] != after[column]}


def test_event_new_order(url: str) -> None:
    found, text = happen(url, "new order")
    assert found.keys() == {"orders", "orderdetails"}
    [order] = found["orders"][1]
    assert order["orderNumber"] == 10_327
    assert (order["orderDate"], order["status"]) == ("2026-11-25", "In Process")
    lines = found["orderdetails"][1]
    assert {line["orderNumber"] for line in lines} == {10_327}
    total = sum(line["quantityOrdered"] * line["priceEach"] for line in lines)
    assert f"{len(lines)} products for {total / 100:,.2f}" in text


def test_event_status_step(url: str) -> None:
    steps = set()
    for _ in range(12):
        found, text = happen(url, "status step")
        assert found.keys() == {"orders"}
        (before,), (after,) = found["orders"]
        assert before["status"] != after["status"]
        assert text == f"order {after['orderNumber']}: {before['status']} -> {after['status']}"
        if after["status"] == "Shipped":
            assert after["shippedDate"] == "2026-11-25"
        steps.add((before["status"], after["status"]))
    assert ("In Process", "Shipped") in steps


def test_event_payment(url: str) -> None:
    found, text = happen(url, "payment")
    assert found.keys() == {"payments"}
    [payment] = found["payments"][1]
    assert payment["paymentDate"] == "2026-11-25"
    assert f"over {payment['amount'] / 100:.2f}" in text


def test_event_price_change(url: str) -> None:
    found, text = happen(url, "price change")
    assert found.keys() == {"products"}
    [column] = changed_columns(found["products"])
    assert column in ("MSRP", "buyPrice")
    (before,), (after,) = found["products"]
    assert after["buyPrice"] < after["MSRP"]
    assert f"{column} {before[column] / 100:.2f} -> {after[column] / 100:.2f}" in text


def test_price_changes_keep_a_margin(url: str) -> None:
    with session(url, create=False) as database:
        database.execute('update products set "MSRP" = round("buyPrice" + 0.02, 2)')
        player = Player(database, seed=1)
        for _ in range(100):
            KINDS["price change"].play(player)
    assert all(row["buyPrice"] < row["MSRP"] for row in read_shop(url)["products"])


def test_event_customer_moves(url: str) -> None:
    found, text = happen(url, "customer moves")
    assert found.keys() == {"customers"}
    assert {"city", "addressLine1"} <= changed_columns(found["customers"])
    (before,), (after,) = found["customers"]
    assert before["city"].strip() in text
    assert f"to {after['city']}, {after['country']}" in text


def test_event_representative_changes(url: str) -> None:
    found, text = happen(url, "representative changes")
    assert changed_columns(found.pop("customers")) == {"salesRepEmployeeNumber"}
    assert not found
    assert "looked after by" in text


def test_event_credit_limit_changes(url: str) -> None:
    found, text = happen(url, "credit limit changes")
    (_,), (after,) = found["customers"]
    assert changed_columns(found.pop("customers")) == {"creditLimit"}
    assert not found
    assert text.endswith(f"-> {after['creditLimit'] / 100:.2f}")


def test_event_order_deleted(url: str) -> None:
    found, text = happen(url, "order deleted")
    assert found.keys() == {"orders", "orderdetails"}
    [order] = found["orders"][0]
    lines, gained = found["orderdetails"]
    assert {line["orderNumber"] for line in lines} == {order["orderNumber"]}
    assert not found["orders"][1] + gained
    assert text == f"order {order['orderNumber']}: deleted with its {len(lines)} lines"


def test_event_employee_leaves(url: str) -> None:
    reassigned = 0
    for _ in range(12):
        found, _ = happen(url, "employee leaves")
        lost, gained = found["employees"]
        [leaver] = [
            row
            for row in lost
            if row["employeeNumber"] not in {other["employeeNumber"] for other in gained}
        ]
        assert all(row["reportsTo"] == leaver["reportsTo"] for row in gained)
        before, after = found.get("customers", ([], []))
        for old, new in zip(before, after, strict=True):
            assert old["salesRepEmployeeNumber"] == leaver["employeeNumber"]
            assert new["salesRepEmployeeNumber"] not in (None, leaver["employeeNumber"])
            reassigned += 1
        test_no_reference_leads_nowhere(read_shop(url))
    assert reassigned


def test_events_happen_after_the_last_order(url: str) -> None:
    events = play_events(url, 40, as_of=date(2026, 12, 1))
    days = [event.day for event in events]
    assert days == sorted(days)
    assert date(2026, 11, 21) <= days[0] <= days[-1] <= date(2026, 12, 1)
    assert {event.kind for event in events} == KINDS.keys()
    last = max(order["orderDate"] for order in read_shop(url)["orders"])
    assert {str(event.day) for event in play_events(url, 9, as_of=date(2020, 1, 1))} == {last}


def test_the_same_events_on_the_same_shop_only(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path / name}" for name in ("a.sqlite", "b.sqlite", "c.sqlite")]
    for url in urls:
        create_shop(url, as_of=AS_OF)
    first = play_events(urls[0], 30, seed=1)
    assert first == play_events(urls[1], 30, seed=1)
    assert first != play_events(urls[2], 30, seed=2)
    # With the same seed, a shop goes on; it does not live through the same kinds of days again.
    later = play_events(urls[0], 30, seed=1)
    assert sum(a.kind == b.kind for a, b in zip(first, later, strict=True)) < 20


def test_events_wear_a_shop_down_without_breaking_it(url: str) -> None:
    events = play_events(url, 3_000, as_of=date(2027, 11, 20))
    assert len(events) == 3_000
    shop = read_shop(url)
    test_no_reference_leads_nowhere(shop)
    assert all(row["buyPrice"] < row["MSRP"] for row in shop["products"])


def test_a_failing_event_undoes_them_all(url: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute(
            "create trigger no_leaving before delete on employees"
            " begin select raise(abort, 'nobody leaves'); end"
        )
    before = read_shop(url)
    with pytest.raises(ShopError, match=r"nobody leaves \(in .*; nothing changed\)"):
        play_events(url, 100)
    assert read_shop(url) == before


# What can go wrong


def test_does_not_overwrite_unless_told(empty: str) -> None:
    create_shop(empty, seed=1, as_of=AS_OF)
    before = read_shop(empty)
    with pytest.raises(ShopError, match=r"There is a shop already in .* --replace"):
        create_shop(empty, seed=2, as_of=AS_OF)
    assert read_shop(empty) == before
    create_shop(empty, seed=2, as_of=AS_OF, replace=True)
    assert read_shop(empty) != before


def test_one_table_of_that_name_is_enough_to_refuse(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection:
        connection.execute("create table payments (id int)")
    with pytest.raises(ShopError, match=r"\(payments\)"):
        create_shop(url)
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection:
        assert connection.execute("select count(*) from sqlite_master").fetchone() == (1,)


def test_an_interrupted_shop_leaves_no_half(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(plan: Plan) -> Iterator[Batch]:
        for table, rows in batches(plan):
            if table == "orderdetails":
                raise KeyboardInterrupt
            yield table, rows

    monkeypatch.setattr("sample_shop.shop.batches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        create_shop(empty)
    with session(empty, create=True) as database:
        assert database.shop_tables() == []


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("shop.sqlite", 2, "not a URL"),
        ("oracle://u:s3cr3t@host/db", 2, "oracle:// is not a database for a shop"),
        ("sqlite://shop.sqlite", 2, "sqlite:///shop.sqlite"),
        ("mysql://u:s3cr3t@host", 2, "names no database"),
        ("mysql://u:s3cr3t/x@host/db", 2, "percent-encoded"),
        ("mysql://u:12/s3cr3t@host/db", 2, "write @ as %40"),
        ("sqlite:///nowhere/shop.sqlite", 1, "the directory does not exist"),
        ("sqlite:///.", 1, "unable to open database file"),
        ("sqlite:///not_a_database", 1, "file is not a database"),
        ("mysql://u:s3cr3t@127.0.0.1:1/db", 1, "Cannot open mysql://127.0.0.1:1/db"),
        ("postgresql://u:s3cr3t@127.0.0.1:1/db", 1, "Cannot open postgresql://127.0.0.1:1/db"),
        ("postgresql://u:s3cr3t@127.0.0.1:1/db?colour=red", 1, 'option "colour"'),
        ("sqlite:///new.sqlite --scale 0", 2, "from 1 to 100,000, not 0"),
        ("sqlite:///new.sqlite --scale many", 2, "invalid int value: 'many'"),
        ("sqlite:///new.sqlite --as-of 2026-02-30", 2, "2026-02-30 is not a day"),
        ("sqlite:///new.sqlite --as-of 0001-01-01", 2, "from 1900 to 2999"),
        ("sqlite:///new.sqlite --events 5", 1, "make a shop there first"),
        ("sqlite:///new.sqlite --events 0", 2, "from 1 on, not 0"),
        ("sqlite:///new.sqlite --events 5 --scale 2", 2, "leave out --scale"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(
    arguments: str,
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("not_a_database").write_text("a text file, long enough to be looked at " * 10)
    try:
        assert main(arguments.split()) == code
    except SystemExit as error:  # how argparse says it
        assert error.code == code
    shown = "".join(capsys.readouterr())
    assert words in shown
    assert SECRET not in shown
    assert not Path("new.sqlite").exists()
    if "usage:" not in shown:
        assert shown.count("\n") == 1


def test_wrong_password_and_missing_database(
    mariadb: MariaDBServer, postgres: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    good = mariadb.create_database(own("refused"))
    login, _, address = good.rpartition("@")
    wrong = f"{login.rpartition(':')[0]}:{SECRET}@{address}"
    missing = postgres.create_database(own("refused")).replace(own("/refused"), "/no_such_shop")
    assert main([wrong]) == 1
    assert main([missing]) == 1
    shown = capsys.readouterr().err
    assert "Access denied" in shown
    assert 'database "no_such_shop" does not exist' in shown
    assert SECRET not in shown


def test_events_need_a_whole_shop(empty: str) -> None:
    create_shop(empty)
    with session(empty, create=False) as database:
        database.execute("drop table payments")
    with pytest.raises(ShopError, match=r"no whole shop .*\(no table payments\)"):
        play_events(empty, 1)


def test_nothing_happens_in_an_empty_shop(url: str) -> None:
    with session(url, create=False) as database:
        for table in reversed(TABLES):
            database.execute(f"delete from {table}")
    with pytest.raises(ShopError, match="Nothing can happen"):
        play_events(url, 1)


def test_arguments_of_the_functions(url: str) -> None:
    with pytest.raises(UsageError):
        create_shop(url, scale=0)
    with pytest.raises(UsageError):
        play_events(url, 0)


# The command line


def test_command_line_makes_a_shop_and_plays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = sqlite_url(tmp_path)
    assert main([url, "--as-of", "2026-11-20", "--seed", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["offices", "7", "rows"]
    assert len(shown) == 8
    assert main([url, "--events", "50", "--as-of", "2026-12-24"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[20:22] == ["... and 30 more", ""]
    assert shown[22].startswith("50 events: ")
    assert all(kind in shown[22] for kind in KINDS)
