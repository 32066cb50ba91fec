"""The rows of the sample shop, batch by batch, the same for the same plan everywhere.

Only products and sales representatives stay in memory, so it does not grow with the number of
orders. Faults are planted at fixed positions, so that they are there at every seed.
"""

import math
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import accumulate, islice
from random import Random
from string import ascii_uppercase

from sample_shop.words import (
    COMMENTS,
    COUNTRIES,
    DETAILS,
    LINES,
    LOCALES,
    OFFICES,
    PLACES,
    REASONS,
    VENDORS,
    WORDS,
    Locale,
    Place,
)

Value = int | str | bytes | None
Row = tuple[Value, ...]
Batch = tuple[str, list[Row]]

BATCH_ROWS = 5_000
MONTHS = 29
LEADERS = 6  # employees who do not sell
FIRST_EMPLOYEE, FIRST_CUSTOMER, FIRST_ORDER = 1001, 201, 10001
# Weights of the months January to December: gifts are bought in autumn.
SEASON = (0.9, 0.9, 0.95, 0.95, 1.0, 0.95, 0.9, 0.95, 1.05, 1.2, 1.6, 1.25)
WEEKEND = 0.35  # of the orders of a working day
GROWTH = (0.5, 2.1)  # orders a day at the beginning and at the end, relative
# Lines per order; on average 9.2.
LINES_PER_ORDER = (1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10, 11, 12, 13, 14, 14, 15, 17, 16, 8)
# Mostly 20 to 49, now and then a sample or a bulk order.
QUANTITIES = (
    *range(20, 50),
    *range(20, 50),
    *range(20, 50),
    10,
    12,
    14,
    16,
    18,
    55,
    64,
    72,
    85,
    97,
)
PRICE_STEPS = range(80, 106)  # per cent of the recommended price
# Positions of planted faults: a product among 110, buyers among 50.
NEVER_ORDERED, OVERPAYS, NEVER_PAYS = 60, 2, 3


@dataclass(frozen=True)
class Plan:
    """What to make: `scale` times the small shop, from `seed`, with orders up to `as_of`."""

    scale: int
    seed: int
    as_of: date

    @property
    def customers(self) -> int:
        return 122 * self.scale

    @property
    def buyers(self) -> int:
        """Customers with orders: four of each five; see `buyer`."""
        return self.customers - self.customers // 5

    @property
    def orders(self) -> int:
        return 326 * self.scale

    @property
    def products(self) -> int:
        return round(110 * math.pow(self.scale, 0.3))

    @property
    def employees(self) -> int:
        return round(23 * math.pow(self.scale, 0.25))

    @property
    def expected_rows(self) -> dict[str, int]:
        """Rows per table, for a progress bar: exact for most, near for lines and payments."""
        return {
            "offices": len(OFFICES),
            "employees": self.employees,
            "productlines": len(LINES),
            "products": self.products,
            "customers": self.customers,
            "orders": self.orders,
            "orderdetails": round(9.2 * self.orders),
            "payments": round(0.84 * self.orders),
        }

    def random(self, purpose: str) -> Random:
        """A separate stream of random numbers, so that tables do not depend on each other."""
        return Random(f"{self.seed}:{purpose}")


def batches(plan: Plan) -> Iterator[Batch]:
    """All rows of the shop as (table, rows), parents before children."""
    products = product_rows(plan)
    yield "offices", [*OFFICES]
    yield "employees", employee_rows(plan)
    yield "productlines", productline_rows()
    yield "products", products
    yield from batched("customers", customer_rows(plan))
    # The newest orders are not paid yet: a batch can be empty.
    yield from (batch for batch in sales(plan, products) if batch[1])


def batched(table: str, rows: Iterator[Row]) -> Iterator[Batch]:
    """The rows in batches that can be written one after the other."""
    while batch := list(islice(rows, BATCH_ROWS)):
        yield table, batch


def employee_rows(plan: Plan) -> list[Row]:
    """A president, two vice presidents, three sales managers, and representatives everywhere."""
    random = plan.random("employees")
    head = FIRST_EMPLOYEE
    offices = {office[0]: office for office in OFFICES}
    leaders = (
        ("1", None, "President"),
        ("1", head, "VP Sales"),
        ("1", head, "VP Marketing"),
        ("6", head + 1, "Sales Manager (APAC)"),
        ("7", head + 1, "Sales Manager (EMEA)"),
        ("1", head + 1, "Sales Manager (NA)"),
    )
    managers = {"APAC": head + 3, "Japan": head + 3, "EMEA": head + 4, "NA": head + 5}
    rows: list[Row] = []
    for i in range(plan.employees):
        if i < LEADERS:
            code, boss, title = leaders[i]
        else:
            code, title = OFFICES[i % len(OFFICES)][0], "Sales Rep"
            boss = managers[offices[code][8]]
        locale = LOCALES[COUNTRIES[offices[code][6]].locale]
        first, last = random.choice(locale.first), random.choice(locale.last)
        email = f"e{head + i}@scalemodels.example"
        extension = f"x{random.randrange(100, 10_000)}"
        rows.append((head + i, last, first, extension, email, code, boss, title))
    return rows


def representatives(plan: Plan) -> dict[str, list[int]]:
    """The numbers of the sales representatives of each territory."""
    found: dict[str, list[int]] = {}
    for i in range(LEADERS, plan.employees):
        found.setdefault(OFFICES[i % len(OFFICES)][8], []).append(FIRST_EMPLOYEE + i)
    return found


def productline_rows() -> list[Row]:
    """One row per line; Trains has neither HTML nor image, Planes an image of every byte value."""
    images = {
        "Planes": bytes(range(256)),
        "Ships": b"\x89PNG\r\n\x1a\n\x00\xff\\'\"",
        "Trains": None,
    }
    return [(line.name, line.text, line.html, images.get(line.name, b"")) for line in LINES]


def product_rows(plan: Plan) -> list[Row]:
    """The products; their recommended price is 1.35 to 2.2 times what the shop pays."""
    random = plan.random("products")
    shares = list(accumulate(line.share for line in LINES))
    rows: list[Row] = []
    for i in range(plan.products):
        # Steps of the golden ratio fill the shares evenly, however many products there are.
        line = LINES[bisect(shares, (i * 0.6180339887 + 0.05) % 1 * shares[-1])]
        scale = random.choice(line.scales)
        year = random.randint(*line.years)
        name = f"{year} {random.choice(line.makes)} {random.choice(line.models)}"
        vendor = random.choice(VENDORS)
        buy = random.randrange(1_599, 10_399)
        msrp = buy * random.randrange(135, 221) // 100
        rows.append(
            (
                f"M{scale[2:]}_{1000 + i}",
                name + "  " * (i % 40 == 9),
                line.name,
                scale,
                vendor + " " * (i % 40 == 17),
                f"{line.text} {random.choice(DETAILS)}",
                random.randrange(0, 10_000),
                money(buy),
                money(msrp),
            )
        )
    return rows


def money(cents: int) -> str:
    """Exact decimal text: 1205 -> '12.05'."""
    return f"{cents // 100}.{cents % 100:02d}"


def customer_rows(plan: Plan) -> Iterator[Row]:
    """The customers: first one for each place, then at random places."""
    random = plan.random("customers")
    sellers = representatives(plan)
    met: set[str] = set()
    for i in range(plan.customers):
        place = PLACES[i] if i < len(PLACES) else random.choice(PLACES)
        country = COUNTRIES[place.country]
        locale = LOCALES[country.locale]
        prospect = i % 5 == 4
        first, last = random.choice(locale.first), random.choice(locale.last)
        if country.locale not in met:
            # Every seed has the oddest name of each locale.
            met.add(country.locale)
            first, last = locale.first[0], locale.last[0]
        rep = random.choice(sellers[country.territory])
        credit = 0 if prospect else random.randrange(110, 2_300) * 10_000
        yield (
            customer_number(i),
            firm(random, locale, last) + "  " * (i % 40 == 5),
            last,
            first + " " * (i % 40 == 30),
            fill(random, country.phone),
            random.choice(locale.streets).format(n=random.randint(1, 199)),
            (f"Suite {i % 90 + 10}", "", None, None)[i % 4],
            " " * (i % 40 == 12) + place.city + " " * (i % 40 == 13),
            place.state or ("" if i % 3 == 0 else None),
            postal_code(random, place, i),
            place.country + "  " * (i % 40 == 21),
            None if prospect or i % 60 == 26 else rep,
            None if i % 60 == 37 else money(credit),
        )


def customer_number(i: int) -> int:
    """The number of the i-th customer; numbers have gaps."""
    return FIRST_CUSTOMER + 3 * i


def buyer(i: int) -> int:
    """The number of the i-th customer that has orders; each fifth customer is a prospect."""
    return customer_number(i // 4 * 5 + i % 4)


def firm(random: Random, locale: Locale, last: str) -> str:
    """The name of a firm, often that of its owner."""
    return random.choice(locale.firms).format(last=last, word=random.choice(WORDS))


def postal_code(random: Random, place: Place, i: int) -> str | None:
    """A code of this place; null or empty for some."""
    code = fill(random, place.postal)
    return {7: None, 16: ""}.get(i % 20, code)


def fill(random: Random, pattern: str) -> str:
    """`pattern` with a random digit for each `#` and a random capital letter for each `@`."""
    return "".join(
        str(int(random.random() * 10))
        if character == "#"
        else ascii_uppercase[int(random.random() * 26)]
        if character == "@"
        else character
        for character in pattern
    )


def sales(plan: Plan, products: list[Row]) -> Iterator[Batch]:
    """Orders by date, each with its lines and payments: three tables in turn."""
    random = plan.random("orders").random
    add_lines = line_maker(plan, products)
    today = plan.as_of.toordinal()
    orders: list[Row] = []
    lines: list[Row] = []
    payments: list[Row] = []
    for k, day in enumerate(order_days(plan)):
        number = FIRST_ORDER + k
        # Each third order goes to the buyers in turn, so that all have one; others to the first.
        index = (k // 3 if k % 3 == 0 else int(plan.buyers * random() ** 1.6)) % plan.buyers
        customer = buyer(index)
        required = day + 7 + int(random() * 8)
        late = k % 37 == 20
        shipped = required + 1 + k % 5 if late else day + 1 + int(random() * 6)
        status = order_status(plan.orders - 1 - k, shipped <= today)
        has_left = status in ("Shipped", "Resolved", "Disputed")
        shipped_date = iso(shipped) if has_left else None
        comment = order_comment(status, k)
        orders.append((number, iso(day), iso(required), shipped_date, status, comment, customer))
        total = add_lines(number, lines)
        paid = (shipped if has_left else day) + 3 + int(random() * 27)
        if index % 50 == OVERPAYS:
            paid = day
        for part, cents in enumerate(payment_amounts(k, index, total)):
            if paid + 11 * part <= today:
                letters = ascii_uppercase[k % 26] + ascii_uppercase[index % 26]
                check = f"{letters}{100_003 + 7 * k + part}"
                payments.append((customer, check, iso(paid + 11 * part), money(cents)))
        if len(lines) >= BATCH_ROWS:
            yield from (("orders", orders), ("orderdetails", lines), ("payments", payments))
            orders, lines, payments = [], [], []
    yield from (("orders", orders), ("orderdetails", lines), ("payments", payments))


def order_days(plan: Plan) -> Iterator[int]:
    """The day (an ordinal) of each order in turn; the last one is `as_of`."""
    month = plan.as_of.year * 12 + plan.as_of.month - 1 - MONTHS
    first = date(month // 12, month % 12 + 1, min(plan.as_of.day, 28)).toordinal()
    last = plan.as_of.toordinal()
    slow, fast = GROWTH
    weights = []
    for ordinal in range(first, last + 1):
        day = date.fromordinal(ordinal)
        growth = slow + (fast - slow) * (ordinal - first) / (last - first)
        weights.append(growth * SEASON[day.month - 1] * (WEEKEND if day.weekday() > 4 else 1))
    reached = list(accumulate(weights))
    day_index = 0
    for k in range(plan.orders):
        share = (k + 1) / plan.orders
        while day_index < last - first and reached[day_index] < share * reached[-1]:
            day_index += 1
        yield first + day_index


def line_maker(plan: Plan, products: list[Row]) -> Callable[[int, list[Row]], int]:
    """A function that appends the lines of an order and returns their sum in cents."""
    generator = plan.random("lines")
    random, choices = generator.random, generator.choices
    codes = [row[0] for row in products]
    recommended = [int(str(row[8]).replace(".", "")) for row in products]
    prices = [
        [(cents * step // 100, money(cents * step // 100)) for step in PRICE_STEPS]
        for cents in recommended
    ]
    # The more popular a product, the more often it is in the pool; one in 110 is never ordered.
    pool = [
        i
        for i in range(len(products))
        for _ in range(0 if i % 110 == NEVER_ORDERED else generator.randrange(1, 6))
    ]

    def add_lines(order: int, lines: list[Row]) -> int:
        wanted = LINES_PER_ORDER[7 * order % len(LINES_PER_ORDER)]
        total = 0
        # Products that are drawn twice count once, so draw a few more than needed.
        drawn = dict.fromkeys(choices(pool, k=wanted + 5))
        for number, product in enumerate(islice(drawn, wanted), start=1):
            quantity = QUANTITIES[int(random() * len(QUANTITIES))]
            cents, text = prices[product][int(random() * len(PRICE_STEPS))]
            total += quantity * cents
            lines.append((order, codes[product], quantity, text, number))
        return total

    return add_lines


def order_status(from_end: int, can_have_shipped: bool) -> str:
    """The status of an order, given how many orders came after it."""
    match from_end % 120:
        case 6:
            return "On Hold"
        case 21 | 81:
            return "Cancelled"
        case _ if not can_have_shipped:
            return "In Process"
        case 40:
            return "Disputed"
        case 55:
            return "Resolved"
    return "Shipped"


def order_comment(status: str, k: int) -> str | None:
    """The reason for an order in trouble; for others mostly no comment: null or an empty string."""
    if status in REASONS:
        return REASONS[status][k % len(REASONS[status])]
    if k % 4 == 1:
        return COMMENTS[k // 4 % len(COMMENTS)]
    return "" if k % 10 == 4 else None


def payment_amounts(k: int, index: int, total: int) -> tuple[int, ...]:
    """What the `index`-th buyer pays, in cents, for the k-th order: not always what it cost."""
    if index % 50 == OVERPAYS:
        return (total + 25_000,)
    if index % 50 == NEVER_PAYS or k % 9 == 4:
        return ()
    if k % 25 == 8:
        return (total // 2,)
    if k % 40 == 12:
        return (total // 3, total - total // 3)
    return (total,)


@cache
def iso(ordinal: int) -> str:
    """The day as YYYY-MM-DD."""
    return date.fromordinal(ordinal).isoformat()
