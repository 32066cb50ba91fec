"""The loader: replicates an operational database into the raw schema, exactly or loudly.

`run.load` is one load; `sources` and `destinations` hold a module for each database; `schema` is
the type system that they share, `wire` the one spelling of every value on its way.
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
