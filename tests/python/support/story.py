"""A shop, its warehouse, and what is compared after each build: the story of one history."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

import loader.run
from loader import Options, load
from pipeline.changes import Changes, changed_tables
from pipeline.dbt_runner import Node
from pipeline.selection import selected
from sample_shop.schema import TABLES
from support.history_account import Account, Row, Versions
from support.one_run import own
from support.project import (
    DuckDBWarehouse,
    Mart,
    Outcome,
    PostgresWarehouse,
    Project,
    Warehouse,
    our_name,
)
from support.random_shop import FIRST_DAY, RandomShop

# Events in a round: few, so that a failure has few causes; where rounds are dear, many.
FEW_EVENTS = (1, 1, 2, 2, 3, 5)
MANY_EVENTS = (8, 12, 16)
# Of a few rows, all may go.
ANYTHING = Options(max_delete_share=1)
# What the marts take for today: a day in the middle of most stories.
AS_OF = FIRST_DAY + timedelta(days=30)
# What holds state from run to run. Views are made by the first build.
STATEFUL = (
    "config.materialized:incremental",
    "config.materialized:table",
    "resource_type:snapshot",
)
# Of these, what the marts on top of the star are calculated from: half of a build's time.
STAR = (
    "path:models/marts/core,config.materialized:incremental",
    "path:models/intermediate/calendar,config.materialized:incremental",
    "resource_type:snapshot",
)
# The marts on top are calculated anew as a whole: each so many rounds is enough to compare them.
WHOLE_EVERY = 4

SNAPSHOTS = {
    "customers": "customers_snapshot",
    "employees": "employees_snapshot",
    "offices": "offices_snapshot",
    "orders": "orders_snapshot",
    "productlines": "product_lines_snapshot",
    "products": "products_snapshot",
}
DIMENSIONS = {
    "dim_customers": ("customer", "customer_number", Account.customers),
    "dim_employees": ("employee", "employee_number", Account.employees),
    "dim_products": ("product", "product_code", Account.products),
}
SOLD = """
    c.customer_number, c.version_number, c.customer_key = f.customer_key,
    l.country_as_spelled, l.state, l.city, l.postal_code,
    e.employee_number, e.version_number, e.employee_key = f.employee_key,
    o.office_code"""
PARENTS = """
    left join marts.dim_customers as c on f.customer_version_key = c.customer_version_key
    left join marts.dim_locations as l on f.location_key = l.location_key
    left join marts.dim_employees as e on f.employee_version_key = e.employee_version_key
    left join marts.dim_offices as o on f.office_key = o.office_key"""
# By fact: its key, and the stamp of each row that it was made of.
VERSIONS = ("customer", "employee", "product")
MADE_OF_AN_ORDER = " union all ".join(
    (
        "select f.order_line_key, d._loaded_at from marts.fact_orders as f"
        " inner join staging.stg_classicmodels__order_details as d"
        " on f.order_number = d.order_number and f.product_code = d.product_code",
        "select f.order_line_key, o._loaded_at from marts.fact_orders as f"
        " inner join staging.stg_classicmodels__orders as o on f.order_number = o.order_number",
        "select f.order_line_key, t._loaded_at from marts.fact_orders as f"
        " inner join staging.stg_classicmodels__tombstones as t"
        " on t.entity = 'orders' and f.order_number = t.order_number",
        *(
            f"select f.order_line_key, v._loaded_at from marts.fact_orders as f inner join"
            f" marts.dim_{parent}s as v on f.{parent}_version_key = v.{parent}_version_key"
            for parent in VERSIONS
        ),
    )
)
MADE_OF_A_PAYMENT = " union all ".join(
    (
        "select f.payment_key, p._loaded_at from marts.fact_payments as f"
        " inner join staging.stg_classicmodels__payments as p"
        " on f.customer_number = p.customer_number and f.check_number = p.check_number",
        *(
            f"select f.payment_key, v._loaded_at from marts.fact_payments as f inner join"
            f" marts.dim_{parent}s as v on f.{parent}_version_key = v.{parent}_version_key"
            for parent in VERSIONS[:2]
        ),
    )
)
LINE_COLUMNS = (
    "order_number",
    "product_code",
    "order_line_number",
    "quantity_ordered",
    "price_each",
    "customer_number",
    "order_status",
    "order_comments",
    "order_date",
    "required_date",
    "shipped_date",
    "buy_price",
    "msrp",
    "order_amount",
    "revenue_amount",
    "cost_amount",
)
PAYMENT_COLUMNS = ("customer_number", "check_number", "payment_amount", "payment_date")
LIFE_COLUMNS = (
    "order_number",
    "customer_number",
    "order_status",
    "order_date",
    "required_date",
    "shipped_date",
    "status_history",
    "status_changes",
    "is_deleted",
    "is_first_seen_in_log",
    "first_seen_at",
    "shipped_seen_at",
    "on_hold_at",
    "disputed_at",
    "resolved_at",
    "cancelled_at",
    "days_to_ship",
    "days_to_cancel",
    "days_to_resolve",
)


class Clock:
    """The loader's clock, so that a hundred loads are as many days and not as many seconds."""

    def __init__(self) -> None:
        self.moment = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, 8, tzinfo=UTC)

    def now(self) -> datetime:
        self.moment += timedelta(microseconds=1)
        return self.moment.replace(tzinfo=None)

    def pass_by(self, random: Random) -> None:
        """Minutes or days."""
        self.moment += timedelta(minutes=random.randint(1, 3000))


@dataclass
class Story:
    """A shop, its warehouse, and the account of both that is compared after each build."""

    project: Project
    warehouse: Warehouse
    shop: RandomShop
    clock: Clock
    account: Account
    # By incremental model: the SQL that calculates it without its history.
    fresh: Mapping[str, str] = field(default_factory=dict)
    # Those of them that keep what they have calculated.
    marts: Mapping[str, Mart] = field(default_factory=dict)
    # By dimension, natural key and version number (0: of all versions): no key may ever change.
    keys: dict[tuple[str, Any, int], str] = field(default_factory=dict)
    # Of the last load: when it was, and what it found.
    left_out: Sequence[str] = ("test", "unit_test")
    last_stamp: datetime = datetime.min
    loaded: dict[str, dict[Any, Row]] = field(default_factory=dict)
    # Orders that any load has brought.
    known_orders: set[Any] = field(default_factory=set)

    def load(self, options: Options = ANYTHING) -> None:
        """Load the shop as it is."""
        result = load(self.shop.url, self.warehouse.destination(), options)
        self.last_stamp = result.started_at
        self.loaded = read_tables(self.shop)
        self.hear_of_commits(result.batch_id)

    def hear_of_commits(self, batch: str) -> None:
        """Of some new orders a log told when they were committed, as if a watch had loaded them.

        Of others it did not; and some clocks are ahead of the loader's.
        """
        new = self.loaded["orders"].keys() - self.known_orders
        heard = [number for number in sorted(new) if number % 3] if self.known_orders else []
        self.known_orders |= new
        if not heard:
            return
        commits = {n: self.last_stamp - timedelta(minutes=n % 400 - 30) for n in heard}
        self.account.commits |= commits
        rows = ", ".join(
            f"('orders', '{number}', cast('{at}' as timestamp), '{batch}')"
            for number, at in commits.items()
        )
        self.warehouse.query(f"insert into _load_commits values {rows}")

    def build(self, *arguments: str) -> None:
        """Snapshots and star; the account takes note of the last load, as the snapshots do."""
        self.account.note(self.last_stamp, self.loaded)
        self.succeed(*arguments)

    def succeed(self, *arguments: str) -> None:
        outcome = self.run_dbt(*arguments)
        if not outcome.green:
            pytest.fail(str(outcome), pytrace=False)

    def run_dbt(self, *arguments: str) -> Outcome:
        """What `dbt build` does for the star, without seeds, views and tests; or as told."""
        arguments = arguments or ("--select", *STAR)
        return self.project.dbt(
            self.warehouse, "build", "--exclude-resource-type", *self.left_out,
            "--threads", "1", "--use-fast-test-edges", *arguments,
        )  # fmt: skip

    def begin(self) -> None:
        """The first load and build, and the SQL of each incremental model without its history."""
        self.load()
        anew = self.project.compiled(
            self.warehouse, "--full-refresh", "--select", "config.materialized:incremental"
        )
        marts = self.project.marts(self.warehouse, "intermediate")
        self.marts = {mart.name: mart for mart in marts if mart.name in anew}
        self.fresh = {name: anew[name] for name in self.marts}
        self.build("--full-refresh")
        self.project.leave_comments(self.warehouse)

    def check(self, whole: bool = False) -> None:
        """Every model of the star is a full refresh of itself, and the account agrees.

        `whole`: the marts on top of it are, too.
        """
        with self.warehouse.asking():
            self.check_fresh([name for name in self.fresh if whole or is_of_the_star(name)])
            for name, (entity, key, versions) in DIMENSIONS.items():
                self.check_dimension(name, entity, key, versions(self.account))
            self.check_facts()
            self.check_stamps()

    def check_fresh(self, names: Sequence[str]) -> None:
        marts = [self.marts[name] for name in names]
        compared = [
            f"with kept as (select {columns} from {mart.schema}.{mart.name}),"
            f" anew as materialized (select {columns} from ({self.fresh[mart.name]}) as calculated)"
            " (select 'kept' as what, * from (select * from kept except all select * from anew)"
            " as surplus limit 2) union all"
            " (select 'built anew', * from (select * from anew except all select * from kept)"
            " as missing limit 2)"
            for mart, columns in ((mart, ", ".join(mart.columns)) for mart in marts)
        ]
        for name, other in zip(names, self.warehouse.query_all(compared), strict=True):
            if other:
                pytest.fail(f"{name}:\n" + "\n".join(map(str, other)), pytrace=False)

    def check_dimension(self, name: str, entity: str, key: str, expected: Versions) -> None:
        columns = list(next(iter(expected.values()))[0].attributes)
        found = self.warehouse.query(
            f"select {entity}_version_key, {entity}_key, {key}, version_number, valid_from,"
            f" valid_to, is_current, is_deleted, {', '.join(columns)} from marts.{name}"
            f" where {entity}_key <> '-1'"
        )
        same(
            name,
            [row[2:] for row in found],
            [
                (
                    number, version.number, version.valid_from, version.valid_to,
                    version is versions[-1], version.is_deleted,
                    *(version.attributes[column] for column in columns),
                )
                for number, versions in expected.items()
                for version in versions
            ],
        )  # fmt: skip
        if len({row[0] for row in found}) < len(found):
            pytest.fail(f"{name}: version keys are not unique", pytrace=False)
        for version_key, entity_key, number, version, *_ in found:
            for mark, value in ((version, version_key), (0, entity_key)):
                before = self.keys.setdefault((name, number, mark), value)
                if before != value:
                    pytest.fail(f"{name}: {number} had the key {before} before", pytrace=False)

    def check_facts(self) -> None:
        same(
            "fact_orders",
            self.warehouse.query(
                f"select {listed('f', LINE_COLUMNS)}, {SOLD}, p.product_code, p.version_number,"
                f" p.product_key = f.product_key from marts.fact_orders as f {PARENTS}"
                " left join marts.dim_products as p"
                " on f.product_version_key = p.product_version_key"
            ),
            [
                (*picked(row, LINE_COLUMNS), *sold(row), *row["product"], True)
                for row in self.account.order_lines().values()
            ],
        )
        wide = self.account.wide_lines()
        columns = list(next(iter(wide.values())))
        same(
            "orders_obt",
            self.warehouse.query(
                f"select order_number, product_code, {', '.join(columns)} from marts.orders_obt"
            ),
            [(*key, *picked(row, columns)) for key, row in wide.items()],
        )
        same(
            "fact_payments",
            self.warehouse.query(
                f"select {listed('f', PAYMENT_COLUMNS)}, {SOLD}"
                f" from marts.fact_payments as f {PARENTS}"
            ),
            [
                (*picked(row, PAYMENT_COLUMNS), *sold(row))
                for row in self.account.payments().values()
            ],
        )
        same(
            "fact_order_life",
            self.warehouse.query(
                f"select {listed('f', LIFE_COLUMNS)}, c.customer_number, c.version_number,"
                " c.customer_key = f.customer_key from marts.fact_order_life as f"
                " left join marts.dim_customers as c"
                " on f.customer_version_key = c.customer_version_key"
            ),
            [
                (number, *picked(row, LIFE_COLUMNS[1:]), *row["customer"], True)
                for number, row in self.account.order_lives().items()
            ],
        )

    def check_stamps(self) -> None:
        """A line or payment is as new as the newest that it was made of; builds rely on it."""
        for fact, key, made_of in (
            ("fact_orders", "order_line_key", MADE_OF_AN_ORDER),
            ("fact_payments", "payment_key", MADE_OF_A_PAYMENT),
        ):
            wrong = self.warehouse.query(
                f"select f.{key}, f._loaded_at, newest._loaded_at from marts.{fact} as f inner join"
                f" (select {key}, max(_loaded_at) as _loaded_at from ({made_of}) as parts"
                f" group by {key}) as newest on f.{key} = newest.{key}"
                " where f._loaded_at <> newest._loaded_at limit 2"
            )
            if wrong:
                pytest.fail(f"{fact} is stamped otherwise than what it is made of: {wrong}")

    def check_nothing_changes(self) -> None:
        """A load and a build in which nothing is new touch no mart."""
        before = self.state_of_marts()
        self.load()
        self.build("--select", *STATEFUL)
        after = self.state_of_marts()
        touched = [name for name in before if before[name] != after[name]]
        if touched:
            pytest.fail(f"without a change in the shop: {', '.join(touched)}", pytrace=False)

    def state_of_marts(self) -> dict[str, Any]:
        """By mart: a hash of its rows, and what the database counts."""
        counters = self.warehouse.counters()
        counters.pop("run_history", None)  # which no test of the shop's history looks at
        tables = [f"select * from marts.{name}" for name in counters]
        digests = {
            name: hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()
            for name, rows in zip(counters, self.warehouse.query_all(tables), strict=True)
        }
        assert digests.keys() == {m.name for m in self.marts.values() if m.schema == "marts"}
        return {name: (digests[name], counters[name]) for name in digests}

    def play(
        self,
        random: Random,
        rounds: int,
        events: Sequence[int] = (),
        planned: Sequence[Callable[[Story], list[str]]] = (),
    ) -> None:
        """Rounds of events, load, build and comparison; what fails names the round.

        `planned`: what happens in the first rounds beside that, before their builds.
        """
        happened: list[str] = []
        number = 0
        try:
            self.check(whole=True)
            for number in range(1, rounds + 1):
                whole = number % WHOLE_EVERY == 0
                count = random.choice(events or FEW_EVENTS)
                happened = self.happen(random, count)
                chance = random.random()
                if chance < 0.1:
                    # Two loads before a build, which never sees what was there between them.
                    happened += ["a second load", *self.happen(random, 2)]
                elif chance < 0.25:
                    happened += self.load_meanwhile(random, count)
                for more in planned[number - 1 : number]:
                    happened += more(self)
                self.build("--select", *(STATEFUL if whole else STAR))
                self.check(whole)
                if number % 20 == 0:
                    happened = ["nothing"]
                    self.check_nothing_changes()
                    self.check(whole)
        except (Exception, pytest.fail.Exception) as error:
            listed_events = "".join(f"\n  {event}" for event in happened)
            kind = "" if isinstance(error, pytest.fail.Exception) else f"{type(error).__name__}: "
            raise AssertionError(f"round {number}:{listed_events}\n{kind}{error}") from error

    def load_meanwhile(self, random: Random, count: int) -> list[str]:
        """A build in whose middle a load arrives; a part of another build that selects a few nodes.

        Facts see rows that are newer than dimensions, and dimensions that are newer than others.
        Only the next build brings them together.
        """
        early = self.build_some(random)
        happened = self.happen(random, count)
        self.build_facts()
        if random.random() < 0.5:
            happened.append(f"again {self.build_some(random)}")
            self.build_facts()
        return [f"{early}, then a load", *happened]

    def build_facts(self) -> None:
        """The facts alone."""
        self.succeed("--select", *(name for name in self.fresh if name.startswith("fact_")))

    def build_some(self, random: Random) -> str:
        """Some snapshots, and all dimensions."""
        return self.build_part(random.sample(sorted(SNAPSHOTS), random.randint(1, len(SNAPSHOTS))))

    def build_part(self, some: Sequence[str]) -> str:
        """The snapshots of some tables, and all dimensions."""
        self.account.note(self.last_stamp, {table: self.loaded[table] for table in some})
        dimensions = [name for name in self.fresh if name.startswith("dim_")]
        self.succeed("--select", *(SNAPSHOTS[table] for table in some), *dimensions)
        return f"only {', '.join(some)} are snapshot"

    def happen(self, random: Random, count: int) -> list[str]:
        """Time goes by, something happens, and it is loaded."""
        self.clock.pass_by(random)
        self.shop.today = self.clock.moment.date()
        happened = self.shop.play(count)
        self.load()
        return happened


@dataclass
class SelectiveStory(Story):
    """A story in which each build makes what hangs on what has changed, as `make build` does.

    The tests that compare what has changed only run too.
    """

    nodes: Sequence[Node] = ()
    # The last load of which everything is built; empty where somebody has built a part by hand.
    built: str = ""

    def build(self, *arguments: str) -> None:
        ((newest,),) = self.warehouse.query("select max(batch_id) from _load_runs")
        if not self.built:
            is_first = "--full-refresh" in arguments
            super().build(*(arguments if is_first else ("--select", *STATEFUL)))
        else:
            self.nodes = self.nodes or self.project.nodes(self.warehouse)
            tables, _ = changed_tables(self.warehouse.query, self.built)
            chosen = selected(self.nodes, Changes(tables=tables))
            names = [n.name for n in chosen if n.kind != "test" or "test_adds_up_to" in n.words]
            ((through,),) = self.warehouse.query(
                "select cast(started_at as varchar(26)) from _load_runs"
                f" where batch_id = '{self.built}'"
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("BUILT_THROUGH", through)
                patch.setenv("TESTED_THROUGH", through)
                patch.setattr(self, "left_out", ["unit_test"])
                if names:
                    super().build("--indirect-selection", "empty", "--select", *names)
        self.built = newest

    def build_part(self, some: Sequence[str]) -> str:
        self.built = ""
        return super().build_part(some)

    def check(self, whole: bool = True) -> None:
        super().check(whole=True)


@contextlib.contextmanager
def begun(
    project: Project,
    warehouse: Warehouse,
    folder: Path,
    random: Random,
    kind: type[Story] = Story,
) -> Iterator[Story]:
    """The story of a new shop in that folder, loaded and built once."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader.run, "_now", clock.now)
        patch.setattr(duckdb, "connect", in_one_thread(duckdb.connect))
        shop = RandomShop(folder / "shop.sqlite", random)
        account = Account(project.folder / "seeds" / "countries.csv")
        story = kind(project, warehouse, shop, clock, account)
        story.begin()
        yield story
        shop.close()


@contextlib.contextmanager
def begun_for(
    request: pytest.FixtureRequest, folders: pytest.TempPathFactory, random: Random, name: str
) -> Iterator[Story]:
    """The story of a module's fixture, on the warehouse that its parameter names."""
    folder = folders.mktemp("story")
    warehouse: Warehouse = DuckDBWarehouse(folder / "warehouse.duckdb")
    if request.param == "postgres":
        warehouse = PostgresWarehouse(request.getfixturevalue("postgres"), own(name))
    with begun(Project(folders.mktemp("project")), warehouse, folder, random) as story:
        yield story


def in_one_thread(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Of so few rows, what DuckDB does in several threads costs more than it saves."""

    def connected(*arguments: Any, **settings: Any) -> Any:
        connection = connect(*arguments, **settings)
        connection.execute("set threads = 1")
        return connection

    return connected


def is_of_the_star(model: str) -> bool:
    return model.startswith(("dim_", "fact_"))


def listed(alias: str, columns: Sequence[str]) -> str:
    return ", ".join(f"{alias}.{column}" for column in columns)


def picked(row: Row, columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[column] for column in columns)


def sold(row: Row) -> tuple[Any, ...]:
    return (*row["customer"], True, *row["location"], *row["employee"], True, row["office"])


def same(name: str, found: Sequence[tuple[Any, ...]], expected: Sequence[tuple[Any, ...]]) -> None:
    """The same rows, whatever their order; the first others are shown side by side."""
    left, right = sorted(map(repr, found)), sorted(map(repr, expected))
    if left != right:
        surplus = sorted(set(left) - set(right))[:2]
        missing = sorted(set(right) - set(left))[:2]
        shown = [f"  has       {row}" for row in surplus]
        shown += [f"  should be {row}" for row in missing]
        rows = "\n".join(shown)
        pytest.fail(f"{name}: {len(left)} rows for {len(right)}\n{rows}", pytrace=False)


def read_tables(shop: RandomShop) -> dict[str, dict[Any, Row]]:
    """The shop's rows by key, by our names, trimmed, in Python's types."""
    tables: dict[str, dict[Any, Row]] = {}
    for table, definition in TABLES.items():
        columns = {column.name: column.type for column in definition.columns}
        tables[table] = {}
        for row in shop.read(table):
            # A column that the shop has dropped is null.
            clean = {our_name(n): value(row.get(n), columns[n]) for n in columns if n != "image"}
            key = tuple(clean[our_name(name)] for name in definition.primary_key)
            tables[table][key if len(key) > 1 else key[0]] = clean
    return tables


def value(raw: Any, kind: str) -> Any:
    if raw is None:
        return None
    if kind == "date":
        return date.fromisoformat(raw)
    if kind.startswith("decimal"):
        return Decimal(str(raw)).quantize(Decimal("0.01"))
    return raw.strip() or None if isinstance(raw, str) else raw
