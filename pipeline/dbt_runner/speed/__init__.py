"""What dbt makes anew for each query and node although it never differs: made once, or faster.

Nothing but time changes. dbt without it, as on the command line, comes to the same.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.dbt_runner.speed import adapters, events, graph, imports, macros, project

__all__ = ["lasting", "made", "speed_up"]


@contextmanager
def lasting() -> Iterator[None]:
    """Make what stays until the end of the process, without a search for garbage in it.

    dbt and the parsed project are half a million objects.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def speed_up(*, in_duckdb: bool = False) -> None:
    """Let dbt do less in this process, best before its import. A second call changes nothing.

    `in_duckdb`: also what only DuckDB's adapter has, which is imported for it.
    """
    imports.keep_codes()
    imports.make_methods_when_called()
    adapters.keep_type_testers()
    adapters.make_empty_tables()
    project.keep_templates()
    project.read_words_in_place()
    project.keep_schemas()
    events.write_events()
    macros.make_macros_when_called()
    project.add_ctes()
    project.compare_rows()
    graph.keep_graph()
    graph.summarise_graph()
    project.write_json()
    adapters.keep_columns(in_duckdb=in_duckdb)


def made() -> tuple[dict[Any, Any], ...]:
    """What this process has compiled or made and a later one may use: plain data and code."""
    return project.TEMPLATES, project.SCHEMAS, imports.CODES
