"""What has to happen in a story that is known to see faults, because chance brings it too seldom.

Each part is one round's, beside what chance brings. One customer, 70001, has an order for a day to
come, so that the newest version of everybody counts for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from random import Random

from sample_shop.schema import TABLES
from support.random_shop import FIRST_DAY
from support.story import SNAPSHOTS, Story, read_tables

# The story that `make test` plays: the same events in each run.
KNOWN_SEED, KNOWN_ROUNDS = 7, 12

CUSTOMER, REPRESENTATIVE, ORDER, LEFT_ALONE = 70_001, 70_002, 70_003, 70_004
MANAGER, OFFICE = 70_005, "70006"
COMING = str(FIRST_DAY + timedelta(days=300))
# No new version of anybody counts for an order of this day.
LONG_AGO = str(FIRST_DAY - timedelta(days=300))


def columns_change_and_somebody_is_awaited(story: Story) -> list[str]:
    """A customer names a representative who is not there yet."""
    shop = story.shop
    changed = columns_change(story, first=True)
    (_, *customer) = shop.run("select * from customers order by 1 limit 1")[0]
    customer[-2] = REPRESENTATIVE
    shop.insert("customers", (CUSTOMER, *customer))
    shop.insert("payments", (CUSTOMER, "CH70001", COMING, "70.00"))
    products = shop.run('select "productCode" from products order by 1 limit 2')
    for order, day in ((ORDER, COMING), (LEFT_ALONE, LONG_AGO)):
        row = (order, day, day, None, "In Process", None, CUSTOMER)
        shop.insert("orders", row)
        for number, (product,) in enumerate(products, 1):
            shop.insert("orderdetails", (order, product, 7, "70.00", number))
    story.load()
    return [*changed, f"new_customer: {CUSTOMER}, whose representative is awaited"]


def somebody_comes_and_others_go(story: Story) -> list[str]:
    """The representative is there; a line and a payment are gone.

    The representative has a manager and an office, which nobody else has.
    """
    shop = story.shop
    changed = columns_change(story, first=False)
    (_, *office) = shop.run("select * from offices order by 1 limit 1")[0]
    shop.insert("offices", (OFFICE, *office))
    (_, *employee, _, _, title) = shop.run("select * from employees order by 1 limit 1")[0]
    shop.insert("employees", (MANAGER, *employee, OFFICE, None, title))
    shop.insert("employees", (REPRESENTATIVE, *employee, OFFICE, MANAGER, title))
    shop.run("update orders set status = ' ' where \"orderNumber\" = ?", ORDER)
    for table in ("orderdetails", "payments"):
        shop.delete(table, shop.run(f"select * from {table} order by 1, 2 limit 1")[0])
    story.load()
    return [*changed, f"{REPRESENTATIVE} comes"]


def facts_are_newer_than_their_customers(story: Story) -> list[str]:
    """Facts have rows of the load whose versions of others they see only in the next build."""
    shop = story.shop
    story.build_part(["orders", "employees"])
    other = shop.run("select * from orderdetails order by 1, 2 limit 1")[0]
    shop.update("orderdetails", {"quantityOrdered": other[2] + 1}, other)
    shop.run('update orders set status = ? where "orderNumber" = ?', "Cancelled", other[0])
    name = 'update customers set "customerName" = ? where "customerNumber" = ?'
    shop.run(name, "Another name", CUSTOMER)
    title = 'update employees set "jobTitle" = ? where "employeeNumber" = ?'
    shop.run(title, "Another title", REPRESENTATIVE)
    story.clock.moment += timedelta(minutes=1)
    story.load()
    story.build_facts()
    story.build_part(["orders"])
    story.build_facts()
    return [f"facts are built before {CUSTOMER} and {REPRESENTATIVE} are snapshot"]


def an_order_goes_without_its_lines(story: Story) -> list[str]:
    """Nothing else of the lines changes."""
    story.shop.run('delete from orders where "orderNumber" = ?', LEFT_ALONE)
    story.load()
    return [f"order {LEFT_ALONE} is gone without its lines"]


def only_chance(story: Story) -> list[str]:
    """Facts are then newer than the last planned change, and look no more at its load."""
    return []


def the_manager_changes(story: Story) -> list[str]:
    """The representative has a new version without a change of their own."""
    name = 'update employees set "lastName" = ? where "employeeNumber" = ?'
    story.shop.run(name, "Another name", MANAGER)
    story.load()
    return [f"{MANAGER}, the manager of {REPRESENTATIVE}, has another name"]


def the_office_changes(story: Story) -> list[str]:
    """The same because of the office."""
    story.shop.run('update offices set territory = ? where "officeCode" = ?', "Moon", OFFICE)
    story.load()
    return [f"{OFFICE}, the office of {REPRESENTATIVE}, is of another territory"]


def a_version_is_left_halfway(story: Story) -> list[str]:
    """Facts have the old price of a product's version, which gets the new one under its key."""
    shop = story.shop
    product, line = shop.run(
        'select "productCode", "productLine" from products where "productCode" in'
        ' (select "productCode" from orderdetails where "orderNumber" = ?) order by 1 limit 1',
        ORDER,
    )[0]
    shop.run('update products set "MSRP" = 77.77 where "productCode" = ?', product)
    described = 'update productlines set "textDescription" = ? where "productLine" = ?'
    shop.run(described, "Described anew", line)
    story.load()
    story.build_part(["productlines"])
    story.build_facts()
    return [f"the line of {product} is snapshot before its price"]


PLANNED: Sequence[Callable[[Story], list[str]]] = (
    columns_change_and_somebody_is_awaited,
    somebody_comes_and_others_go,
    facts_are_newer_than_their_customers,
    an_order_goes_without_its_lines,
    the_manager_changes,
    only_chance,
    the_office_changes,
    a_version_is_left_halfway,
)


def columns_change(story: Story, *, first: bool) -> list[str]:
    """Each column of what has versions gets another value, in a row where nothing else changes.

    Where a table has more columns than rows, the others do in the second round.
    """
    shop, changed = story.shop, []
    tables = read_tables(shop)
    for table in SNAPSHOTS:
        definition = TABLES[table]
        keys = set(definition.primary_key)
        columns = [c for c in definition.columns if c.name not in {*keys, "image"}]
        mine = (CUSTOMER, REPRESENTATIVE, ORDER, LEFT_ALONE, MANAGER, OFFICE)
        # What chance has changed in this round has a new version whatever column changes.
        known = story.account.newest(table)
        rows = [
            row
            for row in shop.run(f"select * from {table} order by 1")
            if row[0] not in mine and tables[table][row[0]] == known.get(row[0])
        ]
        turn = columns[: len(rows)] if first else columns[len(rows) :]
        for number, (column, row) in enumerate(zip(turn, reversed(rows), strict=False)):
            changed.append(str(shop.update(table, {column.name: _value(column.type, number)}, row)))
    return changed


def _value(kind: str, number: int) -> str | int:
    if kind == "date":
        return str(FIRST_DAY + timedelta(days=number))
    if kind.startswith("decimal"):
        return f"{number}.{number:02}"
    return 50 + number if kind.endswith("int") else f"Other {number}"


def chosen(rounds: int) -> tuple[int, int]:
    """Seed and number of rounds: from the environment, or a new seed."""
    seed = os.environ.get("HISTORY_SEED") or Random().randrange(10**6)
    return int(seed), int(os.environ.get("HISTORY_ROUNDS") or rounds)
