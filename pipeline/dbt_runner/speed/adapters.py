"""What dbt asks the warehouse again although it knows it, and how it reads answers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from threading import local
from typing import Any

from pipeline.dbt_runner.speed.patch import patch
from pipeline.dbt_runner.speed.shared_columns import (
    leaves_columns,
    shared_by_unit_tests,
    unit_test_that_shares,
    unshared_after_changes,
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


def make_empty_tables() -> None:
    """Let the result of a statement without rows be made without what reads the types of rows."""
    patch("dbt_common.clients.agate_helper", "empty_table", _empty_without_types)


def _empty_without_types(_: Any) -> Any:
    """Relies on a table without columns having no types: agate makes parsers of dates for it."""
    import agate  # type: ignore[import-untyped]

    return lambda: agate.Table([], (), ())


def keep_columns(*, in_duckdb: bool) -> None:
    """Let a node ask once for the columns of a table or query, until it may have changed them.

    A snapshot asks ten times for the columns of three tables, each time with all macros around it;
    a model asks twice for those of its contract. `in_duckdb`: its adapter has a way of its own.
    """
    patch(
        "dbt.adapters.sql",
        "SQLAdapter.get_columns_in_relation",
        lambda dbts_own: asked_once(shared_by_unit_tests(dbts_own)),
    )
    patch("dbt.adapters.base", "BaseAdapter.get_column_schema_from_query", asked_once)
    if in_duckdb:
        own = "DuckDBAdapter.get_column_schema_from_query"
        patch("dbt.adapters.duckdb.impl", own, asked_once)
    patch(
        "dbt.adapters.sql.connections",
        "SQLConnectionManager.add_query",
        lambda dbts_own: columns_forgotten(unshared_after_changes(dbts_own)),
    )
    patch("dbt.task.test", "TestRunner.execute_unit_test", unit_test_that_shares)


def asked_once(dbts_own: Any) -> Any:
    """What answers from what this thread knows, until `columns_forgotten` clears that.

    Relies on each node having its own thread, and on what that relies on.
    """
    from dbt.adapters.sql.connections import SQLConnectionManager

    SQLConnectionManager.add_query  # noqa: B018  without it nothing would forget

    def ask(adapter: Any, of: Any) -> Any:
        known = vars(_KNOWN).setdefault("columns", {})
        place = dbts_own.__name__, adapter.type(), str(of)
        if place not in known:
            known[place] = dbts_own(adapter, of)
        return list(known[place])

    return ask


def columns_forgotten(dbts_own: Any) -> Any:
    """What forgets columns before a statement that may change them.

    Relies on all statements going through `add_query`.
    """

    def add_query(connections: Any, sql: str, *more: Any, **named: Any) -> Any:
        if not leaves_columns(sql):
            vars(_KNOWN).clear()
        return dbts_own(connections, sql, *more, **named)

    return add_query
