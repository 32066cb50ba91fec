"""Make an invented shop to try the pipeline on, or let time pass in a shop that exists.

    python -m sample_shop sqlite:///shop.sqlite
    python -m sample_shop mysql://shop:secret@localhost:3306/shop --scale 1000
    python -m sample_shop sqlite:///shop.sqlite --events 20

The eight tables carry the names and types of MySQL's `classicmodels`; every row is invented. The
same seed, scale and `--as-of` give the same rows on SQLite, MySQL, MariaDB and PostgreSQL.

At scale 1: 122 customers, 110 products, 326 orders with about 3,000 lines over the 29 months up
to `--as-of` (more in autumn, more every year), about 275 payments, 23 employees, 7 offices.

What is wrong in it, on purpose, at every seed:

- customers: one in five has no orders, no sales representative and no credit; a few more have
  orders but no representative; postal codes are missing as null and as an empty string; Malmö and
  Lund share one postal code, Kansas City lies in two states; names, cities and countries with
  spaces around them; empty strings mixed with nulls in addressLine2 and state; names in
  several scripts, one of them outside Unicode's first plane; a credit limit that is null
- products: one in 110 is never ordered; names and vendors with trailing spaces; descriptions with
  quotes, tabs and newlines
- productlines: Trains has neither HTML nor image, Planes has an image of all 256 byte values,
  others an empty one
- orders: all six statuses; some not shipped; some shipped after the required date; comments
  that are null, empty, or full of newlines, tabs, quotes, backslashes, emoji, `NULL` and `\\N`
- payments: a buyer who pays in advance and too much, one who never pays, orders half paid, paid in
  two parts or not at all
- employees: a president without a manager, at the top of the chain of `reportsTo`
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from sample_shop.shop import (
    Event,
    Progress,
    ShopError,
    UsageError,
    create_shop,
    play_events,
)

LOG_SECONDS = 10.0
SHOWN_EVENTS = 20


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m sample_shop",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "url",
        help="sqlite:///file, mysql://user:password@host:port/database or postgresql://...; "
        "special characters in a password are percent-encoded",
    )
    parser.add_argument(
        "--scale", type=int, default=1, metavar="N", help="how many times the small shop"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="another seed, another shop"
    )
    parser.add_argument(
        "--as-of",
        type=_day,
        metavar="YYYY-MM-DD",
        help="the day of the last order (default: today); with --events, the last day they reach",
    )
    parser.add_argument("--replace", action="store_true", help="overwrite a shop that is there")
    parser.add_argument(
        "--events",
        type=int,
        metavar="N",
        help="play N business events on the shop that is there, instead of making one",
    )
    options = parser.parse_args(arguments)
    if options.events is not None and (options.replace or options.scale != 1):
        parser.error("--events plays on the shop as it is: leave out --scale and --replace")
    return options


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a day; write 2026-11-20") from None


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """A bar on a terminal; in a log, a line each ten seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        next_line = time.monotonic() + LOG_SECONDS

        def log(table: str, rows: int, expected: int) -> None:
            nonlocal next_line
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + LOG_SECONDS
                print(f"{table}: {rows:,} of about {expected:,} rows", file=sys.stderr, flush=True)

        yield log
        return
    columns = (TextColumn("{task.description:<14}"), BarColumn(), TextColumn("{task.fields[rows]}"))
    with Bars(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(table: str, rows: int, expected: int) -> None:
            if table not in tasks:
                tasks[table] = bars.add_task(table, rows="")
            total = max(rows, expected)
            bars.update(tasks[table], completed=rows, total=total, rows=f"{rows:>12,} rows")

        yield draw


def report_events(events: list[Event]) -> None:
    """Print the first events in words, and how many there were of each kind."""
    for event in events[:SHOWN_EVENTS]:
        print(f"{event.day}  {event.text}")
    if len(events) > SHOWN_EVENTS:
        print(f"... and {len(events) - SHOWN_EVENTS:,} more")
    kinds = Counter(event.kind for event in events)
    print(
        f"\n{len(events):,} events: "
        + ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common())
    )


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; 0 done, 1 failed with nothing changed, 2 wrong usage."""
    options = _arguments(arguments)
    try:
        if options.events is not None:
            report_events(
                play_events(options.url, options.events, seed=options.seed, as_of=options.as_of)
            )
            return 0
        with shown_progress() as progress:
            written = create_shop(
                options.url,
                scale=options.scale,
                seed=options.seed,
                as_of=options.as_of,
                replace=options.replace,
                progress=progress,
            )
        for name, rows in written.items():
            print(f"{name:<14}{rows:>12,} rows")
    except ShopError as error:
        print(f"sample_shop: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0
