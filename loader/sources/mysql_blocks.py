"""Lines of whole blocks, of which MySQL does not escape tabs and line breaks: each costs time.

Where no text has any, the lines are the same. Else they are no lines that so many rows can have:
they have more tabs or newlines, or a carriage return. So lines without such a character too much
are right, and so is a digest that equals a stored one. In all other cases the server is asked
again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..ranges import Digest, Partition
from ..schema import TEXT, Table
from .mysql_keys import in_order, within
from .mysql_values import unsorted_lines_sql

# Blocks that are digested in one query; each has the columns of the table in its text. The first
# query has few: they show whether texts have tabs and line breaks.
BLOCKS_AT_ONCE, FIRST_BLOCKS = 16, 2
# If more than this share of them is not as before, the next ones are escaped at once.
MANY_CHANGED = 0.25

# Runs a query with a group_concat: its rows, and whether nothing was cut off in any of them.
Ask = Callable[[str], tuple[Sequence[tuple[Any, ...]], bool]]


def has_separators(lines: bytes, rows: int, columns: int) -> bool:
    """Whether tabs and line breaks in these lines are others than those around the fields."""
    return (
        lines.count(b"\n") != rows or lines.count(b"\t") != rows * (columns - 1) or b"\r" in lines
    )


def digests_of_blocks(
    ask: Ask,
    table: Table,
    partition: Partition,
    firsts: Sequence[int],
    before: Mapping[int, Digest],
) -> list[Digest]:
    """For each of the blocks that together are the table, by the first range of each.

    `before`: those of the last run. What is not as before is digested once more, escaped.
    """
    wheres = [
        within(partition, first if n else None, after)
        for n, (first, after) in enumerate(zip(firsts, [*firsts[1:], None], strict=True))
    ]
    digests: list[Digest] = []
    escapes = all(column.type is not TEXT for column in table.columns)
    while len(digests) < len(wheres):
        start, end = len(digests), len(digests) + (BLOCKS_AT_ONCE if digests else FIRST_BLOCKS)
        some = wheres[start:end]
        known = [before.get(first) for first in firsts[start:end]]
        found = _digests_where(ask, table, some, escapes=escapes)
        if not escapes:
            changed = [n for n in range(len(some)) if not is_as_before(found[n], known[n])]
            again = _digests_where(ask, table, [some[n] for n in changed], escapes=True)
            for n, digest in zip(changed, again, strict=True):
                found[n] = digest
            escapes = len(changed) > len(some) * MANY_CHANGED
        digests += found
    return digests


def is_as_before(digest: Digest, before: Digest | None) -> bool:
    """Whether a block is the same; one of which a part was cut off never is."""
    return bool(digest.value) and digest == before


def _digests_where(ask: Ask, table: Table, wheres: Sequence[str], *, escapes: bool) -> list[Digest]:
    """For the rows of each condition."""
    if not wheres:
        return []
    lines = unsorted_lines_sql(table, escapes=escapes)
    digest = f"count(*), sha2({lines}, 256) {in_order(table)}"
    found, is_whole = ask(
        " union all ".join(f"select {n}, {digest}{where}" for n, where in enumerate(wheres))
    )
    # The server does not say which of them was cut, so none is trusted.
    return [Digest(rows, value if is_whole and rows else "") for _, rows, value in sorted(found)]
