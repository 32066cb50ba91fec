"""Write an invented shop to a database, or let time pass in one that exists."""

from collections.abc import Callable
from datetime import date

from sample_shop.databases import ShopError, UsageError, session
from sample_shop.events import Event, Player
from sample_shop.generate import Plan, batches
from sample_shop.schema import TABLES

__all__ = ["Event", "ShopError", "UsageError", "create_shop", "play_events"]

# Called after each batch with the table, its rows so far, and about how many there will be.
Progress = Callable[[str, int, int], None]

LARGEST_SCALE = 100_000


def create_shop(
    url: str,
    *,
    scale: int = 1,
    seed: int = 1,
    as_of: date | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write a shop to the database at `url` and return its rows per table.

    `scale` multiplies customers, orders, lines and payments; the last order is placed on `as_of`
    (default: today). On SQLite and PostgreSQL it is one transaction; on MySQL a failure drops the
    tables again.

    Raises ShopError when a table of that name is there already and `replace` is false, or when
    the database fails; UsageError for a wrong argument.
    """
    if not 1 <= scale <= LARGEST_SCALE:
        raise UsageError(f"The scale is a whole number from 1 to {LARGEST_SCALE:,}, not {scale}.")
    plan = Plan(scale, seed, checked_day(as_of))
    expected = plan.expected_rows
    written = dict.fromkeys(TABLES, 0)
    with session(url, create=True) as database:
        found = database.shop_tables()
        if found and not replace:
            raise ShopError(
                f"There is a shop already in {database.place} ({', '.join(found)}); "
                "name another database, or overwrite it with --replace."
            )
        database.begin_load()
        for name in reversed(found):
            database.execute(f'drop table "{name}"')
        for table in TABLES.values():
            database.execute(table.create_sql(database.dialect))
        for name, rows in batches(plan):
            database.insert(TABLES[name], rows)
            written[name] += len(rows)
            if progress:
                progress(name, written[name], expected[name])
        for table in TABLES.values():
            for sql in table.after_load_sql(database.dialect):
                database.execute(sql)
    return written


def play_events(url: str, count: int, *, seed: int = 1, as_of: date | None = None) -> list[Event]:
    """Play `count` random business events on the shop at `url`, in one transaction.

    They happen after the shop's last order, up to `as_of` (default: today); in a shop that is
    already that far, on the day of its last order. From nine events on, each kind happens, where
    the shop allows it.

    Raises ShopError when there is no shop or the database fails; UsageError for a bad argument.
    """
    if count < 1:
        raise UsageError(f"The number of events is a whole number from 1 on, not {count}.")
    last_day = checked_day(as_of)
    with session(url, create=False) as database:
        return Player(database, seed).play(count, last_day)


def checked_day(as_of: date | None) -> date:
    """`as_of`, or today; a limit, because databases differ for dates long before or after."""
    if as_of and not 1900 <= as_of.year <= 2999:
        raise UsageError(f"The day is one from 1900 to 2999, not {as_of}.")
    return as_of or date.today()
