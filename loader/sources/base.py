"""The contract of a source: what a run asks of it, in this order."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping

from ..ranges import Digests, Partition, Scope
from ..schema import Table, Type
from ..urls import SourceUrl
from ..wire import Block, Issues

# From the names of all relations, those that will be loaded. Each name comes with the reason why
# the relation is left out unless somebody selects it; a table has none.
Wanted = Callable[[Mapping[str, str]], Collection[str]]

VIEW = "a view: name it in --select to load it"


class Source(ABC):
    """A database or folder in one consistent snapshot, open from creation to `close`.

    Every method raises LoadError, in one sentence, when the source refuses.
    """

    url: SourceUrl
    # What a person should know about the connection.
    warnings: list[str]
    # What the source has and the load does not take: name -> reason.
    left_out: dict[str, str]
    # NaN and infinity arrive as words in decimal and date columns.
    marks_infinity: bool

    @abstractmethod
    def tables(self, wanted: Wanted) -> list[Table]:
        """Every base table, and the views that are wanted. Calls `wanted` once.

        A table that is not wanted may come without columns, where reading them costs a lot. What is
        wanted and cannot be read goes into `left_out` instead.
        """

    def why_hidden(self, name: str) -> str | None:
        """Why a table that was loaded before may exist although it is not listed, or None.

        A source that lists what its user may not read has nothing to say here.
        """
        return None

    @abstractmethod
    def count(self, table: Table, scope: Scope) -> int:
        """The source's own `count(*)` in the snapshot, of the table or of rows after a cursor's
        value; it is not derived from what `read` returns.
        """

    def check_unmoved(self, tables: Collection[Table]) -> None:
        """Raise where what was read of a table may not be what the snapshot shows.

        A server that refuses to read such a table itself has nothing to do here.
        """
        return

    def in_held_types(self, table: Table, held: Mapping[str, Type | None]) -> Table:
        """The table in the types that the warehouse holds (by raw column), where all values fit.

        Only for a source whose values decide the types: else a type that became wider for one value
        would change once more when that value is corrected.
        """
        return table

    def partition(self, table: Table) -> Partition | None:
        """How the table can be cut into key ranges that the source digests, or None.

        None also where reading costs no more than digesting.
        """
        return None

    def digests(self, table: Table, partition: Partition, before: Digests) -> Digests | None:
        """Rows and digest of every key range that has rows; None where it would cost too much.

        `before`: those of the last run, by the same ranges. Where a block is as it was, so are its
        ranges.
        """
        return None

    @abstractmethod
    def read(self, table: Table, scope: Scope, issues: Issues) -> Iterator[Block]:
        """The rows that are asked for; what a type cannot hold is marked, or counted in `issues`.

        With a partition and all its ranges, the digests go into `scope.digests`.
        """

    def abort(self) -> None:  # noqa: B027
        """End the connection while another thread waits for it, which then raises."""

    @abstractmethod
    def close(self) -> None:
        """End the snapshot and the connection; safe to call twice."""
