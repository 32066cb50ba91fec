"""The loader: replicates an operational database into the raw schema, exactly or loudly.

`run.load` is one load. `sources` and `destinations` have a module for each database, `dialects` has
what both sides of one database share. `schema` is the type system of all, `wire` the text in which
rows go from one side to the other.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import LoadError, UsageError
from .options import Options, TableOptions
from .result import LoadResult, TableResult
from .run import load

if TYPE_CHECKING:
    from .destinations.duckdb import DuckDBDestination
    from .destinations.postgres import PostgresDestination

# Imported when they are asked for, because their drivers take long to import.
_DESTINATIONS = {"DuckDBDestination": "duckdb", "PostgresDestination": "postgres"}

__all__ = [
    "DuckDBDestination",
    "LoadError",
    "LoadResult",
    "Options",
    "PostgresDestination",
    "TableOptions",
    "TableResult",
    "UsageError",
    "load",
]


def __getattr__(name: str) -> Any:
    if module := _DESTINATIONS.get(name):
        return getattr(import_module(f".destinations.{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
