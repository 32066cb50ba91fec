"""Sources: each lists its tables in one consistent snapshot and yields their rows as wire text."""

from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from typing import Protocol

from ..errors import UsageError
from ..ranges import Digests, Partition, Scope
from ..schema import Table
from ..urls import SourceUrl, parse_url
from ..wire import Block, Issues

# URL scheme -> module of this package. A new source is one module and a row here.
MODULES = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "postgres",
    "postgres": "postgres",
    "sqlite": "sqlite",
    "file": "files",
}

# Of all names (True: a view), those that will be loaded.
Wanted = Callable[[Mapping[str, bool]], Collection[str]]


class Source(Protocol):
    """What a source module offers. It is open from creation to `close`, within one snapshot."""

    url: SourceUrl
    # What a person should know about the connection.
    warnings: list[str]
    # NaN and infinity arrive as words in decimal and date columns.
    marks_infinity: bool

    def tables(self, wanted: Wanted) -> list[Table]:
        """Every base table, and the views that are wanted. Files that are not have no columns."""

    def partition(self, table: Table) -> Partition | None:
        """How the table can be cut into key ranges that the source digests, or None.

        Where reading costs no more than digesting, there is no need to.
        """
        return None

    def digests(self, table: Table, partition: Partition) -> Digests | None:
        """Rows and digest of every key range that has rows; None where it would cost too much."""
        return None

    def read(self, table: Table, scope: Scope, issues: Issues) -> Iterator[Block]:
        """The rows asked for; what a type cannot hold is marked, or counted in `issues`."""

    def close(self) -> None:
        """End the snapshot and the connection; safe to call twice."""


def open_source(url: str) -> Source:
    """Connect to the source and begin its snapshot.

    Raises UsageError for a URL that cannot be, LoadError when the source cannot be reached.
    """
    parsed = parse_url(url)
    module = MODULES.get(parsed.scheme)
    if module is None:
        known = ", ".join(f"{scheme}://" for scheme in MODULES)
        raise UsageError(f"{parsed.scheme}:// is not a source that the loader knows; use {known}.")
    source: Source = import_module(f".{module}", __name__).open_source(parsed)
    return source
