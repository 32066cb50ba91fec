"""Compares source and warehouse as they are now, row by row, without writing."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from .destinations import Destination
from .errors import LoadError
from .options import Options
from .plan import arriving
from .progress import Progress, Silent
from .ranges import Scope
from .run import check_count, prepared
from .schema import INTEGERS, TEXT, Column, Table
from .selection import chosen_tables, without_news
from .sources import open_source
from .wire import NULL, Block, Issues

# Keys per range that is reported as different.
KEYS_PER_RANGE = 1_000


@dataclass
class Verdict:
    """The result of a comparison; no `differences` when source and warehouse agree."""

    table: Table
    source_rows: int = 0
    warehouse_rows: int = 0
    differences: list[str] = field(default_factory=list)


def verify(
    source_url: str,
    destination: Destination,
    options: Options,
    *,
    progress: Progress | None = None,
) -> tuple[list[Verdict], list[str], Mapping[str, str]]:
    """Compare every chosen table; also returns warnings, and what of the source is not read.

    Raises LoadError when either side cannot be read.
    """
    progress = progress or Silent()
    source = open_source(source_url)
    try:
        destination.open()
        known = destination.schemas()
        tables, _, unread = chosen_tables(source, options, destination, {})
        tables = without_news(tables, options, known)
        progress.begin(tables)
        present = unread.keys() | {table.raw_name for table in tables}
        earlier = dict.fromkeys(sorted(known.keys() - present), "is gone from the source") | {
            name: f"is not read any more, because in the source it is {why}"
            for name, why in unread.items()
            if why and known.get(name)
        }
        verdicts = [] if options.select else list(_earlier(earlier, destination))
        for table in tables:
            progress.table(table)
            verdict = Verdict(arriving(table))
            verdicts.append(verdict)
            held = destination.columns(table.raw_name)
            if held is None:
                verdict.differences.append("is not in the warehouse")
                continue
            table, differences = _in_both(table, held, known.get(table.raw_name, {}))
            verdict.differences.extend(differences)
            blocks = source.read(table, Scope(), Issues(table))
            issues = Issues(arriving(table))
            sent = prepared(blocks, table, issues, source, destination, options)
            verdict.source_rows, here = _digest(sent, issues.table)
            check_count(table, source.count(table, Scope()), verdict.source_rows)
            try:
                verdict.warehouse_rows, there = _digest(
                    destination.held(issues.table), issues.table
                )
            except LoadError as error:
                verdict.differences.append(f"does not fit the source's types: {error}")
                # An error ends the transaction in which the warehouse is read.
                destination.close()
                destination.open()
                continue
            verdict.differences.extend(_differences(issues.table, here, there))
        source.check_unmoved(tables)
        read = {f"{table.raw_name}.{c.raw_name}" for table in tables for c in table.columns}
        source.warnings.extend(
            f"{accepted.column} is not compared: the source does not have it, which is accepted."
            for accepted in options.accept
            if accepted.column.lower() not in read
        )
        return verdicts, [*source.warnings, *destination.warnings], source.left_out
    finally:
        progress.end()
        source.close()
        destination.close()


def _earlier(names: Mapping[str, str], destination: Destination) -> Iterator[Verdict]:
    """A verdict for each table that only earlier loads read; `names`: what became of it."""
    for name, became in names.items():
        held = destination.columns(name)
        if held is None:
            continue
        column = next(iter(held))
        table = Table(name, name, (Column(column, column, "", held[column] or TEXT),))
        rows = sum(block.rows for block in destination.held(table))
        difference = f"{became}: its {rows:,} rows in the warehouse are of an earlier load"
        yield Verdict(table, warehouse_rows=rows, differences=[difference])


def _in_both(
    table: Table, held: Collection[str], known: Collection[str]
) -> tuple[Table, list[str]]:
    """The table with the columns that both sides have, and sentences about the others.

    `known`: the columns that the last load saw. Columns that were dropped before stay in the
    warehouse.
    """
    missing = [c.raw_name for c in table.columns if c.raw_name not in held]
    gone = [name for name in known if name not in {c.raw_name for c in table.columns}]
    columns = tuple(c for c in table.columns if c.raw_name in held)
    names = {c.name for c in columns}
    key = table.key if names.issuperset(table.key) else ()
    return replace(table, columns=columns, key=key), [
        *(f"has no column {name} in the warehouse" for name in missing),
        *(f"has no column {name} at the source any more" for name in gone),
    ]


def _digest(blocks: Iterable[Block], table: Table) -> tuple[int, dict[int, int]]:
    """Rows, and for each key range the sum of its lines' md5: equal rows in any order agree."""
    position = table.columns.index(table.key_columns[0]) if _has_integer_key(table) else None
    sums: dict[int, int] = defaultdict(int)
    rows = 0
    for block in blocks:
        rows += block.rows
        for line in block.data.split(b"\n")[:-1]:
            number = 0
            if position is not None:
                key = line.split(b"\t", position + 1)[position]
                number = int(key) // KEYS_PER_RANGE if key != NULL else 0
            digest = hashlib.md5(line, usedforsecurity=False).digest()
            # Adding 1 counts the rows, so that even rows with a digest of zero make a difference.
            sums[number] += 1 + (int.from_bytes(digest, "big") << 64)
    return rows, sums


def _differences(table: Table, here: dict[int, int], there: dict[int, int]) -> Iterator[str]:
    for number in sorted(here.keys() | there.keys()):
        if here.get(number) == there.get(number):
            continue
        if _has_integer_key(table):
            low = number * KEYS_PER_RANGE
            name = table.key_columns[0].raw_name
            yield f"differs where {name} is from {low} to {low + KEYS_PER_RANGE - 1}"
        else:
            yield "differs (it has no integer key to say where)"


def _has_integer_key(table: Table) -> bool:
    return bool(table.key) and table.key_columns[0].type in INTEGERS
