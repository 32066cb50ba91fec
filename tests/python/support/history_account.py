"""What became of the shop, kept in Python from what stood in its tables at each load.

It shares nothing with the SQL of the project: where that joins intervals, this asks for each
moment at which something began what was true then. The rules are those of the catalog: the first
version of anybody is valid from the beginning of time, so a neighbour that comes late has always
been there; who is gone keeps the attributes that were seen last.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

Row = dict[str, Any]
# A table's rows by their key.
Tables = Mapping[str, Mapping[Any, Row]]

BEGINNING = datetime(1900, 1, 1)
END = datetime(9999, 12, 31)
ZERO = Decimal("0.00")
NO_PLACE = ("Unknown",) * 4


@dataclass
class Version:
    """What somebody was like from one load to another; `seen_at` is the load that found it so."""

    number: int
    seen_at: datetime
    valid_from: datetime
    attributes: Row
    is_deleted: bool
    valid_to: datetime = END


Versions = dict[Any, list[Version]]


class Account:
    """The histories of the shop's tables, and what the marts must say because of them."""

    def __init__(self, countries_csv: Path) -> None:
        with countries_csv.open(encoding="utf-8") as lines:
            self._countries = {row["country_name"].lower(): row for row in csv.DictReader(lines)}
        self._seen: dict[str, Versions] = {}
        # By order, when a log told that it was committed.
        self.commits: dict[Any, datetime] = {}
        self._tables: Tables = {}
        self._dimensions: dict[str, Versions] = {}

    def note(self, stamp: datetime, tables: Tables) -> None:
        """Take in what a load found."""
        self._tables = tables
        self._dimensions = {}
        for table, rows in tables.items():
            histories = self._seen.setdefault(table, {})
            for key, row in rows.items():
                _extend(histories.setdefault(key, []), stamp, row, is_deleted=False)
            for key, versions in histories.items():
                if key not in rows:
                    _extend(versions, stamp, versions[-1].attributes, is_deleted=True)

    def newest(self, table: str) -> dict[Any, Row]:
        """By key: what a table's rows were when they were last noted, without those gone."""
        newest = {key: versions[-1] for key, versions in self._seen[table].items()}
        return {key: seen.attributes for key, seen in newest.items() if not seen.is_deleted}

    def _standard(self, country: str | None) -> str | None:
        known = self._countries.get((country or "").lower(), {})
        return known.get("standard_name") or country

    # -- dimensions --------------------------------------------------------------------------------

    def employees(self) -> Versions:
        """Versions of `dim_employees`."""

        def describe(row: Row, office: Row | None, manager: Row | None) -> Row:
            return {
                **row,
                "employee_name": _full_name(row["first_name"], row["last_name"]),
                "manager_name": manager and _full_name(manager["first_name"], manager["last_name"]),
                "manager_job_title": manager and manager["job_title"],
                "office_city": (office and office["city"]) or "Unknown",
                "office_state": office and office["state"],
                "office_country": self._standard(office["country"] if office else None)
                or "Unknown",
                "office_territory": (office and office["territory"]) or "Unknown",
            }

        def neighbours(row: Row) -> list[tuple[str, Any]]:
            return [
                ("offices", row["office_code"]),
                ("employees", row["manager_employee_number"]),
            ]

        return self._described("employees", neighbours, describe)

    def customers(self) -> Versions:
        """Versions of `dim_customers`."""

        def describe(row: Row) -> Row:
            country = self._countries.get((row["country"] or "").lower(), {})
            return {
                **row,
                "country": self._standard(row["country"]),
                "country_as_spelled": row["country"],
                "contact_name": _full_name(row["contact_first_name"], row["contact_last_name"]),
                "region": country.get("region") or "Unknown",
                "territory": country.get("territory") or "Unknown",
                "has_sales_rep": row["sales_rep_employee_number"] is not None,
            }

        return self._described("customers", lambda _: [], describe)

    def products(self) -> Versions:
        """Versions of `dim_products`; the stock is no attribute of a version."""

        def describe(row: Row, line: Row | None) -> Row:
            return {
                **{name: value for name, value in row.items() if name != "quantity_in_stock"},
                "product_line": row["product_line"] or "Unknown",
                "product_line_as_spelled": row["product_line"] or "Unknown",
                "product_line_description": line and line["text_description"],
            }

        return self._described(
            "products", lambda row: [("productlines", row["product_line"])], describe
        )

    def _described(
        self,
        table: str,
        neighbours: Callable[[Row], list[tuple[str, Any]]],
        describe: Callable[..., Row],
    ) -> Versions:
        if table in self._dimensions:
            return self._dimensions[table]
        found = self._dimensions[table] = {}
        for key, versions in self._seen[table].items():
            moments = {version.valid_from for version in versions}
            for version in versions:
                for other, other_key in neighbours(version.attributes):
                    moments |= {v.valid_from for v in self._seen[other].get(other_key, ())}
            for moment in sorted(moments):
                own = valid_at(versions, moment)
                assert own is not None
                near = [
                    _attributes(self._seen[other].get(other_key, ()), moment)
                    for other, other_key in neighbours(own.attributes)
                ]
                attributes = describe(own.attributes, *near)
                _extend(found.setdefault(key, []), moment, attributes, is_deleted=own.is_deleted)
        return found

    # -- facts -------------------------------------------------------------------------------------

    def order_lines(self) -> dict[Any, Row]:
        """What `fact_orders` says of each line, with versions as (natural key, number)."""
        customers, employees, products = self.customers(), self.employees(), self.products()
        found = {}
        for key, line in self._tables["orderdetails"].items():
            order = self._tables["orders"].get(line["order_number"], {})
            moment = moment_of(order.get("order_date"))
            product = valid_at(products.get(line["product_code"], ()), moment)
            amount = line["quantity_ordered"] * line["price_each"]
            cancelled = order.get("order_status") == "Cancelled"
            buy_price = product and product.attributes["buy_price"]
            cost = buy_price if buy_price is None else buy_price * line["quantity_ordered"]
            found[key] = {
                **line,
                **{name: order.get(name) for name in ORDER_COLUMNS},
                **self._sold(order.get("customer_number"), moment, customers, employees),
                "product": _numbered(line["product_code"], product, "Unknown"),
                "buy_price": buy_price,
                "msrp": product and product.attributes["msrp"],
                "order_amount": amount,
                "revenue_amount": ZERO if cancelled else amount,
                "cost_amount": ZERO if cancelled else cost,
            }
        return found

    def wide_lines(self) -> dict[Any, Row]:
        """What `orders_obt` says of each line, as it was on the day of the order and as it is."""
        customers, employees, products = self.customers(), self.employees(), self.products()
        found: dict[Any, Row] = {}
        for key, line in self._tables["orderdetails"].items():
            order = self._tables["orders"].get(line["order_number"], {})
            found[key] = {}
            moments = {"at_order": moment_of(order.get("order_date")), "now": moment_of(None)}
            for when, moment in moments.items():
                customer = _attributes(customers.get(order.get("customer_number"), ()), moment)
                number = customer and customer["sales_rep_employee_number"]
                rep = _attributes(employees.get(number, ()), moment)
                product = _attributes(products.get(line["product_code"], ()), moment)
                found[key] |= {
                    f"customer_name_{when}": customer["customer_name"] if customer else "Unknown",
                    f"country_{when}": (customer and customer["country"]) or "Unknown",
                    f"credit_limit_{when}": customer and customer["credit_limit"],
                    f"sales_rep_name_{when}": rep["employee_name"] if rep else "Unknown",
                    f"office_city_{when}": rep["office_city"] if rep else "Unknown",
                    f"product_line_{when}": product["product_line"] if product else "Unknown",
                    f"msrp_{when}": product and product["msrp"],
                }
        return found

    def payments(self) -> dict[Any, Row]:
        """What `fact_payments` says of each payment."""
        customers, employees = self.customers(), self.employees()
        return {
            key: {
                **payment,
                **self._sold(
                    payment["customer_number"],
                    moment_of(payment["payment_date"]),
                    customers,
                    employees,
                ),
            }
            for key, payment in self._tables["payments"].items()
        }

    def _sold(
        self, number: int | None, moment: datetime, customers: Versions, employees: Versions
    ) -> Row:
        """To whom and by whom, as it was at a moment."""
        customer = valid_at(customers.get(number, ()), moment)
        row = customer.attributes if customer else {}
        rep_number = row.get("sales_rep_employee_number")
        rep = valid_at(employees.get(rep_number, ()), moment)
        office = rep and rep.attributes["office_code"]
        place = tuple(row.get(name) for name in PLACE)
        return {
            "customer": _numbered(number, customer, -1),
            "location": place if row.get("country") else NO_PLACE,
            "employee": _numbered(rep_number, rep, -1),
            "office": office if office in self._seen["offices"] else "Unknown",
        }

    def order_lives(self) -> dict[Any, Row]:
        """What `fact_order_life` says of each order that was ever seen."""
        customers = self.customers()
        found = {}
        for key, versions in self._seen["orders"].items():
            last = versions[-1].attributes
            customer = valid_at(
                customers.get(last["customer_number"], ()), moment_of(last["order_date"])
            )
            steps: list[str] = []
            first: dict[str | None, datetime] = {}
            shipped_at = None
            before = None
            for version in versions:
                status = version.attributes["order_status"]
                if not steps or status != before:
                    steps.append(status or "Unknown")
                before = status
                first.setdefault(status, version.seen_at)
                if version.attributes["shipped_date"] and shipped_at is None:
                    shipped_at = version.seen_at
            found[key] = {
                **{name: last[name] for name in LIFE_COLUMNS},
                "customer": _numbered(last["customer_number"], customer, -1),
                "status_history": " > ".join(steps),
                "status_changes": len(steps) - 1,
                "is_deleted": versions[-1].is_deleted,
                "first_seen_at": min(versions[0].seen_at, self.commits.get(key, END)),
                "is_first_seen_in_log": key in self.commits,
                "shipped_seen_at": shipped_at,
                "on_hold_at": first.get("On Hold"),
                "disputed_at": first.get("Disputed"),
                "resolved_at": first.get("Resolved"),
                "cancelled_at": first.get("Cancelled"),
                "days_to_ship": _days(last["order_date"], last["shipped_date"]),
                "days_to_cancel": _days(last["order_date"], first.get("Cancelled")),
                "days_to_resolve": _days(last["order_date"], first.get("Resolved")),
            }
        return found


ORDER_COLUMNS = (
    "customer_number",
    "order_status",
    "order_comments",
    "order_date",
    "required_date",
    "shipped_date",
)
LIFE_COLUMNS = ("customer_number", "order_status", "order_date", "required_date", "shipped_date")
PLACE = ("country_as_spelled", "state", "city", "postal_code")


def valid_at(versions: Iterable[Version], moment: datetime) -> Version | None:
    """The version that is valid at a moment; None of nobody."""
    return next((v for v in versions if v.valid_from <= moment < v.valid_to), None)


def _attributes(versions: Iterable[Version], moment: datetime) -> Row | None:
    version = valid_at(versions, moment)
    return version.attributes if version else None


def moment_of(day: date | None) -> datetime:
    """The first moment of a day; of no day, one at which the last version is valid."""
    return datetime.combine(day, time()) if day else datetime(9999, 12, 30)


def _extend(versions: list[Version], stamp: datetime, row: Row, *, is_deleted: bool) -> None:
    """Begin a version unless the last one says the same."""
    if versions:
        last = versions[-1]
        if last.is_deleted == is_deleted and last.attributes == row:
            return
        last.valid_to = stamp
    begins = stamp if versions else BEGINNING
    versions.append(Version(len(versions) + 1, stamp, begins, row, is_deleted))


def _numbered(key: Any, version: Version | None, unknown: Any) -> tuple[Any, int]:
    return (key, version.number) if version else (unknown, 1)


def _full_name(first: str | None, last: str | None) -> str | None:
    return " ".join(name for name in (first, last) if name) or None


def _days(since: date | None, until: date | None) -> int | None:
    if since is None or until is None:
        return None
    return ((until.date() if isinstance(until, datetime) else until) - since).days
