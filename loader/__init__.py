"""The loader: replicates an operational database into the raw schema, exactly or loudly.

`run.load` is one load. `sources` and `destinations` have a module for each database, `dialects` has
what both sides of one database share. `schema` is the type system of all, `wire` the text in which
rows go from one side to the other.
"""

from .destinations.duckdb import DuckDBDestination
from .destinations.postgres import PostgresDestination
from .errors import LoadError, UsageError
from .options import Options, TableOptions
from .result import LoadResult, TableResult
from .run import load

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
