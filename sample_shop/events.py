"""What happens in a shop day by day, played on a database that holds one.

Any shop with these eight tables will do, not only a generated one: keys are looked up, never
computed. Every choice comes from one random stream, so the same seed on the same shop plays the
same events on every database.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from sample_shop.databases import Database, ShopError
from sample_shop.generate import PRICE_STEPS, QUANTITIES, fill, money
from sample_shop.schema import TABLES
from sample_shop.words import COUNTRIES, LOCALES, PLACES, REASONS

# The next status of an order; a status that is listed twice is twice as likely.
STEPS = {
    "In Process": ("Shipped",) * 8 + ("On Hold", "Cancelled"),
    "On Hold": ("In Process", "In Process", "Cancelled"),
    "Disputed": ("Resolved",),
    "Shipped": ("Disputed",),
}
OPEN = ("In Process", "On Hold", "Disputed")
DISPUTED_SHARE = 0.1  # of status steps
RECENT_ORDERS = 60  # those that are paid for


@dataclass(frozen=True)
class Event:
    """An event: its day, its kind, and a description."""

    day: date
    kind: str
    text: str


@dataclass(frozen=True)
class Product:
    """The part of a product that an order line needs; prices in cents."""

    code: str
    buy: int
    msrp: int


@dataclass(frozen=True)
class Employee:
    """An employee and their place in the chain of `reportsTo`."""

    number: int
    name: str
    office: str
    boss: int | None
    title: str


class Player:
    """Plays events on an open database, and caches what it has read."""

    def __init__(self, database: Database, seed: int) -> None:
        missing = sorted(set(TABLES) - set(database.shop_tables()))
        if missing:
            raise ShopError(
                f"There is no whole shop in {database.place} (no table {', '.join(missing)}); "
                "make one first, without --events."
            )
        self.execute = database.execute
        (first, last, count, day) = self.execute(
            'select min("orderNumber"), max("orderNumber"), count(*), max("orderDate") from orders'
        )[0]
        self.first_order: int = first or 1
        self.last_order: int = last or 0
        self.last_day = date.fromisoformat(str(day)) if day else None
        customers = self.execute(
            'select min("customerNumber"), max("customerNumber") from customers'
        )
        self.first_customer, self.last_customer = customers[0]
        self.products = sorted(
            (
                Product(code, to_cents(buy), to_cents(msrp))
                for code, buy, msrp in self.execute(
                    'select "productCode", "buyPrice", "MSRP" from products'
                )
            ),
            key=lambda product: product.code,
        )
        self.employees = [
            Employee(number, f"{first} {last}", office, boss, title)
            for number, first, last, office, boss, title in self.execute(
                'select "employeeNumber", "firstName", "lastName", "officeCode", "reportsTo", '
                '"jobTitle" from employees order by "employeeNumber"'
            )
        ]
        self.open_orders: dict[int, str] = dict(
            self.execute(
                'select "orderNumber", status from orders where status in (%s, %s, %s) '
                'order by "orderNumber"',
                OPEN,
            )
        )
        # A second run with the same seed continues with other events.
        self.random = Random(f"{seed}:events:{last}:{count}")
        self.day = date.min

    def play(self, count: int, as_of: date) -> list[Event]:
        """Let `count` events happen after the last order, the last ones by `as_of`.

        In a shop that has orders up to `as_of` already, they all happen on the day of the last one.
        """
        first = self.last_day + timedelta(days=1) if self.last_day else as_of
        span = max((as_of - first).days, 0)
        start = first if first <= as_of else self.last_day or as_of
        offsets = sorted(self.random.randrange(span + 1) for _ in range(count))
        # Each kind once, while there are enough events; then as often as in a real shop.
        kinds = list(KINDS)
        self.random.shuffle(kinds)
        weights = [KINDS[kind].weight for kind in kinds]
        kinds = (kinds + self.random.choices(kinds, weights, k=count))[:count]
        self.random.shuffle(kinds)
        events = []
        for offset, kind in zip(offsets, kinds, strict=True):
            self.day = start + timedelta(days=offset)
            events.append(self.happen(kind))
        return events

    def happen(self, wanted: str) -> Event:
        """Play an event of the kind `wanted`, or of another kind if that is impossible."""
        others = [kind for kind in KINDS if kind != wanted]
        self.random.shuffle(others)
        for kind in (wanted, *others):
            text = KINDS[kind].play(self)
            if text:
                return Event(self.day, kind, text)
        raise ShopError("Nothing can happen in this shop: it has no customers or no products.")

    def any_customer(self, *columns: str) -> tuple[Any, ...] | None:
        """Number, name and `columns` of a customer."""
        if self.first_customer is None:
            return None
        names = "".join(f', "{column}"' for column in columns)
        return self.execute(
            f'select "customerNumber", "customerName"{names} from customers '
            'where "customerNumber" >= %s order by "customerNumber" limit 1',
            [self.random.randint(self.first_customer, self.last_customer)],
        )[0]

    def any_order(self, since: int) -> tuple[int, str, int] | None:
        """Number, status and customer of an order from the number `since` on."""
        found = self.execute(
            'select "orderNumber", status, "customerNumber" from orders '
            'where "orderNumber" >= %s order by "orderNumber" limit 1',
            [self.random.randint(min(since, self.last_order), self.last_order)],
        )
        return (found[0][0], found[0][1], found[0][2]) if found else None

    def new_order(self) -> str | None:
        customer = self.any_customer()
        if not customer or not self.products:
            return None
        self.last_order += 1
        required = self.day + timedelta(days=self.random.randint(7, 14))
        self.execute(
            "insert into orders values (%s, %s, %s, null, 'In Process', null, %s)",
            [self.last_order, self.day.isoformat(), required.isoformat(), customer[0]],
        )
        wanted = min(self.random.randint(1, 12), len(self.products))
        total = 0
        for line, product in enumerate(self.random.sample(self.products, wanted), start=1):
            quantity = self.random.choice(QUANTITIES)
            price = max(product.msrp * self.random.choice(PRICE_STEPS) // 100, 1)
            total += quantity * price
            self.execute(
                "insert into orderdetails values (%s, %s, %s, %s, %s)",
                [self.last_order, product.code, quantity, money(price), line],
            )
        self.open_orders[self.last_order] = "In Process"
        return (
            f"order {self.last_order}: {customer[1].strip()} orders {wanted} products "
            f"for {total // 100:,}.{total % 100:02d}"
        )

    def status_step(self) -> str | None:
        if self.open_orders and self.random.random() >= DISPUTED_SHARE:
            order = self.random.choice(list(self.open_orders))
            status = self.open_orders[order]
        else:
            shipped = self.any_order(self.first_order)
            if not shipped or shipped[1] != "Shipped":
                return None
            order, status, _ = shipped
        step = self.random.choice(STEPS[status])
        changes: dict[str, str] = {"status": step}
        if step == "Shipped":
            changes["shippedDate"] = self.day.isoformat()
        if step in REASONS:
            changes["comments"] = self.random.choice(REASONS[step])
        assignments = ", ".join(f'"{column}" = %s' for column in changes)
        self.execute(
            f'update orders set {assignments} where "orderNumber" = %s', [*changes.values(), order]
        )
        if step in OPEN:
            self.open_orders[order] = step
        else:
            self.open_orders.pop(order, None)
        return f"order {order}: {status} -> {step}"

    def payment(self) -> str | None:
        order = self.any_order(max(self.first_order, self.last_order - RECENT_ORDERS))
        if not order or order[1] == "Cancelled":
            return None
        number, _, customer = order
        lines = self.execute(
            'select "quantityOrdered", "priceEach" from orderdetails where "orderNumber" = %s',
            [number],
        )
        amount = sum(quantity * to_cents(price) for quantity, price in lines)
        check = fill(self.random, f"@@{number}##")
        known = self.execute(
            'select 1 from payments where "customerNumber" = %s and "checkNumber" = %s',
            [customer, check],
        )
        if known or not amount:
            return None
        self.execute(
            "insert into payments values (%s, %s, %s, %s)",
            [customer, check, self.day.isoformat(), money(amount)],
        )
        return f"customer {customer}: check {check} over {money(amount)} for order {number}"

    def price_change(self) -> str | None:
        if not self.products:
            return None
        position = self.random.randrange(len(self.products))
        old = self.products[position]
        percent = self.random.choice((88, 92, 95, 104, 107, 112))
        if self.random.random() < 0.7:
            new = Product(old.code, old.buy, max(old.msrp * percent // 100, old.buy + 1))
            column, before, after = "MSRP", old.msrp, new.msrp
        else:
            new = Product(old.code, min(old.buy * percent // 100, old.msrp - 1), old.msrp)
            column, before, after = "buyPrice", old.buy, new.buy
        if before == after or after < 1:
            return None
        self.execute(
            f'update products set "{column}" = %s where "productCode" = %s',
            [money(after), old.code],
        )
        self.products[position] = new
        return f"product {old.code}: {column} {money(before)} -> {money(after)}"

    def customer_moves(self) -> str | None:
        customer = self.any_customer("city", "country")
        if not customer:
            return None
        number, name, city, country = customer
        # A real shop's tables may be in latin1, so only places that latin1 can store.
        places = [p for p in PLACES if p.city != city.strip() and is_latin1(p.city)]
        same_country = [p for p in places if p.country == country.strip()]
        place = self.random.choice(same_country or places)
        streets = LOCALES[COUNTRIES[place.country].locale].streets
        street = self.random.choice([street for street in streets if is_latin1(street)])
        self.execute(
            'update customers set "addressLine1" = %s, "addressLine2" = null, city = %s, '
            'state = %s, "postalCode" = %s, country = %s where "customerNumber" = %s',
            [
                street.format(n=self.random.randint(1, 199)),
                place.city,
                place.state,
                fill(self.random, place.postal),
                place.country,
                number,
            ],
        )
        return (
            f"customer {number}: {name.strip()} moves from {city.strip()}, {country.strip()} "
            f"to {place.city}, {place.country}"
        )

    def representative_changes(self) -> str | None:
        customer = self.any_customer("salesRepEmployeeNumber")
        if not customer:
            return None
        number, name, old = customer
        choice = [
            employee
            for employee in self.employees
            if employee.title == "Sales Rep" and employee.number != old
        ]
        if not choice:
            return None
        new = self.random.choice(choice)
        self.execute(
            'update customers set "salesRepEmployeeNumber" = %s where "customerNumber" = %s',
            [new.number, number],
        )
        return (
            f"customer {number}: {name.strip()} is looked after by {new.name} ({new.number}), "
            f"before by {old or 'nobody'}"
        )

    def credit_limit_changes(self) -> str | None:
        customer = self.any_customer("creditLimit")
        if not customer:
            return None
        number, name, old = customer
        before = to_cents(old or 0)
        if before:
            after = before * self.random.choice((60, 80, 110, 125, 150)) // 100 // 10_000 * 10_000
        else:
            after = self.random.randint(200, 600) * 10_000
        if after == before:
            return None
        self.execute(
            'update customers set "creditLimit" = %s where "customerNumber" = %s',
            [money(after), number],
        )
        return f"customer {number}: {name.strip()}, credit limit {money(before)} -> {money(after)}"

    def order_deleted(self) -> str | None:
        order = self.any_order(self.first_order)
        # The last number is not used again, as with a counter.
        if not order or order[0] == self.last_order:
            return None
        number = order[0]
        lines = self.execute(
            'select count(*) from orderdetails where "orderNumber" = %s', [number]
        )[0][0]
        self.execute('delete from orderdetails where "orderNumber" = %s', [number])
        self.execute('delete from orders where "orderNumber" = %s', [number])
        self.open_orders.pop(number, None)
        return f"order {number}: deleted with its {lines} lines"

    def employee_leaves(self) -> str | None:
        leavers = [employee for employee in self.employees if employee.boss is not None]
        if not leavers:
            return None
        leaver = self.random.choice(leavers)
        peers = [e for e in self.employees if e != leaver and e.title == leaver.title]
        near = [peer for peer in peers if peer.office == leaver.office]
        heir = self.random.choice(near or peers) if peers else None
        if leaver.title == "Sales Rep" and not heir:
            return None
        customers = self.execute(
            'select count(*) from customers where "salesRepEmployeeNumber" = %s', [leaver.number]
        )[0][0]
        self.execute(
            'update customers set "salesRepEmployeeNumber" = %s '
            'where "salesRepEmployeeNumber" = %s',
            [heir.number if heir else None, leaver.number],
        )
        self.execute(
            'update employees set "reportsTo" = %s where "reportsTo" = %s',
            [leaver.boss, leaver.number],
        )
        self.execute('delete from employees where "employeeNumber" = %s', [leaver.number])
        self.employees = [
            Employee(e.number, e.name, e.office, leaver.boss, e.title)
            if e.boss == leaver.number
            else e
            for e in self.employees
            if e != leaver
        ]
        taken_over = f"; {customers} customers go to {heir.name} ({heir.number})" if heir else ""
        return f"employee {leaver.number}: {leaver.name}, {leaver.title}, leaves{taken_over}"


@dataclass(frozen=True)
class Kind:
    """How often an event happens, as a weight, and how; None when the shop does not allow it."""

    weight: int
    play: Callable[[Player], str | None]


KINDS = {
    "new order": Kind(30, Player.new_order),
    "status step": Kind(30, Player.status_step),
    "payment": Kind(14, Player.payment),
    "price change": Kind(8, Player.price_change),
    "customer moves": Kind(4, Player.customer_moves),
    "representative changes": Kind(4, Player.representative_changes),
    "credit limit changes": Kind(5, Player.credit_limit_changes),
    "order deleted": Kind(3, Player.order_deleted),
    "employee leaves": Kind(1, Player.employee_leaves),
}


def to_cents(value: Decimal | float) -> int:
    """Money from any driver; SQLite's floats are precise enough for two decimals."""
    return round(Decimal(str(value)) * 100)


def is_latin1(text: str) -> bool:
    """Whether every character is in ISO 8859-1."""
    return all(ord(character) < 256 for character in text)
