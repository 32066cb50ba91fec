"""A table in one file, or in the parts that Spark and others write: read one after another."""

from bisect import bisect_right
from collections.abc import Iterator

import pyarrow as pa

from ..errors import LoadError
from .file_listing import DataFile
from .file_readers import Reader, TextOptions, is_empty, open_reader


def open_data(file: DataFile, options: TextOptions) -> Reader:
    """The reader for a table. Raises LoadError where its parts differ."""
    parts = file.parts
    if len(parts) > 1:
        # Spark writes a part without a line, not even a header, where it has no rows.
        parts = [path for path in parts if not is_empty(path, file.kind)] or parts[:1]
    readers = [open_reader(path, file.kind, options) for path in parts]
    return readers[0] if len(readers) == 1 else PartsReader(file, readers)


class PartsReader:
    """Parts with the same columns, as one table in the order of their names."""

    def __init__(self, file: DataFile, readers: list[Reader]) -> None:
        self.path = file.path
        self._readers = readers
        # The number of the first row of each part that was read.
        self._starts: list[int] = []
        first = readers[0]
        self.names, self.declared, self.seen = first.names, first.declared, first.seen
        for reader in readers[1:]:
            _refuse_difference(first, reader, "name", first.names, reader.names)
            _refuse_difference(first, reader, "type", first.declared, reader.declared)
            # JSON Lines: the keys of all parts are one list, which grows line by line.
            reader.seen = self.seen

    def batches(self) -> Iterator[pa.Table]:
        rows = 0
        for reader in self._readers:
            self._starts.append(rows)
            reader.names = self.names
            for batch in reader.batches():
                self.names = reader.names
                rows += batch.num_rows
                yield batch

    def place(self, row: int) -> str:
        part = bisect_right(self._starts, row) - 1
        return self._readers[part].place(row - self._starts[part])


def _refuse_difference(
    first: Reader, other: Reader, what: str, here: list[str], there: list[str]
) -> None:
    if here == there:
        return
    number = next(
        (n for n, pair in enumerate(zip(here, there, strict=False)) if pair[0] != pair[1]),
        min(len(here), len(there)),
    )
    shown = [names[number] if number < len(names) else "none" for names in (here, there)]
    raise LoadError(
        f"{other.path} and {first.path} are parts of one table, but the {what} of column"
        f" {number + 1} is {shown[1]} in one and {shown[0]} in the other: write all parts with the"
        " same header and types, or move the folder away."
    )
