"""Compares source and warehouse as they are now, row by row, without writing."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .destinations import Destination
from .options import Options
from .plan import arriving
from .progress import Progress, Silent
from .ranges import Partition, Scope
from .run import chosen_tables, prepared
from .schema import INTEGERS, Table
from .sources import open_source
from .wire import Block, Issues

# Keys per range that is reported as different.
KEYS_PER_RANGE = 1_000


@dataclass
class Verdict:
    """What a comparison found; no `differences` when source and warehouse agree."""

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
) -> list[Verdict]:
    """Compare every chosen table. Raises LoadError when either side cannot be read."""
    progress = progress or Silent()
    source = open_source(source_url)
    try:
        destination.open()
        verdicts = []
        tables, _ = chosen_tables(source, options, destination, {})
        progress.begin(tables)
        for table in tables:
            progress.table(table)
            arrives = arriving(table, options)
            verdict = Verdict(arrives)
            verdicts.append(verdict)
            if destination.columns(table.raw_name) is None:
                verdict.differences.append("is not in the warehouse")
                continue
            blocks = source.read(table, Scope(), Issues(arrives))
            sent = prepared(blocks, table, Issues(arrives), source, destination, options)
            verdict.source_rows, here = _digest(sent, arrives)
            verdict.warehouse_rows, there = _digest(destination.held(arrives), arrives)
            verdict.differences.extend(_differences(arrives, here, there))
        return verdicts
    finally:
        progress.end()
        source.close()
        destination.close()


def _digest(blocks: Iterable[Block], table: Table) -> tuple[int, dict[int, int]]:
    """Rows, and for each key range the sum of its lines' md5: equal rows in any order agree."""
    position = None
    if table.key and table.key_columns[0].type in INTEGERS:
        position = table.columns.index(table.key_columns[0])
    partition = _partition(table)
    sums: dict[int, int] = defaultdict(int)
    rows = 0
    for block in blocks:
        rows += block.rows
        for line in block.data.split(b"\n")[:-1]:
            number = 0
            if position is not None:
                number = partition.number(int(line.split(b"\t", position + 1)[position]))
            digest = hashlib.md5(line, usedforsecurity=False).digest()
            # The one stands for the count, so that even rows with a digest of zero are told apart.
            sums[number] += 1 + (int.from_bytes(digest, "big") << 64)
    return rows, sums


def _differences(table: Table, here: dict[int, int], there: dict[int, int]) -> Iterator[str]:
    partition = _partition(table)
    for number in sorted(here.keys() | there.keys()):
        if here.get(number) == there.get(number):
            continue
        if table.key and table.key_columns[0].type in INTEGERS:
            low, high = partition.bounds(number)
            yield f"differs where {table.key_columns[0].raw_name} is from {low} to {high}"
        else:
            yield "differs (it has no integer key to say where)"


def _partition(table: Table) -> Partition:
    return Partition(table.columns[0], KEYS_PER_RANGE)
