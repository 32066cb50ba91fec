"""What goes wrong around a snapshot: nothing that was known is lost, and one sentence says why.

The tests of a warehouse share one story and play on in it, so that each begins in the middle of
histories; each leaves them as they must be.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from loader import LoadError, Options
from pipeline.undo import UndoError, commit_lines, lines_of, snapshots_of, undo
from support.story import Story, begun_for
from support.undone import newest_load, opened


@pytest.fixture(scope="module", params=["duckdb", pytest.param("postgres", marks=pytest.mark.long)])
def story(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    random = Random(4)
    with begun_for(request, tmp_path_factory, random, "history_faults") as story:
        story.happen(random, 8)
        story.build()
        story.check()
        yield story


def versions(story: Story, where: str) -> list[tuple[Any, ...]]:
    return story.warehouse.query(
        "select version_number, phone, credit_limit, valid_from, valid_to, is_deleted"
        f" from marts.dim_customers where {where} order by customer_number, version_number"
    )


def customer(story: Story) -> int:
    return int(story.shop.read("customers")[0]["customerNumber"])


def change_credit(story: Story, amount: str) -> str:
    """Another credit limit of the first customer, who is returned as a condition."""
    number = customer(story)
    story.shop.run(
        'update customers set "creditLimit" = ? where "customerNumber" = ?', amount, number
    )
    return f"customer_number = {number}"


@pytest.mark.long
def test_two_loads_and_snapshots_in_one_moment(story: Story) -> None:
    """The clock stands still, and each snapshot runs twice; the end looks at all of that."""
    before = story.clock.moment
    who = ""
    for amount in ("1111.11", "2222.22", "1111.11"):
        who = change_credit(story, amount)
        story.clock.moment = before
        story.load()
        story.build()
        story.build("--select", "resource_type:snapshot")
        story.check()
    story.build()
    story.check()
    found = versions(story, who)
    assert [str(row[2]) for row in found[-3:]] == ["1111.11", "2222.22", "1111.11"]
    assert all(earlier[4] == later[3] for earlier, later in itertools.pairwise(found))


@pytest.mark.long
def test_clock_that_goes_backwards(story: Story) -> None:
    """The loader lets no run be older than the last, so no version begins before it."""
    last = story.last_stamp
    story.clock.moment -= timedelta(days=400)
    who = change_credit(story, "3333.33")
    story.load()
    assert story.last_stamp > last
    newest = f"batch_id = '{newest_load(story)}'"
    stamps = story.warehouse.query(f"select started_at from _load_runs where {newest}")
    assert stamps == [(story.last_stamp,)]
    story.build()
    story.check()
    assert versions(story, who)[-1][3] == story.last_stamp
    # Later the clock is right again.
    story.clock.moment += timedelta(days=401)
    who = change_credit(story, "4444.44")
    story.load()
    story.build()
    story.check()


@pytest.mark.long
def test_load_that_fails_halfway(story: Story) -> None:
    """Tables before the one that fails were written and are rolled back; dbt finds nothing new."""
    before = story.state_of_marts()
    who = change_credit(story, "5555.55")
    story.shop.run("create temporary table products_kept as select * from products")
    story.shop.run("delete from products")
    with pytest.raises(LoadError) as failure:
        # Customers come before products, so that they have been written when it fails.
        story.load(Options())
    assert sentences(failure.value) == 2 and "products" in str(failure.value)
    ((failed,),) = story.warehouse.query(
        "select count(*) from _load_runs where status = 'failed' and started_at ="
        " (select max(started_at) from _load_runs)"
    )
    assert failed == 1
    build_as_it_was(story)
    assert story.state_of_marts() == before
    story.shop.run("insert into products select * from products_kept")
    story.shop.run("drop table products_kept")
    story.load()
    story.build()
    story.check()
    assert str(versions(story, who)[-1][2]) == "5555.55"


def test_line_that_vanished_while_facts_were_built(story: Story) -> None:
    """A load between the query for lines and the removal of those that are gone, or the other way.

    The fact then holds rows of that load, and lines that it found gone: the next build removes
    them.
    """
    first, second = story.shop.read("orderdetails")[:2]
    story.warehouse.query(
        "create table raw_classicmodels.missed as select * from marts.fact_orders where"
        f" order_number = {first['orderNumber']} and product_code = '{first['productCode']}'"
    )
    line = 'where "orderNumber" = ? and "productCode" = ?'
    keys = [(row["orderNumber"], row["productCode"]) for row in (first, second)]
    story.shop.run(f"delete from orderdetails {line}", *keys[0])
    story.shop.run(f'update orderdetails set "quantityOrdered" = 77 {line}', *keys[1])
    story.load()
    story.build()
    story.warehouse.query("insert into marts.fact_orders select * from missed")
    story.warehouse.query("drop table missed")
    story.build()
    story.check()


@pytest.mark.long
def test_source_that_is_empty_by_accident(story: Story) -> None:
    """It is refused, dbt keeps what it knows, and when the rows are back, nobody has been away."""
    before = story.state_of_marts()
    tables = ("orderdetails", "orders", "payments", "customers", "products", "productlines",
              "employees", "offices")  # fmt: skip
    for table in tables:
        story.shop.run(f"create temporary table {table}_kept as select * from {table}")
        story.shop.run(f"delete from {table}")
    with pytest.raises(LoadError) as failure:
        story.load(Options())
    assert "more than --max-delete-share 0.5 allows: nothing was published" in str(failure.value)
    assert sentences(failure.value) == 2
    build_as_it_was(story)
    assert story.state_of_marts() == before
    for table in tables:
        story.shop.run(f"insert into {table} select * from {table}_kept")
        story.shop.run(f"drop table {table}_kept")
    story.load()
    story.build()
    story.check()
    assert story.state_of_marts() == before


@pytest.mark.long
def test_source_column_added(story: Story) -> None:
    before = story.state_of_marts()
    story.shop.run("alter table customers add column loyalty varchar(10)")
    story.shop.run("update customers set loyalty = 'gold'")
    story.load()
    story.build()
    story.check()
    assert story.state_of_marts() == before


@pytest.mark.long
def test_source_column_widened(story: Story) -> None:
    """Types grow in the raw tables; what was the same before is the same now."""
    before = story.state_of_marts()
    widened = {
        "customers": (("varchar(50)", "varchar(90)"), ("decimal(10,2)", "decimal(14,4)")),
        "orderdetails": (
            ("int", "bigint"),
            ("smallint", "bigint"),
            ("decimal(10,2)", "decimal(12,2)"),
        ),
        "products": (("smallint", "int"), ("decimal(10,2)", "decimal(12,3)")),
        "orders": (("varchar(15)", "text"),),
    }
    for table, types in widened.items():
        story.shop.declare_anew(table, dict(types))
    story.load()
    story.build()
    story.check()
    assert story.state_of_marts() == before
    # And what is wider than before arrives.
    story.shop.run(
        'update customers set "customerName" = ? where "customerNumber" = ?',
        "A name that is longer than fifty characters, as only few customers' names are",
        customer(story),
    )
    story.load()
    story.build()
    story.check()


@pytest.mark.long
def test_source_column_dropped(story: Story) -> None:
    """Those who are there get a version without it; the versions before keep what they had."""
    known = story.warehouse.query(
        "select customer_version_key, phone from marts.dim_customers"
        " where phone is not null order by 1"
    )
    story.shop.run('alter table customers drop column "phone"')
    story.clock.pass_by(Random(1))
    story.load()
    story.build()
    story.check()
    keys = ", ".join(f"'{key}'" for key, _ in known)
    assert len(known) > 5
    assert known == story.warehouse.query(
        "select customer_version_key, phone from marts.dim_customers"
        f" where customer_version_key in ({keys}) order by 1"
    )
    live = versions(story, "is_current and not is_deleted and customer_key <> '-1'")
    assert live and all(phone is None for _, phone, *_ in live)


def build_as_it_was(story: Story) -> None:
    """A build after a load that failed; the account hears of no new state."""
    outcome = story.run_dbt()
    assert outcome.green, outcome


def sentences(error: BaseException) -> int:
    text = str(error)
    assert "\n" not in text and text.endswith(".")
    return text.count(". ") + 1


@pytest.mark.long
def test_a_wrong_load_is_taken_back(story: Story) -> None:
    """The history is then as if the load had never been, and goes on from there."""
    warehouse = opened(story.warehouse)
    good = {name: story.shop.run(f"select * from {name}") for name in ("customers", "products")}
    story.clock.pass_by(Random(1))
    story.shop.run('update customers set "creditLimit" = null, city = upper(city)')
    story.shop.run('delete from customers where "customerNumber" = ?', customer(story))
    story.shop.run('update products set "MSRP" = "MSRP" * 100')
    story.load()
    story.succeed()  # the account does not take note of it
    wrong = newest_load(story)
    # The shop is mended, with one change that is right, and a build has seen both.
    for name, rows in good.items():
        story.shop.run(f"delete from {name}")
        for row in rows:
            story.shop.run(f"insert into {name} values ({', '.join('?' * len(row))})", *row)
    change_credit(story, "4321.09")
    story.clock.pass_by(Random(2))
    story.load()
    story.build()

    before = snapshots(story)
    counted = undo(warehouse, wrong, "", apply=False)
    assert snapshots(story) == before
    done = {one.snapshot: one for one in undo(warehouse, wrong, "a test", apply=True)}
    assert list(done.values()) == counted
    customers, products = done["customers_snapshot"], done["products_snapshot"]
    assert customers.removed == customers.reopened >= len(good["customers"])
    assert products.removed == products.rejoined == len(good["products"])
    assert customers.returning == products.returning == 0
    assert story.warehouse.query(
        "select snapshot_name, versions_removed, because from snapshots.undone_loads"
        f" where batch_id = '{wrong}' and versions_removed > 0 order by 1"
    ) == [
        (name, done[name].removed, "a test") for name in ("customers_snapshot", "products_snapshot")
    ]
    # Views too: on PostgreSQL they go with the tables below them.
    marts = ("--full-refresh", "--select", "resource_type:model")
    story.succeed(*marts)
    story.check()
    story.happen(Random(3), 6)
    story.build()
    story.check()


def test_a_load_that_the_shop_still_stands_by_returns(story: Story) -> None:
    """Who takes back what is true hears of it, and the next build has it again."""
    story.clock.pass_by(Random(4))
    change_credit(story, "9999.99")
    story.load()
    story.build()
    (one,) = [
        u for u in undo(opened(story.warehouse), newest_load(story), "", apply=False) if u.removed
    ]
    assert (one.snapshot, one.removed, one.returning) == ("customers_snapshot", 1, 1)
    assert any("next build brings" in line for line in lines_of([one], applied=False))
    with pytest.raises(UndoError, match="none is not a load that succeeded"):
        undo(opened(story.warehouse), "none", "", apply=False)
    ((first,),) = story.warehouse.query("select min(batch_id) from _load_runs")
    with pytest.raises(UndoError, match="is the first load"):
        undo(opened(story.warehouse), first, "", apply=True)


def test_a_load_that_is_taken_back_takes_its_commits_along(story: Story) -> None:
    story.clock.pass_by(Random(5))
    story.load()
    warehouse, batch = opened(story.warehouse), newest_load(story)
    at = "cast('2026-01-01' as timestamp)"
    story.warehouse.query(
        f"insert into _load_commits values ('orders', '-7', {at}, '{batch}'),"
        f" ('orders', '-8', {at}, 'another')"
    )
    left = "select row_key from _load_commits where row_key in ('-7', '-8') order by 1"
    undo(warehouse, batch, "", apply=False)
    assert story.warehouse.query(left) == [("-7",), ("-8",)]
    (line,) = commit_lines(warehouse, batch, applied=False)
    assert "1 times of commits would be removed" in line
    undo(warehouse, batch, "a test", apply=True)
    assert commit_lines(warehouse, batch, applied=True) == []
    assert story.warehouse.query(left) == [("-8",)]
    story.warehouse.query("delete from _load_commits where row_key = '-8'")


def test_a_load_is_taken_back_from_a_warehouse_of_an_older_loader(story: Story) -> None:
    """It has no table of commits, which the models read that are calculated then."""
    story.clock.pass_by(Random(6))
    story.load()
    warehouse, batch = opened(story.warehouse), newest_load(story)
    schema = "select 1 from information_schema.tables where table_name = '_load_commits'"
    columns = (
        "select column_name, data_type from information_schema.columns"
        " where table_name = '_load_commits' order by ordinal_position"
    )
    made_by_the_loader = story.warehouse.query(columns)
    story.warehouse.query("alter table _load_commits rename to _load_commits_kept")
    undo(warehouse, batch, "", apply=False)
    assert commit_lines(warehouse, batch, applied=False) == []
    assert story.warehouse.query(schema) == []
    undo(warehouse, batch, "a test", apply=True)
    assert story.warehouse.query(columns) == made_by_the_loader
    assert story.warehouse.query("select count(*) from _load_commits") == [(0,)]
    story.warehouse.query("drop table _load_commits")
    story.warehouse.query("alter table _load_commits_kept rename to _load_commits")


def snapshots(story: Story) -> list[list[tuple[Any, ...]]]:
    return [
        sorted(story.warehouse.query(f"select * from snapshots.{s.name}"), key=repr)
        for s in snapshots_of()
    ]
