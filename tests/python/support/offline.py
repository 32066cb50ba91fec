"""A database that is not there: dbt-redshift runs its whole build against it, and it remembers.

It answers dbt's questions about the catalog from the manifest and everything else as if all were
well, so that dbt comes to every statement it would send: materializations, hooks, tests.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn
from unittest import mock

import redshift_connector
from dbt.adapters.redshift import RedshiftConnectionManager

from support.project import Warehouse

TEMPORARY = re.compile(r"__(?:dbt_\w+|changes\w*?)$|__dbt_tmp.*$")
MOMENT = "2026-06-01 06:30:00"


class Unbuilt(Warehouse):
    """A Redshift that is not there."""

    target = "redshift"
    database = "dev"
    variables = {"REDSHIFT_HOST": "nowhere", "REDSHIFT_USER": "u", "REDSHIFT_PASSWORD": "p"}  # noqa: RUF012

    def destination(self) -> Any: ...
    def query(self, sql: str) -> Any: ...
    def counters(self) -> Any: ...
    def keep(self) -> None: ...
    def restore(self) -> None: ...


@dataclass
class Nowhere:
    """What dbt sent, and what it is told. `existing`: whether all relations were built before."""

    manifest: dict[str, Any]
    existing: bool
    statements: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Columns and rows of the answer."""
        with self._lock:
            self.statements.append(sql)
        code = sql.partition("*/")[2] or sql
        # What builds keep beside the models.
        if "table_name like '%_changes%'" in code:
            return ["table_name"], [("last_green_build",)] if self.existing else []
        if "information_schema.tables" in code:
            return self._relations(code)
        if 'information_schema."columns"' in code:
            return self._columns(code)
        # A unit test, whose model may ask anything.
        if "actual_or_expected" in code:
            return ["actual_or_expected"], []
        for mark, names, row in (
            (" limit 5000", ["value"], (10100,)),  # what has changed, by name
            ("as failures", ["failures", "should_warn", "should_error"], (0, False, False)),
            ("as loaded_at", ["loaded_at"], (MOMENT,)),
            ("as row_count", ["row_count"], (1,)),
            ("as max_loaded_at", ["max_loaded_at", "snapshotted_at"], (None, None)),
            ("pg_catalog.pg_namespace where", ["exists"], (1,)),
            ("from pg_namespace where", ["count"], (1,)),
            # A snapshot that has compared all rows before, and the load that it asks for.
            ("as loaded_through\n", ["code", "loaded_through"], ("of the views", MOMENT)),
            ("as newest\n", ["newest"], (MOMENT,)),
            ("as since\n", ["since"], (MOMENT,)),
            ("where _loaded_at <= ", ["found"], (1,)),
            ("select 1 from", ["found"], (1,)),  # a dimension has new versions
            ("where _deleted_at is not null and _loaded_at > ", ["found"], (1,)),
        ):
            if mark in code:
                return names, [row]
        if limits := re.findall(r"'(\w+)' as (?:keys|versions)_name", code):
            return ["keys_name", "versions_name", "key_count"], [(*limits, 1)]
        if "from pg_catalog.pg_views" in code:
            views = re.findall(r"viewname = '(\w+)'", code)
            return ["viewname", "definition"], [(name, "select 1") for name in views]
        if "from svv_roles" in code:
            return ["role_name"], [(name,) for name in re.findall(r"'(\w+)'", code)]
        # Of a snapshot dbt asks what type its times have.
        return (["a_time"] if '"node_id": "snapshot.' in sql else []), []

    def _nodes(self) -> Iterator[dict[str, Any]]:
        for node in self.manifest["nodes"].values():
            if node["resource_type"] in ("model", "seed", "snapshot"):
                yield node

    def _relations(self, code: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        match = re.search(r"table_schema ilike '([^']*)'", code)
        assert match, code
        rows: list[tuple[Any, ...]] = [
            (
                node["database"],
                node["name"],
                node["schema"],
                "view" if node["config"]["materialized"] == "view" else "table",
            )
            for node in self._nodes()
            if self.existing and node["schema"] == match[1]
        ]
        return ["database", "name", "schema", "type"], rows

    def _columns(self, code: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        match = re.search(r"table_name = '([^']*)'", code)
        assert match, code
        name = TEMPORARY.sub("", match[1])
        names = "column_name data_type character_maximum_length numeric_precision numeric_scale"
        known = [*self._nodes(), *self.manifest["sources"].values()]
        tested = {node["name"]: node["model"] for node in self.manifest["unit_tests"].values()}
        name = tested.get(name, name)
        columns: dict[str, Any] = next(
            (node["columns"] for node in known if node["name"] == name), {}
        )
        rows = [(column, "character varying", 65535, None, None) for column in columns]
        return names.split(), rows


class _Cursor:
    def __init__(self, place: Nowhere) -> None:
        self._place = place
        self._rows: list[tuple[Any, ...]] = []
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1

    def execute(self, sql: str, parameters: Any = None) -> None:
        names, self._rows = self._place.answer(sql)
        self.description = [(name, 1043, None, None, None, None, None) for name in names]

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        return self._rows[:size]

    def close(self) -> None:
        pass


class _Handle:
    def __init__(self, place: Nowhere) -> None:
        self._place = place

    def cursor(self) -> _Cursor:
        return _Cursor(self._place)

    def rollback(self) -> None:
        pass

    def close(self) -> None:
        pass


def _connects(*_: object, **__: object) -> NoReturn:
    raise AssertionError("the offline check opened a connection")


@contextlib.contextmanager
def connected_to(place: Nowhere) -> Iterator[None]:
    """Every connection of dbt-redshift leads to a place that is not there; none leads anywhere."""

    def opened(connection: Any) -> Any:
        connection.handle = _Handle(place)
        connection.state = "open"
        return connection

    with (
        mock.patch.object(RedshiftConnectionManager, "open", staticmethod(opened)),
        mock.patch.object(redshift_connector, "connect", _connects),
        mock.patch.object(socket.socket, "connect", _connects),
        mock.patch.object(socket.socket, "connect_ex", _connects),
    ):
        yield
