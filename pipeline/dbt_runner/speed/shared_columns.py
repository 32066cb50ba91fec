"""What unit tests know of the tables whose rows they replace: the columns, asked for once in a run.

Each unit test asks for the columns of each table that its model reads, and many read the same
tables. What other nodes ask for is not shared: see `adapters.keep_columns`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from threading import Lock, local
from typing import Any

# After a statement that begins so, a table has the columns that it had before.
_LEAVES_COLUMNS = re.compile(
    r"\s*(/\*.*?\*/\s*)*(select|describe|comment on|insert|update|delete)\b", re.DOTALL | re.I
)
# With one of these words a statement may change other tables than those it names.
_REACHES_OTHERS = re.compile(r"\b(cascade|schema|database|attach|detach|use|set)\b")
_BEGINS = re.compile(r"\s*(/\*.*?\*/\s*)*begin\b", re.DOTALL)
# Whether this thread runs a unit test, and what it has changed since its transaction began.
_HERE = local()


class SharedColumns:
    """The columns of tables, shared by the unit tests of one run."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._columns: dict[str, tuple[str, list[Any]]] = {}
        self._times_forgotten = 0

    def found(self, of: Any, ask: Callable[[], list[Any]]) -> list[Any]:
        """What `ask` answers, or answered another unit test for the same table."""
        if not of.schema:  # a temporary table, of which each connection has its own
            return ask()
        place = str(of)
        with self._lock:
            if place in self._columns:
                return self._columns[place][1]
            before = self._times_forgotten
        columns = ask()
        with self._lock:
            # The answer may be older than a change that others have made meanwhile.
            if columns and before == self._times_forgotten:
                self._columns[place] = of.identifier.lower(), columns
        return columns

    def forget(self, sql: str) -> None:
        """Forget the tables that this statement names, and those before it in its transaction.

        After the statement, and again after the commit: until then others see what was before.
        """
        sql = sql.lower()
        changes: list[str] = vars(_HERE).setdefault("changes", [])
        if _BEGINS.match(sql):
            changes.clear()
        changes.append(sql)
        text = "\n".join(changes)
        reaches_others = _REACHES_OTHERS.search(text)
        with self._lock:
            self._times_forgotten += 1
            for place, (table, _) in list(self._columns.items()):
                if reaches_others or table in text:
                    del self._columns[place]


def shared_by_unit_tests(dbts_own: Any) -> Any:
    """What lets unit tests know the columns that others of their run asked for.

    Relies on each command of dbt having new connections.
    """

    @wraps(dbts_own)
    def ask(adapter: Any, of: Any) -> Any:
        if not is_unit_test():
            return dbts_own(adapter, of)
        return _of_run(adapter.connections).found(of, lambda: dbts_own(adapter, of))

    return ask


def unshared_after_changes(dbts_own: Any) -> Any:
    """What forgets shared columns after a statement that may have changed them.

    Relies on a unit test changing no tables but temporary ones.
    """

    def add_query(connections: Any, sql: str, *more: Any, **named: Any) -> Any:
        try:
            return dbts_own(connections, sql, *more, **named)
        finally:
            if not leaves_columns(sql) and not is_unit_test():
                _of_run(connections).forget(sql)

    return add_query


def unit_test_that_shares(dbts_own: Any) -> Any:
    """What runs a unit test, which shares columns with others."""

    def execute_unit_test(*given: Any) -> Any:
        _HERE.is_unit_test = True
        try:
            return dbts_own(*given)
        finally:
            _HERE.is_unit_test = False

    return execute_unit_test


def is_unit_test() -> bool:
    """Whether this thread runs a unit test."""
    return bool(vars(_HERE).get("is_unit_test"))


def leaves_columns(sql: str) -> bool:
    """Whether all tables surely have the same columns after a text of SQL."""
    return bool(_LEAVES_COLUMNS.match(sql)) and ";" not in sql.strip().rstrip(";")


def _of_run(connections: Any) -> SharedColumns:
    shared: SharedColumns = vars(connections).setdefault("_shared_columns", SharedColumns())
    return shared
