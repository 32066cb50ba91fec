"""What dbt asks the warehouse again although it knows it, and how it reads answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from threading import local
from typing import Any

from pipeline.dbt_runner.speed.patch import patch

# After a statement that begins so, a table has the columns that it had before.
_LEAVES_COLUMNS = re.compile(
    r"\s*(/\*.*?\*/\s*)*(select|describe|comment on|insert|update|delete)\b", re.DOTALL | re.I
)
# What the node of this thread knows of its tables.
_KNOWN = local()


def keep_type_testers() -> None:
    """Let what reads the types of an answer be made once for each list of text columns."""
    patch("dbt_common.clients.agate_helper", "build_type_tester", _testers_made_once)


def _testers_made_once(dbts_own: Any) -> Any:
    """Relies on `build_type_tester`, of which dbt asks for each answer to a query.

    It makes parsers of dates with all their words, which is slow, and then parses no text.
    """
    kept = lru_cache(maxsize=500)(dbts_own)

    def build_type_tester(
        text_columns: Iterable[str], string_null_values: Iterable[str] | None = ("null", "")
    ) -> Any:
        nulls = string_null_values if string_null_values is None else tuple(string_null_values)
        return kept(tuple(sorted(text_columns)), nulls)

    return build_type_tester


def keep_columns() -> None:
    """Let a node ask once for the columns of a table, until it may have changed them.

    A snapshot asks ten times for the columns of three tables, each time with all macros around it.
    """
    patch("dbt.adapters.sql", "SQLAdapter.get_columns_in_relation", _columns_asked_once)
    patch("dbt.adapters.sql.connections", "SQLConnectionManager.add_query", _columns_forgotten)


def _columns_asked_once(dbts_own: Any) -> Any:
    """Relies on each node having its own thread, and on what `_columns_forgotten` relies on."""
    from dbt.adapters.sql.connections import SQLConnectionManager

    SQLConnectionManager.add_query  # noqa: B018  without it nothing would forget

    def get_columns_in_relation(adapter: Any, relation: Any) -> Any:
        columns = vars(_KNOWN).setdefault("columns", {})
        place = adapter.type(), str(relation)
        if place not in columns:
            columns[place] = dbts_own(adapter, relation)
        return list(columns[place])

    return get_columns_in_relation


def _columns_forgotten(dbts_own: Any) -> Any:
    """Relies on all statements going through `add_query`."""

    def add_query(connections: Any, sql: str, *more: Any, **named: Any) -> Any:
        if not leaves_columns(sql):
            vars(_KNOWN).clear()
        return dbts_own(connections, sql, *more, **named)

    return add_query


def leaves_columns(sql: str) -> bool:
    """Whether all tables surely have the same columns after a text of SQL."""
    return bool(_LEAVES_COLUMNS.match(sql)) and ";" not in sql.strip().rstrip(";")
