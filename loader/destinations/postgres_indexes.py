"""The indexes of raw tables, for builds of the marts: they ask for few rows of large tables."""

from collections.abc import Mapping, Sequence

import psycopg

from ..dialects.postgres import said
from ..dialects.standard import literal, quote
from ..schema import BIGINT, INTEGER, SMALLINT, Type

WHOLE_NUMBERS = (SMALLINT, INTEGER, BIGINT)
# Rows from which on a scan takes longer than a look into an index of the rows that changed.
MANY_ROWS = 100_000
KNOWN = """
select pg_get_expr(i.indpred, i.indrelid), a.attname
from pg_index as i
left join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
where i.indrelid = to_regclass({})
"""
GONE = "(_deleted_at IS NOT NULL)"
# Why a server makes no index: rights, a lock that others have, a row that is too large for it.
REFUSED = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.ProgramLimitExceeded,
)


def missing_indexes(
    connection: psycopg.Connection,
    name: str,
    key: Sequence[str],
    held: Mapping[str, Type | None],
    changed: int,
    rows: int,
) -> list[str]:
    """The statements for indexes that a raw table should have.

    `key` and `held`: its key, and the types that its columns have.

    Of the deleted rows: each build asks for these few. A scan for them would be a parallel plan of
    its own, and PostgreSQL makes no parallel plan of a query that contains one.

    A large table of which a load has `changed` rows also gets one of its loads and one of its key:
    a build of changes looks at new rows, and at those that have the key in common with them, such
    as the lines of an order. Not the first load, which would take longer, and after which
    everything is built. By whole numbers only: an index refuses long texts, and with it the load.
    """
    statements = []
    known = connection.execute(KNOWN.format(literal(name)).encode()).fetchall()
    if (GONE, "_deleted_at") not in known:
        statements.append(f"create index on {name} (_deleted_at) where _deleted_at is not null")
    if changed and rows >= MANY_ROWS:
        first = [column for column in key[:1] if held.get(column) in WHOLE_NUMBERS]
        for column in ("_loaded_at", *first):
            if (None, column) not in known:
                statements.append(f"create index on {name} ({quote(column)})")
    return statements


def make_indexes(connection: psycopg.Connection, statements: Sequence[str]) -> list[str]:
    """Make them, and say why not; the rows are right without an index."""
    reasons = []
    for statement in statements:
        try:
            with connection.transaction():
                connection.execute(statement.encode())
        except REFUSED as error:
            reasons.append(said(error))
    return reasons
