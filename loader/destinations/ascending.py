"""Whether the keys of rows ascend, from their lines: then no key is there twice.

Asked of a warehouse that keeps no two values for one spelling, and reads back what was sent, this
is as good as asking the warehouse, and costs a fifth.
"""

import pyarrow as pa
import pyarrow.compute as pc

from ..schema import Kind, Table
from ..wire import Block
from .arrow import fields_of
from .duckdb_values import arrow_type


class Ascending:
    """Takes the blocks of a table; `proved` holds as long as each key is greater than the last.

    Integers and decimals are compared as numbers, other values by their spelling: any order will
    do. Zero has two spellings as a double, so doubles prove nothing.
    """

    def __init__(self, table: Table) -> None:
        self._kinds = {str(n): arrow_type(c.type) for n, c in enumerate(table.columns)}
        self._key = [str(table.columns.index(column)) for column in table.key_columns]
        self._last: pa.Table | None = None
        self.proved = bool(self._key) and all(
            column.type.kind is not Kind.DOUBLE for column in table.key_columns
        )

    def add(self, block: Block) -> None:
        """Look at some more rows."""
        if not self.proved:
            return
        try:
            keys = fields_of(block, self._kinds, only=self._key)
        except pa.ArrowException:
            self.proved = False
            return
        if self._last is not None:
            keys = pa.concat_tables([self._last, keys])
        self._last = keys.slice(keys.num_rows - 1)
        greater = pa.scalar(False)
        for column in reversed(keys.columns):
            before, after = column.slice(0, keys.num_rows - 1), column.slice(1)
            greater = pc.or_(pc.greater(after, before), pc.and_(pc.equal(after, before), greater))
        has_null = any(column.null_count for column in keys.columns)
        self.proved = not has_null and bool(pc.all(greater, min_count=0).as_py())
