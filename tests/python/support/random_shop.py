"""A tiny shop in SQLite in which anything may happen, also what no shop should allow.

Its foreign keys are not enforced: parents vanish and leave their children, keys change, rows come
back as they were or as others. Every choice comes from one random stream.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

from sample_shop.schema import TABLES
from sample_shop.shop import create_shop

Row = tuple[Any, ...]

FIRST_DAY = date(2021, 1, 4)
# How much is kept of the sample shop: enough for every kind of neighbour, little enough to be fast.
KEPT = {"offices": 4, "employees": 9, "productlines": 4, "products": 20, "customers": 12}
CITIES = (
    ("Lund", None, "Sweden", "22100"),
    ("Malmö", None, "Sweden", "22100"),
    ("Boston", "MA", "USA", "02110"),
    ("Kansas City", "KS", "USA", "66101"),
    ("Kansas City", "MO", "USA", "64101"),
    ("Lyon", "", "France", ""),
    ("東京", None, "Japan", "100-0001"),
)
STATUSES = ("In Process", "Shipped", "Cancelled", "Disputed", "Resolved", "On Hold")
TITLES = ("Sales Rep", "Sales Manager (EMEA)", "VP Sales", "President")


class RandomShop:
    """The shop, and what can happen in it. `today` is the day that the events happen on."""

    def __init__(self, path: Path, random: Random) -> None:
        self.url = f"sqlite:///{path}"
        self.random = random
        self.today = FIRST_DAY
        create_shop(self.url, as_of=FIRST_DAY)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("pragma synchronous = off")
        self._trim()
        # Rows that are gone and may come back: (table, row).
        self.graveyard: list[tuple[str, Row]] = []
        self._number = 0

    def close(self) -> None:
        self._connection.close()

    def read(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table, by the source's names of the columns."""
        cursor = self._connection.execute(f'select * from "{table}"')
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def play(self, count: int) -> list[str]:
        """Let so many events happen together; returns what happened."""
        self.run("begin")
        happened: list[str] = []
        while len(happened) < count:
            event = self.random.choice(EVENTS)
            what = event(self)
            if what:
                happened.append(f"{event.__name__}: {what}")
        self.run("commit")
        return happened

    # -- what happens ------------------------------------------------------------------------------

    def new_order(self) -> str | None:
        customer = self.any("customers") or (99_999,)
        number = self.next_number("orders", "orderNumber")
        ordered = self.some_day()
        row = (number, ordered, self.day_after(ordered), None, "In Process", None, customer[0])
        self.insert("orders", row)
        lines = [self.insert_line(number) for _ in range(self.random.randint(0, 4))]
        return f"{row} with {sum(lines)} lines"

    def order_goes_on(self) -> str | None:
        status = self.random.choice(STATUSES)
        day = self.some_day() if status in ("Shipped", "Resolved", "Disputed") else None
        return self.update("orders", {"status": status, "shippedDate": day})

    def order_gets_a_comment(self) -> str | None:
        comment = self.random.choice((None, "", " ", "ring twice", "ring\ttwice "))
        return self.update("orders", {"comments": comment})

    def order_date_changes(self) -> str | None:
        return self.update("orders", {"orderDate": self.some_day()})

    def order_changes_hands(self) -> str | None:
        customer = self.random.choice([self.any("customers"), self.any("customers"), (77_777,)])
        return self.update("orders", {"customerNumber": customer[0]}) if customer else None

    def order_is_renumbered(self) -> str | None:
        row = self.any("orders")
        if not row:
            return None
        number = self.next_number("orders", "orderNumber")
        self.run('update orders set "orderNumber" = ? where "orderNumber" = ?', number, row[0])
        if self.random.random() < 0.7:
            self.run(
                'update orderdetails set "orderNumber" = ? where "orderNumber" = ?', number, row[0]
            )
        return f"{row[0]} -> {number}"

    def order_is_deleted(self) -> str | None:
        row = self.any("orders")
        if not row:
            return None
        with_lines = self.random.random() < 0.6
        if with_lines:
            for line in self.run('select * from orderdetails where "orderNumber" = ?', row[0]):
                self.delete("orderdetails", line)
        self.delete("orders", row)
        return f"{row[0]}, its lines {'too' if with_lines else 'stay'}"

    def line_is_added(self) -> str | None:
        row = self.any("orders")
        return f"to {row[0]}" if row and self.insert_line(row[0]) else None

    def line_changes(self) -> str | None:
        column, value = self.random.choice(
            (
                ("quantityOrdered", self.random.randint(1, 90)),
                ("priceEach", self.money()),
                ("orderLineNumber", self.random.randint(1, 20)),
            )
        )
        return self.update("orderdetails", {column: value})

    def line_gets_another_product(self) -> str | None:
        line, product = self.any("orderdetails"), self.any("products")
        if not line or not product:
            return None
        known = self.run(
            'select 1 from orderdetails where "orderNumber" = ? and "productCode" = ?',
            line[0],
            product[0],
        )
        if known:
            return None
        self.run(
            'update orderdetails set "productCode" = ?'
            ' where "orderNumber" = ? and "productCode" = ?',
            product[0],
            line[0],
            line[1],
        )
        return f"{line[:2]} -> {product[0]}"

    def new_payment(self) -> str | None:
        customer = self.any("customers") or (99_999,)
        self._number += 1
        row = (customer[0], f"CH{self._number}", self.some_day(), self.money())
        self.insert("payments", row)
        return str(row)

    def payment_changes(self) -> str | None:
        column, value = self.random.choice(
            (("amount", self.money()), ("paymentDate", self.some_day()))
        )
        return self.update("payments", {column: value})

    def payment_changes_its_key(self) -> str | None:
        row, customer = self.any("payments"), self.any("customers")
        if not row or not customer:
            return None
        self._number += 1
        self.run(
            'update payments set "customerNumber" = ?, "checkNumber" = ?'
            ' where "customerNumber" = ? and "checkNumber" = ?',
            customer[0],
            f"CH{self._number}",
            *row[:2],
        )
        return f"{row[:2]} -> {customer[0]}, CH{self._number}"

    def new_customer(self) -> str | None:
        template = self.any("customers")
        if not template:
            return None
        number = self.next_number("customers", "customerNumber")
        number = self.awaited("customers", number, ("orders", "customerNumber"))
        self.insert("customers", (number, f"Customer {number}", *template[2:]))
        return str(number)

    def customer_moves(self) -> str | None:
        city, state, country, code = self.random.choice(CITIES)
        return self.update(
            "customers", {"city": city, "state": state, "country": country, "postalCode": code}
        )

    def customer_changes(self) -> str | None:
        column, value = self.random.choice(
            (
                ("customerName", f"Name {self.random.randint(1, 9)}"),
                ("creditLimit", self.random.choice((None, self.money()))),
                ("phone", f"+{self.random.randint(1, 9)}"),
                ("contactLastName", self.random.choice(("Ångström", "O'Hara"))),
                ("addressLine2", self.random.choice((None, "", "Floor 3"))),
            )
        )
        return self.update("customers", {column: value})

    def customer_gets_another_representative(self) -> str | None:
        employee = self.random.choice(
            (self.any("employees"), self.any("employees"), None, (4_444,))
        )
        return self.update("customers", {"salesRepEmployeeNumber": employee and employee[0]})

    def blanks_are_typed(self) -> str | None:
        """Staging trims them, so nothing has changed for anybody behind it."""
        row = self.any("customers")
        return self.update("customers", {"customerName": f"{row[1]} "}, row) if row else None

    def customer_is_renumbered(self) -> str | None:
        row = self.any("customers")
        if not row:
            return None
        number = self.next_number("customers", "customerNumber")
        for table in ("customers", *(["orders", "payments"] if self.random.random() < 0.6 else [])):
            self.run(
                f'update {table} set "customerNumber" = ? where "customerNumber" = ?',
                number,
                row[0],
            )
        return f"{row[0]} -> {number}"

    def product_price_changes(self) -> str | None:
        column = self.random.choice(("buyPrice", "MSRP"))
        return self.update("products", {column: self.money()})

    def product_changes(self) -> str | None:
        column, value = self.random.choice(
            (
                ("productName", f"Model {self.random.randint(1, 9)}"),
                ("productVendor", f"Vendor {self.random.randint(1, 9)}"),
                ("productDescription", f"Text {self.random.randint(1, 9)}"),
            )
        )
        return self.update("products", {column: value})

    def stock_changes(self) -> str | None:
        return self.update("products", {"quantityInStock": self.random.randint(0, 9999)})

    def product_changes_its_line(self) -> str | None:
        line = self.random.choice((self.any("productlines"), ("Spaceships",)))
        return self.update("products", {"productLine": line[0]}) if line else None

    def new_product(self) -> str | None:
        template = self.any("products")
        if not template:
            return None
        self._number += 1
        self.insert("products", (f"S{self._number}", *template[1:]))
        return f"S{self._number}"

    def product_gets_another_code(self) -> str | None:
        row = self.any("products")
        if not row:
            return None
        self._number += 1
        code = f"S{self._number}"
        for table in ("products", *(["orderdetails"] if self.random.random() < 0.6 else [])):
            self.run(f'update {table} set "productCode" = ? where "productCode" = ?', code, row[0])
        return f"{row[0]} -> {code}"

    def product_line_is_described_anew(self) -> str | None:
        text = self.random.choice((None, "", f"Text {self.random.randint(1, 9)}"))
        column = self.random.choice(("textDescription", "htmlDescription"))
        return self.update("productlines", {column: text})

    def product_line_is_renamed(self) -> str | None:
        row = self.any("productlines")
        if not row:
            return None
        self._number += 1
        name = f"Line {self._number}"
        for table in ("productlines", *(["products"] if self.random.random() < 0.6 else [])):
            self.run(f'update {table} set "productLine" = ? where "productLine" = ?', name, row[0])
        return f"{row[0]} -> {name}"

    def new_employee(self) -> str | None:
        template = self.any("employees")
        if not template:
            return None
        number = self.next_number("employees", "employeeNumber")
        number = self.awaited("employees", number, ("customers", "salesRepEmployeeNumber"))
        self.insert("employees", (number, f"Last {number}", *template[2:]))
        return str(number)

    def employee_changes(self) -> str | None:
        office, manager = self.any("offices") or ("99",), self.any("employees") or (1,)
        column, value = self.random.choice(
            (
                ("jobTitle", self.random.choice(TITLES)),
                ("lastName", f"Last {self.random.randint(1, 9)}"),
                ("extension", f"x{self.random.randint(1, 9)}"),
                ("officeCode", self.random.choice((office[0], office[0], "88"))),
                ("reportsTo", self.random.choice((manager[0], manager[0], None, 3_333))),
            )
        )
        return self.update("employees", {column: value})

    def representative_of_a_coming_order_changes(self) -> str | None:
        """So that a line that is known points to another version, though nothing else changes."""
        known = self.run(
            'select distinct employees.* from orders inner join orderdetails using ("orderNumber")'
            ' inner join customers using ("customerNumber") inner join employees'
            ' on "employeeNumber" = "salesRepEmployeeNumber" where "orderDate" > ? order by 1',
            str(self.today),
        )
        title = f"Sales Rep {self.random.randint(1, 9)}"
        return (
            self.update("employees", {"jobTitle": title}, self.random.choice(known))
            if known
            else None
        )

    def office_moves(self) -> str | None:
        city, state, country, code = self.random.choice(CITIES)
        moved = {"city": city, "state": state, "country": country, "postalCode": code}
        return self.update("offices", moved)

    def office_gets_another_phone(self) -> str | None:
        return self.update("offices", {"phone": f"+{self.random.randint(1, 9)}"})

    def new_office(self) -> str | None:
        template = self.any("offices")
        if not template:
            return None
        self._number += 1
        code = self.awaited("offices", f"N{self._number}", ("employees", "officeCode"))
        self.insert("offices", (code, *template[1:]))
        return str(code)

    def row_is_deleted(self) -> str | None:
        """Any row of any table; what refers to it is left behind."""
        table = self.random.choice(list(TABLES))
        (count,) = self.run(f"select count(*) from {table}")[0]
        row = self.any(table)
        if not row or count < 3:
            return None
        self.delete(table, row)
        return f"{table} {self.key(table, row)}"

    def row_comes_back(self) -> str | None:
        """As it was, or with its last column changed."""
        if not self.graveyard:
            return None
        table, row = self.graveyard.pop(self.random.randrange(len(self.graveyard)))
        where, key = self.where(table, row)
        if self.run(f"select 1 from {table} where {where}", *key):
            return None
        self.insert(table, row)
        return f"{table} {self.key(table, row)}"

    def change_comes_and_goes(self) -> str | None:
        """Between two loads, so that nobody can know of it."""
        row = self.any("products")
        if not row:
            return None
        self.update("products", {"MSRP": "0.01"}, row)
        self.update("products", {"MSRP": row[8]}, row)
        new = self.new_customer()
        if new:
            self.run('delete from customers where "customerNumber" = ?', int(new))
        return f"{row[0]}, customer {new}"

    # -- how ---------------------------------------------------------------------------------------

    def any(self, table: str) -> Row | None:
        """A row of a table; the same few are chosen again and again, so that histories get long."""
        rows = self.run(f"select * from {table} order by 1, 2")
        if not rows:
            return None
        return rows[min(int(self.random.expovariate(3 / len(rows))), len(rows) - 1)]

    def update(self, table: str, values: dict[str, Any], row: Row | None = None) -> str | None:
        row = row or self.any(table)
        if not row:
            return None
        where, key = self.where(table, row)
        assignments = ", ".join(f'"{name}" = ?' for name in values)
        self.run(f"update {table} set {assignments} where {where}", *values.values(), *key)
        return f"{table} {self.key(table, row)} {values}"

    def insert(self, table: str, row: Row) -> None:
        self.run(f"insert into {table} values ({', '.join('?' * len(row))})", *row)

    def insert_line(self, order: int) -> bool:
        product = self.any("products") or ("S0_0",)
        row = (order, product[0], self.random.randint(1, 60), self.money(), self._next_line(order))
        known = 'select 1 from orderdetails where "orderNumber" = ? and "productCode" = ?'
        if self.run(known, order, product[0]):
            return False
        self.insert("orderdetails", row)
        return True

    def delete(self, table: str, row: Row) -> None:
        where, key = self.where(table, row)
        self.run(f"delete from {table} where {where}", *key)
        self.graveyard.append((table, row))

    def key(self, table: str, row: Row) -> Row:
        return tuple(row[: len(TABLES[table].primary_key)])

    def where(self, table: str, row: Row) -> tuple[str, Row]:
        names = TABLES[table].primary_key
        return " and ".join(f'"{name}" = ?' for name in names), self.key(table, row)

    def next_number(self, table: str, column: str) -> int:
        """Never one that was there before."""
        self._number += 1
        (largest,) = self.run(f'select max("{column}") from {table}')[0]
        return max(largest or 0, 50_000) + self._number

    def some_day(self) -> str:
        """Today; or late, dated before what is known; or long ahead, so that much comes between."""
        days = self.random.choice(
            (0, 0, 0, 0, -1, -3, -self.random.randint(4, 300), 1, 4, 20, 60, 400, -1500)
        )
        return (self.today + timedelta(days=days)).isoformat()

    def day_after(self, day: str) -> str:
        return (date.fromisoformat(day) + timedelta(days=self.random.randint(3, 9))).isoformat()

    def money(self) -> str:
        return f"{self.random.randint(100, 20_000) / 100:.2f}"

    def awaited(self, table: str, key: Any, child: tuple[str, str]) -> Any:
        """That key, or often one that a child has named before its parent was there."""
        (own_key,) = TABLES[table].primary_key
        name, column = child
        missing = self.run(
            f'select distinct "{column}" from {name} where "{column}" is not null'
            f' and "{column}" not in (select "{own_key}" from {table}) order by 1'
        )
        return self.random.choice(missing)[0] if missing and self.random.random() < 0.5 else key

    def _next_line(self, order: int) -> int:
        sql = 'select coalesce(max("orderLineNumber"), 0) + 1 from orderdetails'
        return int(self.run(f'{sql} where "orderNumber" = ?', order)[0][0])

    def declare_anew(self, table: str, types: dict[str, str]) -> None:
        """The same rows in a table whose columns of some types have others."""
        ((sql,),) = self.run("select sql from sqlite_master where name = ?", table)
        head, *lines = sql.split("\n")
        for old, new in types.items():
            lines = [line.replace(f'" {old}', f'" {new}') for line in lines]
        self.run(f"create temporary table kept as select * from {table}")
        self.run(f"drop table {table}")
        self.run("\n".join([head, *lines]))
        self.run(f"insert into {table} select * from kept")
        self.run("drop table kept")

    def run(self, sql: str, *values: Any) -> list[Row]:
        """Run a statement with `?` for values; returns its rows."""
        return self._connection.execute(sql, values).fetchall()

    def _trim(self) -> None:
        for statement in _trimmed():
            self.run(statement)
        self.run("vacuum")


def _trimmed() -> Iterator[str]:
    for table, count in KEPT.items():
        (key,) = TABLES[table].primary_key
        yield (
            f'delete from {table} where "{key}" not in'
            f' (select "{key}" from {table} order by "{key}" limit {count})'
        )
    yield (
        'delete from orders where "customerNumber" not in (select "customerNumber" from customers)'
    )
    # The representatives are not among those kept; so that some of the kept ones represent.
    yield (
        'update customers set "salesRepEmployeeNumber" = (select "employeeNumber" from'
        ' (select "employeeNumber", row_number() over (order by "employeeNumber") as n'
        ' from employees) where n = customers."customerNumber" % 12)'
        ' where "salesRepEmployeeNumber" is not null'
    )
    yield 'delete from orders where "orderNumber" % 3 > 0'
    # Every other order is for a day to come, so that versions begin and end before it does.
    yield (
        f"""update orders set "orderDate" = date('{FIRST_DAY}', '+' || ("orderNumber" * 37 % 300)"""
        """ || ' days') where "orderNumber" % 2 = 0"""
    )
    yield 'delete from payments where "customerNumber" not in (select "customerNumber" from orders)'
    for table, column in (("orderdetails", "orderNumber"), ("orderdetails", "productCode")):
        parent = "orders" if column == "orderNumber" else "products"
        yield f'delete from {table} where "{column}" not in (select "{column}" from {parent})'


Event = Callable[[RandomShop], str | None]

# As often as it is named.
EVENTS: Sequence[Event] = (
    *[RandomShop.new_order] * 4,
    *[RandomShop.order_goes_on] * 4,
    RandomShop.order_gets_a_comment,
    *[RandomShop.order_date_changes] * 2,
    *[RandomShop.order_changes_hands] * 2,
    RandomShop.order_is_renumbered,
    RandomShop.order_is_deleted,
    RandomShop.line_is_added,
    *[RandomShop.line_changes] * 2,
    RandomShop.line_gets_another_product,
    *[RandomShop.new_payment] * 2,
    RandomShop.payment_changes,
    RandomShop.payment_changes_its_key,
    *[RandomShop.new_customer] * 2,
    *[RandomShop.customer_moves] * 3,
    *[RandomShop.customer_changes] * 2,
    *[RandomShop.customer_gets_another_representative] * 2,
    RandomShop.blanks_are_typed,
    RandomShop.customer_is_renumbered,
    *[RandomShop.product_price_changes] * 3,
    RandomShop.product_changes,
    RandomShop.stock_changes,
    *[RandomShop.product_changes_its_line] * 2,
    RandomShop.new_product,
    RandomShop.product_gets_another_code,
    *[RandomShop.product_line_is_described_anew] * 2,
    RandomShop.product_line_is_renamed,
    RandomShop.new_employee,
    *[RandomShop.employee_changes] * 3,
    *[RandomShop.representative_of_a_coming_order_changes] * 2,
    *[RandomShop.office_moves] * 2,
    RandomShop.office_gets_another_phone,
    RandomShop.new_office,
    *[RandomShop.row_is_deleted] * 4,
    *[RandomShop.row_comes_back] * 4,
    RandomShop.change_comes_and_goes,
)
